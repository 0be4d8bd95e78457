import Glibc

/// A density over one dimension, made of what was seen there: a kernel around each observation and one for the whole range.
///
/// Numbers have normal kernels that are cut at the ends of the range, as wide as the distance to the farther neighbour;
/// choices have a histogram each. As Optuna defines it (`TPESampler` with its defaults).
///
/// Source: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"; Watanabe 2023, arXiv 2304.11127.
package struct ParzenEstimator {
  private enum Kernels {
    /// A row of probabilities for each kernel.
    case choices([[Double]])
    /// Means and widths, between `low` and `high`; all of them logarithms where the range is logarithmic.
    case numbers(means: [Double], widths: [Double], low: Double, high: Double)
  }

  private let values: Dimension.Values
  private let kernels: Kernels
  /// Of the kernels, the last one of the whole range; they sum to 1.
  private let weights: [Double]

  /// - Parameter observations: indices of choices, or numbers, the oldest first
  package init(_ values: Dimension.Values, observations: [Double]) {
    self.values = values
    let raw = Self.weights(of: observations.count) + [1]
    let sum = raw.reduce(0, +)
    weights = raw.map { $0 / sum }
    switch values {
    case .choices(let words):
      let share = 1 / Double(observations.count + 1)
      var rows = [[Double]](
        repeating: [Double](repeating: share, count: words.count), count: observations.count + 1)
      for (kernel, choice) in observations.enumerated() { rows[kernel][Int(choice)] += 1 }
      kernels = .choices(rows.map { row in row.map { $0 / row.reduce(0, +) } })
    case .range(var low, var high, let isLogarithmic, let isWhole):
      if isWhole { (low, high) = (low - 0.5, high + 0.5) }
      if isLogarithmic { (low, high) = (log(low), log(high)) }
      let means = isLogarithmic ? observations.map { log($0) } : observations
      kernels = .numbers(
        means: means + [0.5 * (low + high)],
        widths: Self.widths(of: means, low: low, high: high) + [high - low], low: low, high: high)
    }
  }

  /// The last 25 count fully, those before them the less the older they are.
  private static func weights(of count: Int) -> [Double] {
    let old = max(0, count - 25)
    let first = 1 / Double(max(count, 1))
    let ramp = (0..<old).map { (index: Int) -> Double in
      old == 1 ? first : first + (1 - first) * Double(index) / Double(old - 1)
    }
    return ramp + [Double](repeating: 1, count: count - old)
  }

  private static func widths(of means: [Double], low: Double, high: Double) -> [Double] {
    let order = means.indices.sorted { (means[$0], $0) < (means[$1], $1) }
    let least = (high - low) / min(100, Double(means.count + 2))
    var widths = [Double](repeating: 0, count: means.count)
    for (place, index) in order.enumerated() {
      let left = means[index] - (place > 0 ? means[order[place - 1]] : low)
      let right = (place + 1 < order.count ? means[order[place + 1]] : high) - means[index]
      // The ends of the range are no neighbours where there is another one.
      let width =
        order.count == 1 ? max(left, right) : place == 0 ? right : place + 1 == order.count ? left : max(left, right)
      widths[index] = min(max(width, least), high - low)
    }
    return widths
  }

  /// A value drawn with two numbers that are even between 0 and 1.
  package func draw(kernel: Double, place: Double) -> Double {
    var sum = 0.0
    var chosen = weights.count - 1
    for (index, weight) in weights.enumerated() {
      sum += weight
      if kernel < sum {
        chosen = index
        break
      }
    }
    switch kernels {
    case .choices(let rows):
      var sum = 0.0
      for (index, share) in rows[chosen].dropLast().enumerated() {
        sum += share
        if place <= sum { return Double(index) }
      }
      return Double(rows[chosen].count - 1)
    case .numbers(let means, let widths, let low, let high):
      let (mean, width) = (means[chosen], widths[chosen])
      let unit = Self.quantile(place, (low - mean) / width, (high - mean) / width)
      return number(min(max(mean + width * unit, low), high))
    }
  }

  /// What stands at a place of the scale.
  private func number(_ value: Double) -> Double {
    guard case .range(let low, let high, let isLogarithmic, let isWhole) = values else { return value }
    let number = isLogarithmic ? exp(value) : value
    return min(max(isWhole ? low + (number - low).rounded(.toNearestOrEven) : number, low), high)
  }

  /// Logarithm of the density, or of the probability, at a value; for numbers on the scale that the range is drawn on.
  package func logDensity(_ value: Double) -> Double {
    var sum = 0.0
    switch kernels {
    case .choices(let rows):
      for (row, weight) in zip(rows, weights) { sum += weight * row[Int(value)] }
    case .numbers(let means, let widths, let low, let high):
      guard case .range(_, _, let isLogarithmic, let isWhole) = values else { return -.infinity }
      func scaled(_ x: Double) -> Double { isLogarithmic ? log(x) : x }
      for index in means.indices {
        let (mean, width) = (means[index], widths[index])
        func unit(_ x: Double) -> Double { (x - mean) / width }
        let all = Self.mass(unit(low), unit(high))
        if isWhole {
          sum += weights[index] * Self.mass(unit(scaled(value - 0.5)), unit(scaled(value + 0.5))) / all
        } else {
          let x = unit(scaled(value))
          sum += weights[index] * exp(-0.5 * x * x) / ((2 * Double.pi).squareRoot() * width * all)
        }
      }
    }
    return log(sum)
  }

  /// What a standard normal distribution has between two places, without losing a tail.
  private static func mass(_ a: Double, _ b: Double) -> Double {
    let root = 0.5.squareRoot()
    if a > 0 { return 0.5 * (erfc(a * root) - erfc(b * root)) }
    if b < 0 { return 0.5 * (erfc(-b * root) - erfc(-a * root)) }
    return 0.5 * (erf(b * root) - erf(a * root))
  }

  /// Where a standard normal distribution that is cut at `a` and `b` has the share `place` below. Means lie inside their
  /// range, so 0 lies between the ends and the mass is never small: halving finds it to the last bits.
  private static func quantile(_ place: Double, _ a: Double, _ b: Double) -> Double {
    let wanted = place * mass(a, b)
    var (left, right) = (a, b)
    for _ in 0..<100 {
      let middle = 0.5 * (left + right)
      if mass(a, middle) < wanted { left = middle } else { right = middle }
    }
    return 0.5 * (left + right)
  }
}
