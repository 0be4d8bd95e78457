import Adapters
import Kernels
import Memory
import Transformer

/// Everything that a training run keeps in memory besides the mapped weights, from one arena.
///
/// Made on an uncommitted arena it is a plan; committed, the same object is what the run uses.
public final class TrainingMemory {
  /// The choices that a plan is made of.
  public struct Choice: Sendable, Equatable {
    /// Rows of one micro-batch.
    public var microBatchSize: Int
    /// Micro-batches per optimiser step.
    public var accumulationSteps: Int
    /// Layers whose activations stay for the way back; the others are computed twice.
    public var keptLayers: Int
    /// Tokens of one chunk of the vocabulary head.
    public var headRows: Int
  }

  public let choice: Choice
  public let arena: Arena
  public let adapters: LowRankAdapterSet
  public let firstMoment: Vector
  public let secondMoment: Vector
  public let engine: ComputeEngine
  public let workspace: Workspace

  /// - Parameters:
  ///   - rowLength: tokens of the longest row
  public init(
    model: CausalLanguageModel, adapter: LowRankConfiguration, choice: Choice, rowLength: Int, precision: Precision,
    pool: ThreadPool
  ) throws {
    let tokens = choice.microBatchSize * rowLength
    let arena = try Arena()
    self.choice = choice
    self.arena = arena
    adapters = try LowRankAdapterSet(configuration: adapter, model: model, trainingTokens: tokens, arena: arena)
    firstMoment = arena.vector("first moments", kind: .optimizer, count: adapters.parameters.count)
    secondMoment = arena.vector("second moments", kind: .optimizer, count: adapters.parameters.count)
    engine = ComputeEngine(
      precision: precision, pool: pool,
      demands: model.demands(tokens: tokens, headRows: choice.headRows, gradients: true), arena: arena)
    workspace = Workspace(
      model: model, tokenCapacity: tokens, positionCount: rowLength, headRows: choice.headRows,
      purpose: .training(keptLayers: choice.keptLayers), threadCount: pool.threadCount, arena: arena)
  }
}
