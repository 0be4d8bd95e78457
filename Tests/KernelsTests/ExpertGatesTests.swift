import Kernels
import Testing

/// Experts of the ranks 2, 1 and 3; the product of a token with them, and with their prototypes.
struct ExpertGatesTests {
  private let ranks = [2, 1, 3]

  /// Products of a token, gated in double precision.
  private func gated(_ x: [Double], topK: Int, temperature: Double) -> [Double] {
    let scores = x.suffix(3).map { abs($0) / temperature }
    let chosen = scores.indices.sorted { scores[$0] > scores[$1] }.prefix(topK)
    var sum = 0.0
    for expert in chosen { sum += exponential(scores[expert]) }
    var result: [Double] = []
    var column = 0
    for (expert, rank) in ranks.enumerated() {
      let gate = chosen.contains(expert) ? exponential(scores[expert]) / sum : 0
      for _ in 0..<rank {
        result.append(gate * x[column])
        column += 1
      }
    }
    return result
  }

  /// By its series: arguments are small.
  private func exponential(_ x: Double) -> Double {
    var (sum, part) = (1.0, 1.0)
    for step in 1...60 {
      part *= x / Double(step)
      sum += part
    }
    return sum
  }

  @Test(arguments: [(1, 1.0), (2, 0.5), (3, 2.0), (9, 1.0)]) func gatesAndTheirGradientsMatchFP64(
    topK: Int, temperature: Double
  ) {
    let (rows, columns) = (37, 9)
    var generator = Generator()
    let memory = (0..<3).map { _ in Memory(rows * columns * 4) }
    let products = Matrix(memory[0].bind(Float.self), rows: rows, columns: columns)
    let gated = Matrix(memory[1].bind(Float.self), rows: rows, columns: 6)
    let gradient = Matrix(memory[2].bind(Float.self), rows: rows, columns: columns)
    products.elements.assign((0..<rows * columns).map { _ in 2 * generator.next() })
    gradient.elements.assign((0..<rows * columns).map { _ in generator.next() })
    let given = gradient.elements.values
    let gates = ExpertGates(ranks: ranks, topK: topK, temperature: Float(temperature))
    let pool = ThreadPool(threadCount: 2)
    gates.apply(products, into: gated, pool: pool)
    gates.backward(gradient, products: products, pool: pool)
    let count = min(topK, 3)
    for row in 0..<rows {
      let x = products.row(row).values.map { Double($0) }
      let expected = self.gated(x, topK: count, temperature: temperature)
      for (found, value) in zip(gated.row(row).values, expected) { #expect(abs(Double(found) - value) < 1e-5) }
      let dy = given[row * columns..<row * columns + 6].map { Double($0) }
      // Central differences, where no other expert is chosen within the step.
      let step = 1e-5
      let likeness = x.suffix(3).map { abs($0) }.sorted()
      guard zip(likeness, likeness.dropFirst()).allSatisfy({ $1 - $0 > 4 * step }), likeness[0] > 2 * step else {
        continue
      }
      for column in 0..<columns {
        var (up, down) = (x, x)
        up[column] += step
        down[column] -= step
        let high = self.gated(up, topK: count, temperature: temperature)
        let low = self.gated(down, topK: count, temperature: temperature)
        var slope = 0.0
        for index in 0..<6 { slope += dy[index] * (high[index] - low[index]) / (2 * step) }
        #expect(abs(Double(gradient.row(row).values[column]) - slope) < 2e-4)
      }
    }
    withExtendedLifetime(memory) {}
  }
}
