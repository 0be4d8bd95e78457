import Data
import Kernels
import Memory
import Planning
import Testing
import Training
import Transformer
import Tuning
import WeightStore

/// Planning tries adapters, and leaves none on the model.
@Test func aPlanDoesNotChangeTheModel() throws {
  let model = try LanguageModel(store: WeightStore.open(tinyLlama))
  func memory(rank: Int, _ targets: TargetModules) throws -> TrainingMemory {
    func reserve(_ arena: Arena) throws -> TrainingMemory {
      let tuning = LowRankConfiguration(rank: rank, targetModules: targets)
      return TrainingMemory(
        model: model, method: try tuning.reserve(for: model, in: TuningRoom(arena: arena, trainingTokens: 32)),
        strategy: TrainingStrategy(
          groupRows: 1, microBatchSize: 1, keptAttentionLayers: 0, keptFeedForwardLayers: 0, headRows: 128),
        rowLength: 32, precision: .int8, spillDirectory: ".", pool: ThreadPool(threadCount: 1), arena: arena)
    }
    return try reserve(Arena(reserving: reserve(.counting).arena.byteCount))
  }
  let chosen = try memory(rank: 4, .names(["q_proj"]))
  try chosen.begin(with: model)
  chosen.method.initialize(seed: 1)
  let other = try memory(rank: 8, .allLinear)
  #expect(try memory(rank: 4, .names(["q_proj"])).arena.buffers == chosen.arena.buffers)
  let session = TrainingSession(
    model: model, memory: chosen, optimizer: .adamw(AdamW()), maximumGradientNorm: 1, seed: 1)
  let sample = Sample(tokens: [1, 2, 3, 4], labels: [1, 2, 3, 4])
  let report = try session.step([Batch(rows: [[sample]], rowLength: 32)], step: 0, learningRate: 1e-3)
  #expect(report.gradientNorm > 0)
  #expect(
    chosen.method.trainables.gradients.sumOfSquares() > 0
      && other.method.trainables.parameters.count > chosen.method.trainables.parameters.count)
}
