import Kernels
import Memory

/// The working memory of forward and backward for one micro-batch, all of it from one arena.
public final class Workspace {
  /// What a workspace is for.
  public enum Purpose: Sendable, Equatable {
    /// Forward and backward. The last `keptLayers` layers keep their activations, those below keep their input alone
    /// and are computed again on the way back.
    case training(keptLayers: Int)
    /// Forward and loss.
    case evaluation
    /// Generation with a cache for `capacity` positions.
    case generation(capacity: Int)
  }

  /// What a decoder layer keeps.
  struct LayerActivations {
    let input: Matrix  // [tokens, hidden]
    let middle: Matrix  // [tokens, hidden], between attention and feed-forward
    let attention: AttentionBlock.Activations
    let feedForward: FeedForwardBlock.Activations
    /// Whether the rest is valid after the forward pass, or only `input`.
    let keepsAll: Bool
  }

  public let tokenCapacity: Int
  public let purpose: Purpose
  let layers: [LayerActivations]
  let final: Matrix  // [tokens, hidden], output of the last layer
  let normed: Matrix  // [tokens, hidden]
  let intermediate: Matrix  // [tokens, intermediate]
  let gradient: Matrix  // [tokens, hidden], of the residual stream
  let normedGradient: Matrix  // [tokens, hidden]
  let intermediateGradient: Matrix  // [tokens, intermediate]
  let queryGradient: Matrix  // [tokens, heads * head size]
  let mixedGradient: Matrix  // [tokens, heads * head size]
  let keyGradient: Matrix  // [tokens, key-value heads * head size]
  let valueGradient: Matrix  // [tokens, key-value heads * head size]
  let attentionScratch: [Scratch]
  let rotary: RotaryEmbedding
  let head: LanguageModelHead.Buffers

  /// - Parameters:
  ///   - tokenCapacity: tokens of the largest micro-batch
  ///   - positionCount: positions of the longest sample
  ///   - headRows: tokens of one chunk of the vocabulary head
  public init(
    model: CausalLanguageModel, tokenCapacity: Int, positionCount: Int, headRows: Int, purpose: Purpose,
    threadCount: Int, arena: Arena
  ) {
    let configuration = model.configuration
    let hidden = configuration.hiddenSize
    let inner = configuration.intermediateSize
    let queries = configuration.headCount * configuration.headSize
    let keys = configuration.keyValueHeadCount * configuration.headSize
    self.tokenCapacity = tokenCapacity
    self.purpose = purpose

    func matrix(_ name: String, _ kind: MemoryKind, _ columns: Int, rows: Int? = nil) -> Matrix {
      let rows = rows ?? tokenCapacity
      return arena.matrix(name, kind: kind, rows: rows, columns: columns)
    }
    func activations(
      input: Matrix, kind: MemoryKind, keepsAll: Bool, keptColumns: (LinearModule) -> Int
    ) -> LayerActivations {
      func kept(_ module: LinearModule) -> Matrix {
        matrix("adapter of \(module.rawValue)", kind, keptColumns(module))
      }
      return LayerActivations(
        input: input,
        middle: matrix("attention output", kind, hidden),
        attention: AttentionBlock.Activations(
          query: matrix("queries", kind, queries),
          key: matrix("keys", kind, keys),
          value: matrix("values", kind, keys),
          mixed: matrix("attended values", kind, queries),
          inverseRMS: arena.vector("inverse RMS", kind: kind, count: tokenCapacity),
          logSumExp: arena.vector("log-sum-exp", kind: kind, count: tokenCapacity * configuration.headCount),
          queryKept: kept(.query), keyKept: kept(.key), valueKept: kept(.value), outputKept: kept(.output)),
        feedForward: FeedForwardBlock.Activations(
          gate: matrix("gate", kind, inner),
          up: matrix("up", kind, inner),
          inverseRMS: arena.vector("inverse RMS", kind: kind, count: tokenCapacity),
          gateKept: kept(.gate), upKept: kept(.up), downKept: kept(.down)),
        keepsAll: keepsAll)
    }

    let layerCount = model.layers.count
    let keptLayers: Int
    let inputs: [Matrix]
    if case .training(let kept) = purpose {
      keptLayers = min(kept, layerCount)
      inputs = (0..<layerCount).map { matrix("input of layer \($0)", .activations, hidden) }
      final = matrix("output of the last layer", .activations, hidden)
    } else {
      keptLayers = 0
      let pair = [matrix("residual stream", .activations, hidden), matrix("residual stream", .activations, hidden)]
      inputs = (0..<layerCount).map { pair[$0 % 2] }
      final = pair[layerCount % 2]
    }
    let shared =
      keptLayers < layerCount
      ? activations(input: inputs[0], kind: .recomputation, keepsAll: false) { module in
        model.layers.map { $0[module].keptColumns }.max() ?? 0
      } : nil
    layers = zip(model.layers, inputs).enumerated().map { index, pair in
      let (layer, input) = pair
      if let shared, index < layerCount - keptLayers { return shared.with(input: input, for: layer) }
      return activations(input: input, kind: .activations, keepsAll: true) { layer[$0].keptColumns }
    }

    normed = matrix("normalised input", .recomputation, hidden)
    intermediate = matrix("gated product", .recomputation, inner)
    let gradients: Bool
    if case .training = purpose { gradients = true } else { gradients = false }
    let gradientRows = gradients ? tokenCapacity : 0
    func gradientMatrix(_ name: String, _ columns: Int) -> Matrix {
      matrix(name, .recomputation, columns, rows: gradientRows)
    }
    gradient = gradientMatrix("gradient of the residual stream", hidden)
    normedGradient = gradientMatrix("gradient of the normalised input", hidden)
    intermediateGradient = gradientMatrix("gradient of the gated product", inner)
    queryGradient = gradientMatrix("gradient of the queries", queries)
    mixedGradient = gradientMatrix("gradient of the attended values", queries)
    keyGradient = gradientMatrix("gradient of the keys", keys)
    valueGradient = gradientMatrix("gradient of the values", keys)

    let scratchBytes = Attention.scratchByteCount(shape: model.attentionShape, length: positionCount)
    attentionScratch = (0..<threadCount).map { worker in
      Scratch(
        arena.allocate("attention tiles of thread \(worker)", kind: .attention, byteCount: scratchBytes),
        byteCount: scratchBytes)
    }
    rotary = RotaryEmbedding(
      headSize: configuration.headSize, theta: configuration.ropeTheta, scaling: configuration.ropeScaling,
      positionCount: positionCount,
      table: arena.vector(
        "rotary table", kind: .attention,
        count: RotaryEmbedding.tableCount(headSize: configuration.headSize, positionCount: positionCount)))
    head = LanguageModelHead.Buffers(
      rows: headRows, hiddenSize: hidden, vocabularySize: configuration.vocabularySize, gradients: gradients,
      arena: arena)
  }

