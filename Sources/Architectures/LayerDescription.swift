/// A linear layer `y = x Wᵀ + b`, by its path: `model.layers.3.mlp.up_proj`.
public struct LinearDescription: Sendable, Equatable {
  public let path: String
  public let weight: TensorDescription  // [out, in]
  public let bias: TensorDescription?  // [out]

  public var outputSize: Int { weight.shape[0] }
  public var inputSize: Int { weight.shape[1] }

  /// - Parameters:
  ///   - gguf: the name in GGUF without `.weight` and `.bias`
  ///   - isQuantized: whether a store may keep the weight in fewer bits
  public init(
    _ path: String, out: Int, in inputSize: Int, hasBias: Bool = false, isTransposed: Bool = false,
    gguf: String? = nil, rows: RowOrder = .same, isQuantized: Bool = true
  ) {
    self.path = path
    weight = TensorDescription(
      "\(path).weight", shape: [out, inputSize], role: isQuantized ? .linear : .table, isTransposed: isTransposed,
      gguf: gguf.map { .init("\($0).weight", rows: rows) })
    bias =
      hasBias
      ? TensorDescription(
        "\(path).bias", shape: [out], role: .vector, gguf: gguf.map { .init("\($0).bias", rows: rows) }) : nil
  }
}

/// A norm over the last dimension.
public struct NormDescription: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    /// `x / rms(x) * w`
    case rootMeanSquare
    /// `(x - mean(x)) / deviation(x) * w + b`
    case layer
  }

  public let kind: Kind
  public let size: Int
  public let epsilon: Float
  /// `nil` for a norm without weights, whose factors are 1.
  public let weight: TensorDescription?  // [size]
  public let bias: TensorDescription?  // [size]
  /// Added to every weight of the file: 1 for Gemma, whose norms keep what they differ from 1 by.
  public let weightOffset: Float

  /// - Parameters:
  ///   - path: the name in a file without `.weight` and `.bias`; `nil` for a norm without weights
  ///   - gguf: the same in GGUF, where an offset is in the weights already
  public init(
    _ kind: Kind, _ path: String?, size: Int, epsilon: Float, weightOffset: Float = 0, gguf: String? = nil
  ) {
    self.kind = kind
    self.size = size
    self.epsilon = epsilon
    self.weightOffset = weightOffset
    weight = path.map { path in
      TensorDescription(
        "\(path).weight", shape: [size], role: .vector,
        gguf: gguf.map { .init("\($0).weight", excess: weightOffset) })
    }
    bias =
      kind == .layer
      ? path.map { path in
        TensorDescription("\(path).bias", shape: [size], role: .vector, gguf: gguf.map { .init("\($0).bias") })
      } : nil
  }
}

/// The norms of a block `f` with its residual, by where they stand.
public struct BlockNorms: Sendable, Equatable {
  /// `x + f(before(x))`
  public var before: NormDescription?
  /// `x + after(f(x))`
  public var after: NormDescription?
  /// `around(x + f(x))`
  public var around: NormDescription?

  public init(before: NormDescription? = nil, after: NormDescription? = nil, around: NormDescription? = nil) {
    self.before = before
    self.after = after
    self.around = around
  }
}

/// Which keys of its sample a query sees.
public enum AttentionSpan: Sendable, Equatable {
  /// Its own and all before it.
  case causal
  /// Its own and those before it, so many in all.
  case window(Int)
  /// All.
  case whole
}

/// Attention with its norms and residual.
public struct AttentionDescription: Sendable, Equatable {
  /// The linear layers that make queries, keys and values.
  public enum Projections: Sendable, Equatable {
    case separate(query: LinearDescription, key: LinearDescription, value: LinearDescription)
    /// One layer whose outputs are all queries, all keys, all values.
    case fused(LinearDescription)
    /// One layer whose outputs are head after head, of each its query, key and value.
    case fusedByHead(LinearDescription)
  }

