import Kernels
import Memory
import Transformer
import Tuning

/// Everything that a training run keeps in memory besides the mapped weights, from one arena.
///
/// On an arena that counts it is a plan and nothing has changed; `begin` makes one on a real arena what the run uses.
public final class TrainingMemory {
  public let strategy: TrainingStrategy
  public let arena: Arena
  public let method: any TuningMethod
  /// What the optimiser remembers.
  public let state: OptimizerState
  public let engine: ComputeEngine
  public let workspace: Workspace
  /// For answers to sample prompts, if there are any.
  public let samples: SampleMemory?

  /// - Parameters:
  ///   - method: reserved in `arena` before
  ///   - rowLength: tokens of the longest row
  ///   - spillDirectory: takes the file of layer inputs, if the strategy wants one
  ///   - sampleRoom: what answers to sample prompts need, if there are any
  public init(
    model: LanguageModel, method: any TuningMethod, strategy: TrainingStrategy, rowLength: Int,
    precision: Precision, spillDirectory: String, optimizer: OptimizerKind = .adamw, sampleRoom: SampleRoom? = nil,
    pool: ThreadPool, arena: Arena
  ) {
    let tokens = strategy.microBatchSize * rowLength
    self.strategy = strategy
    self.arena = arena
    self.method = method
    state = OptimizerState(
      optimizer, moments: strategy.optimizerMoments, of: method.trainables, threadCount: pool.threadCount, arena: arena)
    engine = ComputeEngine(
      precision: precision, pool: pool,
      demands: model.demands(
        tokens: tokens, feedForwardTokens: strategy.feedForwardTokens, headRows: strategy.headRows,
        gradients: true), arena: arena)
    workspace = Workspace(
      model: model, keptColumns: { method.keptColumns(at: $0) }, blockAdapters: { method.blockAdapters(at: $0) },
      prefixCount: method.prefixCount, replaced: method.replaced,
      tokenCapacity: tokens,
      groupTokens: strategy.groupRows * rowLength, positionCount: rowLength,
      headRows: strategy.headRows, purpose: .training(strategy, spillDirectory: spillDirectory),
      precision: precision, threadCount: pool.threadCount, arena: arena)
    let training = workspace
    samples = sampleRoom.map {
      SampleMemory(
        $0, model: model, method: method, training: training, tokens: min(tokens, strategy.feedForwardTokens),
        precision: precision, threadCount: pool.threadCount, arena: arena)
    }
  }

  /// Makes the memory usable and the method hook into `model`.
  public func begin(with model: LanguageModel) throws {
    try arena.commit()
    workspace.prepare()
    samples?.workspace.prepare()
    method.attach(to: model)
  }
}
