import Kernels
import Memory
import Planning
import Testing
import Transformer
import Tuning
import WeightStore

/// Runs that go through the weights together.
@Suite struct CompanyPlanTests {
  private let ranks = [4, 16, 8, 4, 8]
  private let processBytes = 40 << 20

  private func planners(_ folder: String, rank: Int? = nil) throws -> [TrainingPlanner] {
    let store = try WeightStore.open(folder)
    let pool = ThreadPool(threadCount: 1)
    return try (rank.map { [$0] } ?? ranks).map { rank in
      try TrainingPlanner(
        model: try LanguageModel(store: store), tuning: LowRankConfiguration(rank: rank, targetModules: .familyDefault),
        precision: .int8, pool: pool, rowsPerStep: 1, microBatchSize: 1, rowLength: 128, processByteCount: processBytes,
        spillDirectory: ".")
    }
  }

  /// The planner of one member beside the others.
  private func member(_ index: Int, of planners: [TrainingPlanner]) -> TrainingPlanner {
    var others = planners
    let own = others.remove(at: index)
    return own.together(with: others, processByteCount: processBytes)
  }

  @Test func aBudgetHoldsTheBuffersOfAllRunsAndTheWeightsOnce() throws {
    try withSparseStore("tinyllama-1.1b") { folder in
      let all = try planners(folder)
      let budget = 512 << 20
      let plan = try #require(try member(0, of: all).planWithoutLoss(budget: budget))
      #expect(plan.together == all.count && plan.streams)
      #expect(plan.predictedPeakBytes <= budget)
      var sum = processBytes
      for (index, planner) in all.enumerated() {
        #expect(planner.goes(with: all[0]))
        let own = try member(index, of: all).plan(plan.strategy, budget: budget)
        #expect(own.predictedPeakBytes == plan.predictedPeakBytes)
        let memory = try planner.memory(of: own)
        sum += memory.arena.byteCount + (index == 0 ? memory.workspace.residency.residentByteCount : 0)
      }
      // The rest is the heap of steps.
      #expect(sum <= plan.predictedPeakBytes && plan.predictedPeakBytes - sum <= 6 << 20 + all.count << 20)
    }
  }

  @Test func aCompanyIsAsLargeAsTheBudgetAllows() throws {
    try withSparseStore("tinyllama-1.1b") { folder in
      let planner = try planners(folder, rank: 16)[0]
      var counts: [Int] = []
      for budget in [300, 400, 600].map({ $0 << 20 }) {
        let alone = try planner.plan(budget: budget)
        let count = try planner.companyCount(
          most: 16, alone: alone, budget: budget, heapBytes: 1 << 20, atAnyPrice: true)
        let free = try planner.companyCount(
          most: 16, alone: alone, budget: budget, heapBytes: 1 << 20, atAnyPrice: false)
        #expect(free <= count)
        counts.append(count)
        func fits(_ count: Int) throws -> Bool {
          let others = [TrainingPlanner](repeating: planner, count: count - 1)
          return try planner.together(with: others, processByteCount: processBytes + (count - 1) << 20)
            .planWithoutLoss(budget: budget) != nil
        }
        #expect(try fits(count))
        if count < 16 { #expect(try !fits(count + 1)) }
      }
      #expect(counts == counts.sorted() && counts[0] < counts[2] && counts[2] > 1)
    }
  }

  @Test func whereResultsSufferRunsGoAlone() throws {
    try withSparseStore("tinyllama-1.1b") { folder in
      let planner = try planners(folder, rank: 16)[0]
      let least = try planner.least()
      let alone = try planner.plan(budget: least)
      #expect(!alone.strategy.losses.isEmpty && !planner.isWithoutLoss(alone))
      #expect(
        try planner.companyCount(most: 9, alone: alone, budget: least, heapBytes: 0, atAnyPrice: true) == 1)
    }
  }

  @Test func otherStoresAndOtherStepsDoNotGoTogether() throws {
    try withSparseStore("tinyllama-1.1b") { folder in
      let (one, other) = (try planners(folder, rank: 4)[0], try planners(folder, rank: 4)[0])
      #expect(!one.goes(with: other))
    }
  }
}