  public var norms: BlockNorms
  public var projections: Projections
  public var output: LinearDescription
  public var headCount: Int
  public var keyValueHeadCount: Int
  public var headSize: Int
  /// Of the products of queries and keys.
  public var scale: Float
  /// Norms of every head's query and key, before rotation.
  public var queryNorm: NormDescription?
  public var keyNorm: NormDescription?
  /// Which of the model's rotations turns queries and keys; `nil` for none.
  public var rotary: Int?
  public var span: AttentionSpan

  public init(
    norms: BlockNorms, projections: Projections, output: LinearDescription, headCount: Int, keyValueHeadCount: Int,
    headSize: Int, scale: Float? = nil, queryNorm: NormDescription? = nil, keyNorm: NormDescription? = nil,
    rotary: Int?, span: AttentionSpan
  ) {
    self.norms = norms
    self.projections = projections
    self.output = output
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headSize = headSize
    self.scale = scale ?? 1 / Float(headSize).squareRoot()
    self.queryNorm = queryNorm
    self.keyNorm = keyNorm
    self.rotary = rotary
    self.span = span
  }

  /// The layers that share the block's input.
  public var inputLinears: [LinearDescription] {
    switch projections {
    case .separate(let query, let key, let value): [query, key, value]
    case .fused(let linear), .fusedByHead(let linear): [linear]
    }
  }
}

/// What a feed-forward block puts between its products.
public enum ActivationKind: String, Sendable {
  case silu
  /// `x Φ(x)`
  case gelu
  /// Its approximation by `tanh`.
  case geluTanh
  case relu
}

/// A feed-forward network with its norms and residual.
public struct FeedForwardDescription: Sendable, Equatable {
  /// The linear layers before the activation.
  public enum Inner: Sendable, Equatable {
    /// `act(gate(x)) * up(x)`
    case gated(gate: LinearDescription, up: LinearDescription)
    /// The same from one layer, whose outputs are all of the gate, then all of the other.
    case fusedGated(LinearDescription)
    /// `act(up(x))`
    case plain(up: LinearDescription)
  }

  public var norms: BlockNorms
  public var inner: Inner
  public var activation: ActivationKind
  public var down: LinearDescription

  public init(norms: BlockNorms, inner: Inner, activation: ActivationKind, down: LinearDescription) {
    self.norms = norms
    self.inner = inner
    self.activation = activation
    self.down = down
  }

  public var intermediateSize: Int { down.inputSize }

  /// The layers that share the block's input.
  public var inputLinears: [LinearDescription] {
    switch inner {
    case .gated(let gate, let up): [gate, up]
    case .fusedGated(let linear), .plain(let linear): [linear]
    }
  }
}

/// A layer: attention and feed-forward.
public struct LayerDescription: Sendable, Equatable {
  public var attention: AttentionDescription
  public var feedForward: FeedForwardDescription
  /// Whether both blocks see the layer's input; else feed-forward sees what attention made of it.
  public var isParallel: Bool

  public init(attention: AttentionDescription, feedForward: FeedForwardDescription, isParallel: Bool = false) {
    self.attention = attention
    self.feedForward = feedForward
    self.isParallel = isParallel
  }

  /// Every linear layer in the order of computation.
  public var linears: [LinearDescription] {
    attention.inputLinears + [attention.output] + feedForward.inputLinears + [feedForward.down]
  }

  /// Every weight in the order of use.
  var tensors: [TensorDescription] {
    func norm(_ norm: NormDescription?) -> [TensorDescription] { [norm?.weight, norm?.bias].compactMap { $0 } }
    func linear(_ linear: LinearDescription) -> [TensorDescription] {
      [linear.weight] + (linear.bias.map { [$0] } ?? [])
    }
    return norm(attention.norms.before) + attention.inputLinears.flatMap(linear) + norm(attention.queryNorm)
      + norm(attention.keyNorm) + linear(attention.output) + norm(attention.norms.after)
      + norm(attention.norms.around) + norm(feedForward.norms.before) + feedForward.inputLinears.flatMap(linear)
      + linear(feedForward.down) + norm(feedForward.norms.after) + norm(feedForward.norms.around)
  }
}
