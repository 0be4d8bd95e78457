import Kernels
import Memory

/// The working memory of forward and backward, all of it from one arena.
public final class Workspace {
  /// What a workspace is for.
  public enum Purpose: Sendable, Equatable {
    /// Forward and backward. `spillDirectory` takes the file of layer inputs, if the strategy wants one.
    case training(TrainingStrategy, spillDirectory: String)
    /// Forward and loss.
    case evaluation
    /// Generation with a cache for `capacity` positions.
    case generation(capacity: Int)
  }

  /// What a decoder layer keeps.
  struct LayerActivations {
    let attention: AttentionBlock.Activations
    /// Whether `attention` is valid after the forward pass, or memory that the layers share.
    let keepsAttention: Bool
    let feedForward: FeedForwardBlock.Activations
    let keepsFeedForward: Bool
  }

  /// Tokens of the largest micro-batch.
  public let tokenCapacity: Int
  public let purpose: Purpose
  let layers: [LayerActivations]
  /// Of layers that are trained; `nil` where nothing goes back.
  let inputs: LayerInputs?
  let residual: Matrix  // [tokens of all micro-batches, hidden]: the residual stream, and on the way back its gradient
  let normed: Matrix  // [tokens, hidden]
  let feedForwardTokens: Int
  private let intermediates: (Matrix, Matrix)  // [feed-forward tokens, intermediate]
  let normedGradient: Matrix  // [tokens, hidden]
  let queryGradient: Matrix  // [tokens, heads * head size]
  let mixed: Matrix  // [tokens, heads * head size]: attended values where no layer keeps them, and their gradient
  let keyGradient: Matrix  // [tokens, key-value heads * head size]
  let valueGradient: Matrix  // [tokens, key-value heads * head size]
  let attentionScratch: [Scratch]
  let rotary: RotaryEmbedding
  let head: LanguageModelHead.Buffers
  /// Which weights stay in memory.
  public let residency: WeightResidency

  /// Bytes on their way from storage or to it at the worst moment: in the page cache, not in this process.
  public var passingByteCount: Int { residency.readAheadByteCount + (inputs?.passingByteCount ?? 0) }

