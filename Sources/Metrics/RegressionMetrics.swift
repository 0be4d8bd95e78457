/// How well numbers are met.
public struct RegressionMetrics: Sendable {
  public let meanSquaredError: Double
  /// NaN where one side does not vary, or holds what is no number.
  public let pearson: Double
  /// Of ranks, the mean rank where several are equal; NaN likewise.
  public let spearman: Double

  public init(truth: [Double], said: [Double]) {
    precondition(truth.count == said.count, "an answer to each number")
    let squares = zip(truth, said).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    meanSquaredError = truth.isEmpty ? 0 : squares / Double(truth.count)
    pearson = Self.correlation(truth, said)
    // What is no number has no rank.
    let areNumbers = !truth.contains(where: \.isNaN) && !said.contains(where: \.isNaN)
    spearman = areNumbers ? Self.correlation(Self.ranks(truth), Self.ranks(said)) : .nan
  }

  private static func correlation(_ a: [Double], _ b: [Double]) -> Double {
    let count = Double(max(a.count, 1))
    let (meanA, meanB) = (a.reduce(0, +) / count, b.reduce(0, +) / count)
    var (both, squaresA, squaresB) = (0.0, 0.0, 0.0)
    for (x, y) in zip(a, b) {
      both += (x - meanA) * (y - meanB)
      squaresA += (x - meanA) * (x - meanA)
      squaresB += (y - meanB) * (y - meanB)
    }
    return both / (squaresA.squareRoot() * squaresB.squareRoot())
  }

  private static func ranks(_ values: [Double]) -> [Double] {
    let order = values.indices.sorted { values[$0] < values[$1] }
    var ranks = [Double](repeating: 0, count: values.count)
    var start = 0
    while start < order.count {
      var end = start
      while end < order.count, values[order[end]] == values[order[start]] { end += 1 }
      for place in start..<end { ranks[order[place]] = Double(start + end + 1) / 2 }
      start = end
    }
    return ranks
  }
}
