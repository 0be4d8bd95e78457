import Kernels
import Planning
import Testing
import Transformer
import Tuning
import WeightStore

/// A limit that counts the page cache sees weights on their way from storage as well.
@Test func aBudgetHasRoomForWhatIsReadAhead() throws {
  let model = try LanguageModel(store: WeightStore.open(tinyLlama))
  let planner = try TrainingPlanner(
    model: model, tuning: LowRankConfiguration(rank: 4, targetModules: .allLinear), precision: .int8,
    pool: ThreadPool(threadCount: 1), rowsPerStep: 1, microBatchSize: 1, rowLength: 64, processByteCount: 20 << 20,
    spillDirectory: ".")
  let least = try planner.least()
  let plan = try planner.plan(budget: least)
  let passing = try planner.memory(of: plan).workspace.passingByteCount
  #expect(passing > 0)
  #expect(plan.predictedPeakBytes + passing <= least)
  #expect(throws: PlanError.self) { _ = try planner.plan(budget: least - 1) }
}

/// Runs that no machine here could do: they must have a plan or a reason, never a trap.
private let giants: [(shape: String, rows: Int, microBatch: Int, length: Int, budgets: [Int?])] = [
  ("llama-2-7b", 64, 64, 2048, [1 << 30, nil]),
  ("llama-2-7b", 1, 1, 4096, [900 << 20, 8 << 30]),
  ("tinyllama-1.1b", 1024, 1024, 2048, [2 << 30, nil]),
  ("llama-3.2-3b", 1, 1, 131_072, [4 << 30, nil]),
  ("gemma-3-1b", 4, 4, 32_768, [512 << 20, 16 << 30]),
]

@Test(arguments: giants.indices) func aGiantRunHasAPlanOrALeastThatWorks(index: Int) throws {
  let (shape, rows, microBatch, length, budgets) = giants[index]
  try withSparseStore(shape) { folder in
    let planner = try TrainingPlanner(
      model: try LanguageModel(store: WeightStore.open(folder)),
      tuning: LowRankConfiguration(rank: 16, targetModules: .allLinear), precision: .int8,
      pool: ThreadPool(threadCount: 4), rowsPerStep: rows, microBatchSize: microBatch, rowLength: length,
      processByteCount: 30 << 20, spillDirectory: ".")
    let least = try planner.least()
    #expect(least > 30 << 20)
    for budget in budgets {
      do {
        let plan = try planner.plan(budget: budget)
        #expect(budget.map { plan.predictedPeakBytes <= $0 } ?? true)
        #expect(plan.memory.byteCount > 0 && plan.predictedTokensPerSecond > 0)
      } catch let error as PlanError {
        let budget = try #require(budget, "without a budget there is always a plan")
        #expect(error.least == least && error.least > budget)
        // What the message names, in whole megabytes, works.
        let megabytes = (error.least + (1 << 20) - 1) >> 20
        #expect("\(error)".contains("--max-mem \(megabytes)M"))
        #expect(try planner.plan(budget: megabytes << 20).predictedPeakBytes <= megabytes << 20)
      }
    }
  }
}

/// Every change that an error proposes makes the run fit what it says.
@Test func remediesThatSayNoLessAreNotNamed() throws {
  let planner = try TrainingPlanner(
    model: LanguageModel(store: WeightStore.open(tinyLlama)),
    tuning: LowRankConfiguration(rank: 2, targetModules: .familyDefault), precision: .int8,
    pool: ThreadPool(threadCount: 1), rowsPerStep: 1, microBatchSize: 1, rowLength: 512,
    processByteCount: 20 << 20, spillDirectory: ".")
  func megabytes(_ count: Int) -> Int { (count + (1 << 20) - 1) >> 20 }
  do {
    _ = try planner.plan(budget: 1 << 20)
    Issue.record("a budget of one megabyte was met")
  } catch let error as PlanError {
    #expect(error.remedies.map(\.change) == ["--max-length 256", "--rank 1"])
    for (change, least) in error.remedies {
      #expect("\(error)".contains("with \(change):") == (megabytes(least) < megabytes(error.least)))
    }
  }
}

@Test func theRemediesOfAnErrorWork() throws {
  let model = try LanguageModel(store: WeightStore.open(tinyLlama))
  func planner(rank: Int, targets: TargetModules, length: Int) throws -> TrainingPlanner {
    try TrainingPlanner(
      model: model, tuning: LowRankConfiguration(rank: rank, targetModules: targets), precision: .int8,
      pool: ThreadPool(threadCount: 1), rowsPerStep: 1, microBatchSize: 1, rowLength: length,
      processByteCount: 20 << 20, spillDirectory: ".")
  }
  let wanted = try planner(rank: 64, targets: .allLinear, length: 512)
  do {
    _ = try wanted.plan(budget: 1 << 20)
    Issue.record("a budget of one megabyte was met")
  } catch let error as PlanError {
    #expect(error.remedies.count == 3)
    let tried = try [
      ("--max-length 256", planner(rank: 64, targets: .allLinear, length: 256).least()),
      ("--rank 32", planner(rank: 32, targets: .allLinear, length: 512).least()),
      ("--target-modules q_proj,v_proj", planner(rank: 64, targets: .familyDefault, length: 512).least()),
    ]
    for (change, least) in tried {
      #expect(error.remedies.contains { $0.change == change && $0.least == least }, "\(change)")
    }
  }
}