  /// - Parameters:
  ///   - keptColumns: floats per token that the adapter at a linear layer keeps; 0 without one
  ///   - tokenCapacity: tokens of the largest micro-batch
  ///   - groupTokens: tokens of all micro-batches that go through a layer before the next one; `tokenCapacity` if `nil`
  ///   - positionCount: positions of the longest sample
  ///   - headRows: tokens of one chunk of the vocabulary head
  ///   - precision: of the frozen products; where it is not the reference, wide activations are kept as halves
  public init(
    model: CausalLanguageModel, keptColumns: @escaping (LinearLocation) -> Int, tokenCapacity: Int,
    groupTokens: Int? = nil, positionCount: Int, headRows: Int, purpose: Purpose, precision: Precision,
    threadCount: Int, arena: Arena
  ) {
    let configuration = model.configuration
    let hidden = configuration.hiddenSize
    let inner = configuration.intermediateSize
    let queries = configuration.headCount * configuration.headSize
    let keys = configuration.keyValueHeadCount * configuration.headSize
    let layerCount = model.layers.count
    let group = groupTokens ?? tokenCapacity
    self.tokenCapacity = tokenCapacity
    self.purpose = purpose
    var strategy: TrainingStrategy?
    var spillDirectory = "."
    if case .training(let chosen, let directory) = purpose {
      strategy = chosen
      spillDirectory = directory
    }
    let feedForwardTokens = min(strategy?.feedForwardTokens ?? tokenCapacity, tokenCapacity)
    self.feedForwardTokens = feedForwardTokens
    residency = WeightResidency(model: model, strategy: strategy)

    let weightsPerToken =
      strategy == nil || precision == .f32
      ? 0 : Attention.weightsPerToken(shape: model.attentionShape, length: positionCount)
    func matrix(_ name: String, _ kind: MemoryKind, _ rows: Int, _ columns: Int) -> Matrix {
      arena.matrix(name, kind: kind, rows: rows, columns: columns)
    }
    func attention(_ kind: MemoryKind, tokens: Int, keptColumns: (LinearModule) -> Int) -> AttentionBlock.Activations {
      func kept(_ module: LinearModule) -> Matrix {
        matrix("adapter of \(module.rawValue)", kind, tokens, keptColumns(module))
      }
      return AttentionBlock.Activations(
        query: matrix("queries", kind, tokens, queries),
        key: matrix("keys", kind, tokens, keys),
        value: matrix("values", kind, tokens, keys),
        mixed: matrix(
          "attended values", kind, kind == .activations && keptColumns(.output) > 0 ? tokens : 0, queries),
        output: matrix("attention output", kind, strategy == nil ? 0 : tokens, hidden),
        inverseRMS: arena.vector("inverse RMS", kind: kind, count: tokens),
        sums: matrix("sums of attention's softmax", kind, tokens, configuration.headCount),
        weights: arena.keptMatrix(
          "weights of attention", kind: kind, rows: tokens, columns: weightsPerToken, format: .f16),
        queryKept: kept(.query), keyKept: kept(.key), valueKept: kept(.value), outputKept: kept(.output))
    }
    func feedForward(
      _ kind: MemoryKind, tokens: Int, keptColumns: (LinearModule) -> Int
    ) -> FeedForwardBlock.Activations {
      func wide(_ name: String) -> KeptMatrix {
        arena.keptMatrix(
          name, kind: kind, rows: strategy == nil ? 0 : tokens, columns: inner, format: precision == .f32 ? .f32 : .f16
        )
      }
      func kept(_ module: LinearModule) -> Matrix {
        matrix("adapter of \(module.rawValue)", kind, tokens, keptColumns(module))
      }
      return FeedForwardBlock.Activations(
        gate: wide("gate"), up: wide("up"),
        inverseRMS: arena.vector("inverse RMS", kind: kind, count: tokens),
        gateKept: kept(.gate), upKept: kept(.up), downKept: kept(.down))
    }

    residual = matrix("residual stream", .activations, group, hidden)
    inputs = strategy.map {
      LayerInputs(
        format: $0.layerInputs, layerCount: layerCount, tokens: group, stagedTokens: tokenCapacity,
        hiddenSize: hidden, spillDirectory: spillDirectory, arena: arena)
    }
    let keptAttention = min(strategy?.keptAttentionLayers ?? 0, layerCount)
    let keptFeedForward = min(strategy?.keptFeedForwardLayers ?? 0, layerCount)
    func columns(_ layer: Int) -> (LinearModule) -> Int {
      { keptColumns(LinearLocation(layer: layer, module: $0)) }
    }
    func widest(_ module: LinearModule) -> Int { (0..<layerCount).map { columns($0)(module) }.max() ?? 0 }
    // What is not kept is computed in memory that all layers share.
    let sharedAttention =
      keptAttention < layerCount ? attention(.recomputation, tokens: tokenCapacity, keptColumns: widest) : nil
    let sharedFeedForward =
      keptFeedForward < layerCount ? feedForward(.recomputation, tokens: feedForwardTokens, keptColumns: widest) : nil
    layers = (0..<layerCount).map { index in
      let columns = columns(index)
      let isAttentionShared = index < layerCount - keptAttention
      let isFeedForwardShared = index < layerCount - keptFeedForward
      return LayerActivations(
        attention: (isAttentionShared ? sharedAttention?.narrowed(to: columns) : nil)
          ?? attention(.activations, tokens: group, keptColumns: columns),
        keepsAttention: !isAttentionShared,
        feedForward: (isFeedForwardShared ? sharedFeedForward?.narrowed(to: columns) : nil)
          ?? feedForward(.activations, tokens: group, keptColumns: columns),
        keepsFeedForward: !isFeedForwardShared)
    }

    normed = matrix("normalised input", .recomputation, tokenCapacity, hidden)
    intermediates = (
      matrix("gate and gated product", .recomputation, feedForwardTokens, inner),
      matrix("up", .recomputation, feedForwardTokens, inner)
    )
    let gradientTokens = strategy == nil ? 0 : tokenCapacity
    normedGradient = matrix("gradient of the normalised input", .recomputation, gradientTokens, hidden)
    queryGradient = matrix("gradient of the queries", .recomputation, gradientTokens, queries)
    mixed = matrix("attended values and their gradient", .recomputation, tokenCapacity, queries)
    keyGradient = matrix("gradient of the keys", .recomputation, gradientTokens, keys)
    valueGradient = matrix("gradient of the values", .recomputation, gradientTokens, keys)

    let scratchBytes = Attention.scratchByteCount(
      shape: model.attentionShape, length: positionCount, hasGradient: strategy != nil)
    attentionScratch = (0..<threadCount).map { worker in
      Scratch(
        arena.allocate("attention tiles of thread \(worker)", kind: .attention, byteCount: scratchBytes),
        byteCount: scratchBytes)
    }
    rotary = RotaryEmbedding(
      frequencies: RotaryEmbedding.frequencies(
        headSize: configuration.headSize, theta: configuration.ropeTheta, scaling: configuration.ropeScaling),
      positionCount: positionCount,
      table: arena.vector(
        "rotary table", kind: .attention,
        count: RotaryEmbedding.tableCount(frequencyCount: configuration.headSize / 2, positionCount: positionCount)))
    let isGeneration = if case .generation = purpose { true } else { false }
    head = LanguageModelHead.Buffers(
      rows: headRows, waveRows: strategy?.isHeadResident ?? true ? headRows : max(headRows, group),
      columns: min(strategy?.headColumns ?? .max, configuration.vocabularySize), weight: model.head.weight,
      keepsLogits: strategy == nil || precision == .f32,
      streamingThreads: isGeneration || precision == .f32 ? 0 : threadCount,
      shared: strategy == nil ? nil : (normedGradient, normed), arena: arena)
  }

