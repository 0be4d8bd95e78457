import Formats

/// The energy of a run's steps.
///
/// `energy_joules` counts from when the process began: where a run was resumed it begins anew, and what was counted before is
/// added.
package struct EnergyFigures {
  /// Energy since the start of the run, by step.
  package let sums: [(step: Double, value: Double)]

  package init(run: RunRecord) {
    var (before, last) = (0.0, 0.0)
    sums = run.series("energy_joules").map { point in
      if point.value < last { before += last }
      last = point.value
      return (point.step, before + last)
    }
  }

  package var total: Double? { sums.last?.value }
}