  /// Fills what is constant; call once after the arena's commit.
  public func prepare() { rotary.prepare() }
}

extension Workspace.LayerActivations {
  /// The same memory for another layer, whose adapters may keep fewer columns.
  fileprivate func with(input: Matrix, for layer: DecoderLayer) -> Self {
    func narrow(_ matrix: Matrix, _ linear: Linear) -> Matrix {
      Matrix(matrix.base, rows: matrix.rows, columns: linear.keptColumns)
    }
    let attention = layer.attention
    let feedForward = layer.feedForward
    return Self(
      input: input, middle: middle,
      attention: AttentionBlock.Activations(
        query: self.attention.query, key: self.attention.key, value: self.attention.value,
        mixed: self.attention.mixed, inverseRMS: self.attention.inverseRMS, logSumExp: self.attention.logSumExp,
        queryKept: narrow(self.attention.queryKept, attention.query),
        keyKept: narrow(self.attention.keyKept, attention.key),
        valueKept: narrow(self.attention.valueKept, attention.value),
        outputKept: narrow(self.attention.outputKept, attention.output)),
      feedForward: FeedForwardBlock.Activations(
        gate: self.feedForward.gate, up: self.feedForward.up, inverseRMS: self.feedForward.inverseRMS,
        gateKept: narrow(self.feedForward.gateKept, feedForward.gate),
        upKept: narrow(self.feedForward.upKept, feedForward.up),
        downKept: narrow(self.feedForward.downKept, feedForward.down)),
      keepsAll: false)
  }

  /// The first `count` tokens of every buffer.
  func tokens(_ count: Int) -> Self {
    let range = 0..<count
    return Self(
      input: input.rows(range), middle: middle.rows(range),
      attention: AttentionBlock.Activations(
        query: attention.query.rows(range), key: attention.key.rows(range), value: attention.value.rows(range),
        mixed: attention.mixed.rows(range), inverseRMS: attention.inverseRMS, logSumExp: attention.logSumExp,
        queryKept: attention.queryKept.rows(range), keyKept: attention.keyKept.rows(range),
        valueKept: attention.valueKept.rows(range), outputKept: attention.outputKept.rows(range)),
      feedForward: FeedForwardBlock.Activations(
        gate: feedForward.gate.rows(range), up: feedForward.up.rows(range), inverseRMS: feedForward.inverseRMS,
        gateKept: feedForward.gateKept.rows(range), upKept: feedForward.upKept.rows(range),
        downKept: feedForward.downKept.rows(range)),
      keepsAll: keepsAll)
  }
}

extension Arena {
  /// A zeroed matrix of floats, `[rows, columns]`.
  public func matrix(_ name: String, kind: MemoryKind, rows: Int, columns: Int) -> Matrix {
    vector(name, kind: kind, count: rows * columns).matrix(rows: rows, columns: columns)
  }

  /// A zeroed vector of floats.
  public func vector(_ name: String, kind: MemoryKind, count: Int) -> Vector {
    let address = allocate(name, kind: kind, byteCount: count * MemoryLayout<Float>.stride)
    return Vector(address.assumingMemoryBound(to: Float.self), count: count)
  }
}
