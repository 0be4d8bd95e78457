import Memory
import Transformer

/// Plans for several runs that go through the weights together: one budget, one strategy, and only one that changes no result.
extension TrainingPlanner {
  /// Whether a plan has no losses but those that were wished for: whatever the budget, such plans have the same bits.
  public func isWithoutLoss(_ plan: TrainingPlan) -> Bool { rungs.first?.holds(plan.strategy) ?? false }

  /// Whether the other run can have the same strategy, on the same mapped weights.
  public func goes(with other: TrainingPlanner) -> Bool {
    model.store === other.model.store && rowsPerStep == other.rowsPerStep && microBatchSize == other.microBatchSize
      && precision == other.precision && optimizer == other.optimizer && wishes == other.wishes
  }

  /// The same for a run beside others: what it plans is the memory of all of them.
  ///
  /// - Parameters:
  ///   - companions: of the others; they go with this one
  ///   - processByteCount: resident bytes of the process before the buffers of any of them
  public func together(with companions: [TrainingPlanner], processByteCount: Int) -> TrainingPlanner {
    var planner = self
    planner.companions = companions
    planner.processByteCount = processByteCount
    planner.known = Known()
    return planner
  }

  /// The fastest plan inside a budget that changes no result; `nil` where there is none.
  public func planWithoutLoss(budget: Int?) throws -> TrainingPlan? {
    try found(budget: budget, rungs: Array(rungs.prefix(1)))
  }

  /// How many runs such as this one should go through the weights together.
  ///
  /// - Parameters:
  ///   - most: runs that there are
  ///   - alone: the plan of this one
  ///   - budget: bytes for the whole process; `nil` for no limit
  ///   - heapBytes: what preparing another run adds to the process
  ///   - asManyAsFit: even if each were faster in smaller company
  public func companyCount(
    most: Int, alone: TrainingPlan, budget: Int?, heapBytes: Int, asManyAsFit: Bool
  ) throws -> Int {
    guard isWithoutLoss(alone) else { return 1 }
    var found = [(count: 1, seconds: alone.cost.seconds(speed))]
    var count = most
    while count > 1 {
      let planner = together(
        with: [TrainingPlanner](repeating: self, count: count - 1),
        processByteCount: processByteCount + (count - 1) * heapBytes)
      if let plan = try planner.planWithoutLoss(budget: budget) {
        if asManyAsFit { return count }
        found.append((count, plan.cost.seconds(speed, together: count) / Double(count)))
      }
      count = count > 8 && !asManyAsFit ? count * 3 / 4 : count - 1
    }
    let least = found.map(\.seconds).min() ?? .infinity
    // Of what is as fast the largest, which reads least.
    return found.filter { $0.seconds <= least * Self.nearlyAsFast }.map(\.count).max() ?? 1
  }

  /// The plan of a run beside others that has a certain strategy.
  public func plan(_ strategy: TrainingStrategy, budget: Int?) throws -> TrainingPlan {
    try finish(strategy, budget: budget)
  }
}
