import Adapters
import Kernels
import Memory
import Transformer

/// Everything that a training run keeps in memory besides the mapped weights, from one arena.
///
/// As it is made, on an uncommitted arena, it is a plan and nothing has changed; `begin` makes the same object what the
/// run uses.
public final class TrainingMemory {
  public let strategy: TrainingStrategy
  public let arena: Arena
  public let adapters: LowRankAdapterSet
  public let moments: AdamWMoments
  public let engine: ComputeEngine
  public let workspace: Workspace

  /// - Parameters:
  ///   - locations: what the adapter's target modules are, if that is known already
  ///   - rowLength: tokens of the longest row
  ///   - spillDirectory: takes the file of layer inputs, if the strategy wants one
  public init(
    model: CausalLanguageModel, adapter: LowRankConfiguration, locations: [LinearLocation]? = nil,
    strategy: TrainingStrategy, rowLength: Int, precision: Precision, spillDirectory: String, pool: ThreadPool
  ) throws {
    let tokens = strategy.microBatchSize * rowLength
    let arena = try Arena()
    self.strategy = strategy
    self.arena = arena
    adapters = try LowRankAdapterSet(
      configuration: adapter, model: model, locations: locations, trainingTokens: tokens, arena: arena)
    moments = AdamWMoments(
      strategy.optimizerMoments, parts: adapters.matrixCounts, threadCount: pool.threadCount, arena: arena)
    engine = ComputeEngine(
      precision: precision, pool: pool,
      demands: model.demands(
        tokens: tokens, feedForwardTokens: strategy.feedForwardTokens, headRows: strategy.headRows,
        gradients: true), arena: arena)
    workspace = Workspace(
      model: model, keptColumns: adapters.keptColumns(at:), tokenCapacity: tokens,
      groupTokens: strategy.groupRows * rowLength, positionCount: rowLength,
      headRows: strategy.headRows, purpose: .training(strategy, spillDirectory: spillDirectory),
      precision: precision, threadCount: pool.threadCount, arena: arena)
  }

  /// Makes the memory usable and the adapters those of `model`.
  public func begin(with model: CausalLanguageModel) throws {
    try arena.commit()
    workspace.prepare()
    adapters.attach(to: model)
  }
}
