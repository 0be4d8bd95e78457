import Kernels
import Memory
import Planning
import Testing
import Transformer
import Tuning
import WeightStore

/// A planner for the tiny model with so large adapters that their moments matter.
private func planner(_ moments: MomentFormat? = nil, inputs: LayerInputFormat? = nil) throws -> TrainingPlanner {
  var wishes = StrategyWishes()
  wishes.optimizerMoments = moments
  wishes.layerInputs = inputs
  return try TrainingPlanner(
    model: LanguageModel(store: WeightStore.open(tinyLlama)),
    tuning: LowRankConfiguration(rank: 32, targetModules: .allLinear), precision: .int8,
    pool: ThreadPool(threadCount: 2), rowsPerStep: 2, microBatchSize: 2, rowLength: 64, processByteCount: 20 << 20,
    spillDirectory: ".", wishes: wishes)
}

private func refusal(_ body: () throws -> Void) -> PlanError? {
  do {
    try body()
    return nil
  } catch {
    return error as? PlanError
  }
}

struct OptimizerMomentsPlanTests {
  /// Two bytes and a 64th of four for each parameter, and two blocks of floats for each thread.
  @Test func theBytesAreThoseOfCodesMaximaAndWorkingMemory() throws {
    func optimizerBytes(_ format: MomentFormat) throws -> (bytes: Int, parameters: Int, parts: [Int]) {
      let planner = try planner(format)
      let plan = try planner.plan(budget: nil)
      let memory = try planner.memory(of: plan)
      let handedOut = memory.arena.buffers.filter { $0.kind == .optimizer }.reduce(0) { $0 + $1.byteCount }
      #expect(plan.memory.byteCountByKind.first { $0.kind == .optimizer }?.byteCount == handedOut)
      return (handedOut, plan.trainableParameters, memory.method.trainables.counts)
    }
    func aligned(_ byteCount: Int) -> Int { (byteCount + 63) / 64 * 64 }
    let exact = try optimizerBytes(.f32)
    #expect(exact.bytes == 2 * aligned(exact.parameters * 4))
    let rounded = try optimizerBytes(.int8)
    let blocks = BlockwiseMoments.blockCount(parts: rounded.parts)
    #expect(rounded.parts.reduce(0, +) == rounded.parameters)
    #expect(rounded.bytes == 2 * aligned(rounded.parameters) + 2 * aligned(blocks * 4) + 2 * 2048)
  }

  @Test func momentsLoseBitsOnlyWhereNothingElseFits() throws {
    let auto = try planner()
    let leastExact = try planner(.f32).least()
    let least = try auto.least()
    #expect(least < leastExact)
    #expect(try auto.plan(budget: nil).strategy.losses.isEmpty)
    #expect(try auto.plan(available: nil).strategy.losses.isEmpty)
    #expect(try auto.plan(budget: leastExact).strategy.optimizerMoments == .f32)
    let below = try auto.plan(budget: leastExact - 1)
    #expect(below.strategy.optimizerMoments == .int8 && below.predictedPeakBytes < leastExact)
    #expect(below.table.contains("optimiser moments: int8 (lossy"))
    let lines = TrainingPlan.comparison([below]).split(separator: "\n")
    #expect(lines.count == 3 && lines[2] == "            lossy: optimiser moments as int8")
    let frugal = try auto.plan(budget: least)
    let passing = try auto.memory(of: frugal).workspace.passingByteCount
    #expect(frugal.predictedPeakBytes + passing == least)
    let error = try #require(refusal { _ = try auto.plan(budget: least - 1) })
    #expect(error.least == least)
    #expect("\(error)".contains("optimiser moments as int8 (lossy)"))
  }

  @Test func aWishIsKept() throws {
    #expect(try planner(.int8).plan(budget: nil).strategy.optimizerMoments == .int8)
    #expect(try planner(.int8).plan(available: 8 << 30).strategy.losses == ["optimiser moments as int8"])
    let error = try #require(refusal { _ = try planner(.f32).plan(budget: planner().least()) })
    #expect(try error.least == planner(.f32).least())
  }
}
