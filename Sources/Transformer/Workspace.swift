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

  /// Tokens of the largest micro-batch.
  public let tokenCapacity: Int
  public let purpose: Purpose
  let layers: [TransformerLayer.Memory]
  /// Of layers that are trained; `nil` where nothing goes back.
  let inputs: LayerInputs?
  let residual: Matrix  // [tokens of all micro-batches, hidden]: the residual stream, and on the way back its gradient
  let feedForwardTokens: Int
  let embedding: Embedding.Working
  let attentionScratch: [Scratch]
  let rotaries: [RotaryEmbedding]
  let headRoom: HeadRoom
  /// Which weights stay in memory.
  public let residency: WeightResidency

  /// Bytes on their way from storage or to it at the worst moment: in the page cache, not in this process.
  public var passingByteCount: Int { residency.readAheadByteCount + (inputs?.passingByteCount ?? 0) }

  /// - Parameters:
  ///   - keptColumns: floats per token that the adapter at a linear layer keeps; 0 without one
  ///   - blockAdapters: of the adapters at a block, which its last linear layer stands for
  ///   - prefixCount: keys and values in front of every layer's attention
  ///   - replaced: embedding or vocabulary head that a method trains whole
  ///   - tokenCapacity: tokens of the largest micro-batch
  ///   - groupTokens: tokens of all micro-batches that go through a layer before the next one; `tokenCapacity` if `nil`
  ///   - positionCount: positions of the longest sample
  ///   - headRows: tokens of one chunk of the vocabulary head
  ///   - precision: of the frozen products; where it is not the reference, wide activations are kept as halves
  ///   - residency: of another workspace of the same model; of its own, by the purpose, if `nil`
  public init(
    model: LanguageModel, keptColumns: @escaping (LinearLocation) -> Int,
    blockAdapters: @escaping (LinearLocation) -> BlockAdapterDemands = { _ in BlockAdapterDemands() },
    prefixCount: Int = 0, replaced: ReplacedTables = .none, tokenCapacity: Int,
    groupTokens: Int? = nil, positionCount: Int, headRows: Int, purpose: Purpose, precision: Precision,
    threadCount: Int, residency: WeightResidency? = nil, arena: Arena
  ) {
    let hidden = model.description.hiddenSize
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
    self.residency = residency ?? WeightResidency(model: model, strategy: strategy, replaced: replaced)
    residual = arena.matrix("residual stream", kind: .activations, rows: group, columns: hidden)
    inputs = strategy.map {
      LayerInputs(
        format: $0.layerInputs, layerCount: layerCount, tokens: group, stagedTokens: tokenCapacity,
        hiddenSize: hidden, spillDirectory: spillDirectory, arena: arena)
    }
    let demand = RoomDemand(
      tokens: tokenCapacity, trains: strategy != nil, precision: precision, positionCount: positionCount,
      prefixCount: prefixCount, keptColumns: keptColumns, blockAdapters: blockAdapters)
    let rooms = Self.layers(
      model.layers, demand: demand, feedForwardTokens: feedForwardTokens, groupTokens: group, strategy: strategy,
      arena: arena)
    layers = rooms.layers

    let scratchBytes = model.layers.map { $0.attention.scratchByteCount(demand) }.max() ?? 0
    attentionScratch = (0..<threadCount).map { worker in
      Scratch(
        arena.allocate("attention tiles of thread \(worker)", kind: .attention, byteCount: scratchBytes),
        byteCount: scratchBytes)
    }
    rotaries = model.description.rotaries.map { rotary in
      let positionCount = positionCount + prefixCount
      let count = RotaryEmbedding.tableCount(
        frequencyCount: rotary.frequencies.count, positionCount: positionCount, hasLong: rotary.long != nil)
      return RotaryEmbedding(
        frequencies: rotary.frequencies, attentionFactor: rotary.factor,
        long: rotary.long.map {
          .init(frequencies: $0.frequencies, factor: rotary.factor, originalPositions: $0.beyond)
        }, positionCount: positionCount, table: arena.vector("rotary table", kind: .attention, count: count))
    }
    let lookUp = Room()
    _ = model.embedding.share(in: lookUp, hidden: hidden, demand: demand)
    lookUp.reserve(in: arena)
    embedding = model.embedding.share(in: lookUp, hidden: hidden, demand: demand)
    let isGeneration = if case .generation = purpose { true } else { false }
    let projectionColumns = model.head.projection.map { keptColumns($0.location) } ?? 0
    switch model.head {
    case .vocabulary(let head):
      headRoom = .vocabulary(
        LanguageModelHead.Buffers(
          rows: headRows, waveRows: strategy?.isHeadResident ?? true ? headRows : max(headRows, group),
          columns: min(strategy?.headColumns ?? .max, model.description.vocabularySize), head: head,
          keepsLogits: strategy == nil || precision == .f32, trainsWeight: strategy != nil && replaced.head,
          streamingThreads: isGeneration || precision == .f32 || strategy != nil && replaced.head ? 0 : threadCount,
          keptColumns: projectionColumns,
          shared: strategy == nil ? nil : rooms.shared, arena: arena))
    case .labels(let head):
      headRoom = .labels(
        LabelHead.Buffers(
          rows: headRows, head: head, hiddenSize: hidden, keptColumns: projectionColumns, trains: strategy != nil,
          arena: arena))
    case .none: headRoom = .none
    }
  }

  /// The room of a vocabulary head.
  var head: LanguageModelHead.Buffers {
    guard case .vocabulary(let buffers) = headRoom else { preconditionFailure("a model that names tokens") }
    return buffers
  }

  /// The memory of every layer: of its own where it is kept, else shared with all others.
  ///
  /// - Returns: also two matrices, `[tokens, hidden]`, that nobody needs between the layers
  private static func layers(
    _ layers: [TransformerLayer], demand: RoomDemand, feedForwardTokens: Int, groupTokens: Int,
    strategy: TrainingStrategy?, arena: Arena
  ) -> (layers: [TransformerLayer.Memory], shared: (Matrix, Matrix)) {
    let sharedAttention = layers.count - min(strategy?.keptAttentionLayers ?? 0, layers.count)
    let sharedFeedForward = layers.count - min(strategy?.keptFeedForwardLayers ?? 0, layers.count)
    let kept = demand.with(tokens: groupTokens, keepsActivations: true)
    let part = demand.with(tokens: feedForwardTokens, keepsActivations: false)
    let (attention, feedForward, working) = (Room(), Room(), Room())
    func memory(_ index: Int, own: Room) -> TransformerLayer.Memory {
      let layer = layers[index]
      let keepsAttention = index >= sharedAttention
      let keepsFeedForward = index >= sharedFeedForward
      return TransformerLayer.Memory(
        attention: layer.attention.reserve(
          in: keepsAttention ? own : attention, demand: keepsAttention ? kept : demand),
        keepsAttention: keepsAttention, attentionWorking: layer.attention.share(in: working, demand: demand),
        feedForward: layer.feedForward.reserve(
          in: keepsFeedForward ? own : feedForward, demand: keepsFeedForward ? kept : part),
        keepsFeedForward: keepsFeedForward, feedForwardWorking: layer.feedForward.share(in: working, demand: part),
        sum: working.matrix(
          "sum of parallel blocks", rows: layer.isParallel ? demand.tokens : 0,
          columns: layer.attention.output.location.shape.out))
    }
    let unmeasured = Room.nowhere
    for index in layers.indices { _ = memory(index, own: unmeasured) }
    for room in [attention, feedForward, working] { room.reserve(in: arena) }
    let all = layers.indices.map { memory($0, own: Room(arena, kind: .activations)) }
    let shared = all[0].attentionWorking.residual
    return (all, (shared.normedGradient, shared.normed))
  }

  /// Fills what is constant; call once after the arena's commit.
  public func prepare() {
    for rotary in rotaries { rotary.prepare() }
    residency.prepare()
  }
}

extension Arena {
  /// A zeroed matrix of floats, `[rows, columns]`.
  public func matrix(_ name: String, kind: MemoryKind, rows: Int, columns: Int) -> Matrix {
    let byteCount = ByteCount.product(rows, columns, MemoryLayout<Float>.stride)
    return Matrix(
      allocate(name, kind: kind, byteCount: byteCount).assumingMemoryBound(to: Float.self), rows: rows, columns: columns
    )
  }

  /// A zeroed vector of floats.
  public func vector(_ name: String, kind: MemoryKind, count: Int) -> Vector {
    let address = allocate(name, kind: kind, byteCount: ByteCount.product(count, MemoryLayout<Float>.stride))
    return Vector(address.assumingMemoryBound(to: Float.self), count: count)
  }
}
