import Glibc

/// How a range of numbers is walked.
package struct Scale {
  package let isLogarithmic: Bool

  /// The number that stands at `unit`, from 0 to 1, between two ends.
  package func value(_ low: Double, _ high: Double, _ unit: Double) -> Double {
    let value = isLogarithmic ? exp(log(low) + unit * (log(high) - log(low))) : low + unit * (high - low)
    return min(max(value, low), high)
  }
}
