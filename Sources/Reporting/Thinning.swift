import Glibc

/// Fewer points that look like all of them.
package enum Thinning {
  package typealias Point = (step: Double, value: Double)

  /// Keeps the first and last point, and of each stretch of equally many points the least and the greatest.
  ///
  /// - Parameter most: points that are kept, at least 4
  package static func extremes(_ points: [Point], most: Int) -> [Point] {
    guard points.count > max(most, 4) else { return points }
    let stretches = max(1, (most - 2) / 2)
    let inner = points.count - 2
    var kept = [points[0]]
    for stretch in 0..<stretches {
      let range = 1 + inner * stretch / stretches..<1 + inner * (stretch + 1) / stretches
      guard let first = range.first else { continue }
      var (low, high) = (first, first)
      for index in range {
        if points[index].value < points[low].value { low = index }
        if points[index].value > points[high].value { high = index }
      }
      kept.append(points[min(low, high)])
      if low != high { kept.append(points[max(low, high)]) }
    }
    return kept + [points[points.count - 1]]
  }

  /// Places of the first and last line, and of each stretch of lines the one where `value` is greatest.
  package static func peaks(_ count: Int, most: Int, value: (Int) -> Double) -> [Int] {
    guard count > max(most, 3) else { return Array(0..<count) }
    let stretches = max(1, most - 2)
    let inner = count - 2
    let peaks = (0..<stretches).compactMap { stretch in
      (1 + inner * stretch / stretches..<1 + inner * (stretch + 1) / stretches).max { value($0) < value($1) }
    }
    return [0] + peaks + [count - 1]
  }

  /// The mean of what came before, which forgets after about `window` points; at the beginning, of what there is.
  package static func smoothed(_ points: [Point], window: Int) -> [Point] {
    let keep = 1 - 1 / Double(max(1, window))
    var (sum, weight) = (0.0, 0.0)
    return points.map { point in
      sum = sum * keep + point.value * (1 - keep)
      weight = weight * keep + (1 - keep)
      return (point.step, sum / weight)
    }
  }

  /// Every so many points, and the last one.
  package static func evenly(_ points: [Point], most: Int) -> [Point] {
    guard points.count > max(most, 2) else { return points }
    return (0..<most).map { points[(points.count - 1) * $0 / (most - 1)] }
  }

  /// To five digits, which is more than a picture shows.
  package static func rounded(_ value: Double) -> Double {
    guard value != 0, value.isFinite else { return value.isFinite ? value : 0 }
    let digits = 4 - Int(log10(abs(value)).rounded(.down))
    guard abs(digits) < 290 else { return value }
    // Dividing by a power of ten is exact where multiplying with a fraction is not: 0.1, not 0.1000...1.
    let factor = pow(10, Double(abs(digits)))
    return digits >= 0 ? (value * factor).rounded() / factor : (value / factor).rounded() * factor
  }
}
