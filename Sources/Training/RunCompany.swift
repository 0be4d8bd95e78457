import Dispatch
import Kernels
import Memory
import Planning
import Transformer

/// Runs that go through the weights together: what is read for one of them serves all.
///
/// Each is what it would be alone, in a thread of its own, with buffers of its own; one of them computes at a time. So each
/// has the bits that it has alone.
public enum RunCompany {
  /// No thread for a run.
  public struct NoThread: Error, CustomStringConvertible {
    public var description: String {
      "the system gives this process no more threads; check `ulimit -u`, or give a smaller --together"
    }
  }

  /// Addresses of a thread's stack, as many as a process's first thread has.
  private static let stackBytes = 8 << 20

  /// Calls `body` for every member, in a thread of its own and in its turn, and returns when all have ended. What `body`
  /// touches is touched by one member at a time.
  ///
  /// - Parameter body: gets the error where there is no thread for a member, before any of them begins
  public static func run(
    count: Int, _ body: @escaping @Sendable (_ member: Int, _ turn: Result<WeightTurn, NoThread>) -> Void
  ) {
    let turnstile = Turnstile(memberCount: count)
    let ended = DispatchSemaphore(value: 0)
    // The first one begins when all are there.
    let gate = DispatchSemaphore(value: 0)
    var missing: [Int] = []
    for member in 0..<count {
      let isThere = WorkerThread.start("edge-lora-run\(member)", stackSize: stackBytes) {
        if member == 0 { gate.wait() }
        turnstile.begin(member)
        body(member, .success(WeightTurn(turnstile, member: member)))
        turnstile.end(member)
        ended.signal()
      }
      if !isThere { missing.append(member) }
    }
    for member in missing { body(member, .failure(NoThread())) }
    gate.signal()
    for member in missing { turnstile.end(member) }
    for _ in 0..<count - missing.count { ended.wait() }
  }
}

extension TrainingRun {
  /// What preparing a further run adds to the process: its norms, its order of the data.
  private static let preparedHeap = 1 << 20

  /// How many runs such as this one go through the weights together: as many as fit. One, where no weights pass through or
  /// where its memory is so short that results suffer.
  ///
  /// - Parameters:
  ///   - most: runs that there are
  ///   - atAnyPrice: even if nothing passes through, and if they were slower than one run after the other
  public func companyCount(most: Int, atAnyPrice: Bool) throws -> Int {
    guard most > 1, atAnyPrice || plan.streams else { return 1 }
    return try prepared.planner.companyCount(
      most: most, alone: plan, budget: companyBudget, heapBytes: Self.preparedHeap, atAnyPrice: atAnyPrice)
  }

  /// Whether this run can go through the weights together with another one, and ends with the bits that it has alone.
  public func goes(with other: TrainingRun) -> Bool {
    prepared.planner.goes(with: other.prepared.planner) && prepared.planner.isWithoutLoss(plan)
  }

  /// Makes one plan for as many of `runs` as fit, from the first one on.
  ///
  /// - Parameter runs: the first one, and such as go with it; none has begun
  /// - Returns: how many they are; if it is one, the first has the plan that it had
  public static func planTogether(_ runs: [TrainingRun]) throws -> Int {
    guard let first = runs.first else { return 0 }
    first.prepared.model.store.dropPages()
    ProcessMemory.trim()
    let processBytes = ProcessMemory.residentBytes + RunPlanning.measuredHeap
    for count in (1...runs.count).reversed() where count > 1 {
      let planners = runs.prefix(count).map(\.prepared.planner)
      func planner(_ index: Int) -> TrainingPlanner {
        var others = planners
        let own = others.remove(at: index)
        return own.together(with: others, processByteCount: processBytes)
      }
      guard let plan = try planner(0).planWithoutLoss(budget: first.companyBudget) else { continue }
      for index in 0..<count {
        try runs[index].adopt(try planner(index).plan(plan.strategy, budget: first.options.plan.maximumMemory))
      }
      return count
    }
    return 1
  }

  /// Bytes for the whole process.
  private var companyBudget: Int? {
    options.plan.maximumMemory
      ?? MachineMemory.obtainableBytes.map { $0 / 10 * 9 + ProcessMemory.residentBytes }
  }
}