  /// Two matrices, `[rows, intermediate]`, for what a feed-forward block needs while it computes.
  func intermediates(rows: Int) -> (Matrix, Matrix) {
    (intermediates.0.rows(0..<rows), intermediates.1.rows(0..<rows))
  }

  /// Where attention writes its output: what is kept, or memory that all layers share.
  func mixed(_ kept: AttentionBlock.Activations, rows: Int) -> Matrix {
    kept.mixed.rows == 0 ? mixed.rows(0..<rows) : kept.mixed
  }

  /// Fills what is constant; call once after the arena's commit.
  public func prepare() {
    rotary.prepare()
    residency.prepare()
  }
}

extension Workspace.LayerActivations {
  /// Attention's memory for the tokens of one micro-batch: its own where it is kept, else the shared beginning.
  func attention(_ range: Range<Int>) -> AttentionBlock.Activations {
    attention.rows(keepsAttention ? range : 0..<range.count)
  }

  /// The same for the feed-forward block and a part of a micro-batch.
  func feedForward(_ range: Range<Int>) -> FeedForwardBlock.Activations {
    feedForward.rows(keepsFeedForward ? range : 0..<range.count)
  }
}

extension Matrix {
  /// The same memory with fewer columns.
  func narrowed(to columns: Int) -> Matrix { Matrix(base, rows: rows, columns: columns) }
}

extension Arena {
  /// A zeroed matrix of floats, `[rows, columns]`.
  public func matrix(_ name: String, kind: MemoryKind, rows: Int, columns: Int) -> Matrix {
    vector(name, kind: kind, count: rows * columns).matrix(rows: rows, columns: columns)
  }

  /// A zeroed matrix that waits for the way back.
  func keptMatrix(
    _ name: String, kind: MemoryKind, rows: Int, columns: Int, format: KeptMatrix.Format
  ) -> KeptMatrix {
    let byteCount = KeptMatrix.byteCount(rows: rows, columns: columns, format: format)
    return KeptMatrix(
      allocate(name, kind: kind, byteCount: byteCount), rows: rows, columns: columns, format: format)
  }

  /// A zeroed vector of floats.
  public func vector(_ name: String, kind: MemoryKind, count: Int) -> Vector {
    let address = allocate(name, kind: kind, byteCount: count * MemoryLayout<Float>.stride)
    return Vector(address.assumingMemoryBound(to: Float.self), count: count)
  }
}
