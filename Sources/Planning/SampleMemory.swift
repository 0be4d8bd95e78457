import Kernels
import Memory
import Transformer
import Tuning

/// What answers to sample prompts need.
public struct SampleRoom: Sendable {
  /// Tokens of the longest prompt and its answer.
  public let capacity: Int
  /// Tokens of a prompt that are read together.
  fileprivate static let chunk = 64

  public init(capacity: Int) { self.capacity = capacity }
}

/// The memory in which a model that is being trained answers prompts. Weights stay and pass through as in training.
public struct SampleMemory {
  public let workspace: Workspace
  public let cache: KeyValueCache

  /// - Parameters:
  ///   - training: of the same model; nothing of it is used while prompts are answered but what its weights share
  ///   - tokens: that the engine of the run takes at most
  init(
    _ room: SampleRoom, model: LanguageModel, method: any TuningMethod, training: Workspace, tokens: Int,
    precision: Precision, threadCount: Int, arena: Arena
  ) {
    workspace = Workspace(
      model: model, keptColumns: { method.keptColumns(at: $0) }, blockAdapters: { method.blockAdapters(at: $0) },
      prefixCount: method.prefixCount, tokenCapacity: min(room.capacity, SampleRoom.chunk, tokens),
      positionCount: room.capacity, headRows: 1, purpose: .generation(capacity: room.capacity), precision: precision,
      threadCount: threadCount, residency: training.residency, arena: arena)
    cache = KeyValueCache(model: model, capacity: room.capacity, arena: arena)
  }
}
