import Search
import Testing

@Suite struct SchedulerTests {
  private func scheduler(_ strategy: Strategy, trials: Int? = nil) throws -> Scheduler {
    let (space, base) = try Space.split(["rank": ["1,2,3,4,5,6,7,8,9"]], file: nil)
    return try Scheduler(strategy, space: space, base: base, trials: trials, seed: 3)
  }

  /// Jobs in order, where the cost of a trial is what `cost` says.
  private func jobs(_ scheduler: Scheduler, cost: (Job) -> Double) throws -> [Job] {
    var scheduler = scheduler
    var known: [Measurement] = []
    var jobs: [Job] = []
    while let job = try scheduler.next(known), jobs.count < 1000 {
      jobs.append(job)
      known.append(Measurement(trial: job.trial, rung: job.rung, cost: cost(job)))
    }
    return jobs
  }

  @Test func aGridIsTriedInOrder() throws {
    #expect(try jobs(try scheduler(.grid)) { _ in 1 } == (0..<9).map { Job(trial: $0, rung: 0) })
  }

  @Test func randomSettingsAreDistinctAndRepeatable() throws {
    let some = try scheduler(.random, trials: 5).candidates
    #expect(Set(some).count == 5)
    #expect(try scheduler(.random, trials: 5).candidates == some)
  }

  @Test func onlyTrialsOfOneStageAreDoneTogether() throws {
    func jobs(_ strategy: Strategy, _ known: [Measurement]) throws -> [Job] {
      var scheduler = try scheduler(strategy, trials: strategy == .tpe ? 9 : nil)
      return try scheduler.following(known)
    }
    let first = (0..<9).map { Measurement(trial: $0, rung: 0, cost: Double($0)) }
    #expect(try jobs(.grid, []) == (0..<9).map { Job(trial: $0, rung: 0) })
    #expect(try jobs(.grid, [first[1], first[3]]).map(\.trial) == [0, 2, 4, 5, 6, 7, 8])
    #expect(try jobs(.grid, first).isEmpty)
    #expect(try jobs(.halving, Array(first.dropLast())) == [Job(trial: 8, rung: 0)])
    #expect(try jobs(.halving, first) == (0..<3).map { Job(trial: $0, rung: 1) })
    #expect(try jobs(.asha, []).count == 1)
    #expect(try jobs(.tpe, []).count == 1)
  }

  @Test func halvingPromotesTheBestThird() throws {
    let halving = try scheduler(.halving)
    let all = try jobs(halving) { Double(abs($0.trial - 4)) }
    #expect(all.filter { $0.rung == 0 }.map(\.trial) == Array(0..<9))
    #expect(all.filter { $0.rung == 1 }.map(\.trial) == [3, 4, 5])
    #expect(all.filter { $0.rung == 2 }.map(\.trial) == [4])
    #expect(abs(halving.share(of: 0) - 1 / 9.0) < 1e-12)
    #expect(halving.share(of: 2) == 1)
  }

  @Test func failedTrialsGoNoFurther() throws {
    let all = try jobs(try scheduler(.halving)) { $0.trial == 4 ? .infinity : Double(abs($0.trial - 4)) }
    #expect(!all.contains { $0.trial == 4 && $0.rung > 0 })
    #expect(try jobs(try scheduler(.halving)) { _ in .infinity }.count == 9)
    #expect(try jobs(try scheduler(.asha)) { _ in .infinity }.count == 9)
  }

  @Test func ashaPromotesAtOnceAndEndsWithAWholeTrial() throws {
    let all = try jobs(try scheduler(.asha)) { Double($0.trial) }
    #expect(all.prefix(4) == [0, 1, 2].map { Job(trial: $0, rung: 0) } + [Job(trial: 0, rung: 1)])
    #expect(all.filter { $0.rung == 2 }.map(\.trial) == [0])
    #expect(Set(all.map { [$0.trial, $0.rung] }).count == all.count)
    #expect(try jobs(try scheduler(.asha, trials: 2)) { Double($0.trial) }.last?.rung == 2)
  }
}
