import Adapters
import Formats
import Foundation
import Kernels
import Memory
import Tokenization
import Transformer
import WeightStore

/// A model with its tokenizer and, perhaps, an adapter, ready to be used but not trained.
public final class LoadedModel {
  public let model: CausalLanguageModel
  public let tokenizer: Tokenizer
  public let pool: ThreadPool
  public let precision: Precision
  private let adapterArena: Arena
  private let adapters: LowRankAdapterSet?

  /// - Parameters:
  ///   - directory: store or model folder
  ///   - adapter: PEFT folder
  public init(directory: String, adapter: String?, precision: Precision, threads: Int?) throws {
    model = try CausalLanguageModel(store: try WeightStore.open(directory))
    tokenizer = try Tokenizer.load(directory: directory)
    pool = ThreadPool(threadCount: threads)
    self.precision = precision
    adapterArena = try Arena()
    if let adapter {
      let set = try LowRankAdapterSet(
        configuration: try LowRankConfiguration.load(from: adapter), model: model, trainingTokens: 0,
        arena: adapterArena)
      try adapterArena.commit()
      try set.load(from: adapter)
      adapters = set
    } else {
      adapters = nil
    }
  }

  /// Working memory for `tokens` tokens at a time.
  func makeWorkspace(
    tokens: Int, positions: Int, headRows: Int, purpose: Workspace.Purpose, cacheCapacity: Int? = nil
  ) throws -> (workspace: Workspace, pass: Pass, cache: KeyValueCache?, arena: Arena) {
    let arena = try Arena()
    let engine = ComputeEngine(
      precision: precision, pool: pool,
      demands: model.demands(tokens: tokens, headRows: headRows, gradients: false), arena: arena)
    let workspace = Workspace(
      model: model, tokenCapacity: tokens, positionCount: positions, headRows: headRows, purpose: purpose,
      threadCount: pool.threadCount, arena: arena)
    let cache = cacheCapacity.map { KeyValueCache(model: model, capacity: $0, arena: arena) }
    try arena.commit()
    workspace.prepare()
    return (workspace, Pass(engine: engine), cache, arena)
  }
}
