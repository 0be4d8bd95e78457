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

  /// How many runs such as this one go through the weights together: as many as fit.
  ///
  /// - Parameters:
  ///   - most: runs that there are
  ///   - alone: the plan of this one
  ///   - budget: bytes for the whole process; `nil` for no limit
  ///   - heapBytes: what preparing another run adds to the process
  ///   - atAnyPrice: even if their plan would be slower than one run after the other, or write what that does not
  public func companyCount(
    most: Int, alone: TrainingPlan, budget: Int?, heapBytes: Int, atAnyPrice: Bool
  ) throws -> Int {
    guard isWithoutLoss(alone) else { return 1 }
    let bound = alone.cost.seconds(speed) * Self.nearlyAsFast
    for count in (1...max(1, most)).reversed() where count > 1 {
      let planner = together(
        with: [TrainingPlanner](repeating: self, count: count - 1),
        processByteCount: processByteCount + (count - 1) * heapBytes)
      guard let plan = try planner.planWithoutLoss(budget: budget) else { continue }
      let isWorthIt =
        plan.cost.seconds(speed, together: count) / Double(count) <= bound
        && plan.cost.spilledBytes <= alone.cost.spilledBytes
      if atAnyPrice || isWorthIt { return count }
    }
    return 1
  }

  /// The plan of a run beside others that has a certain strategy.
  public func plan(_ strategy: TrainingStrategy, budget: Int?) throws -> TrainingPlan {
    try finish(strategy, budget: budget)
  }
}
