import Glibc
import Randomness

/// Draws where good settings were denser than bad ones: the tree-structured Parzen estimator, one dimension after the other,
/// with Optuna's defaults.
package struct TreeParzenSampler {
  /// Settings that are drawn evenly before there is anything to learn from.
  package static let startCount = 10
  /// Values that are drawn from the good ones' density, of which the most promising is taken.
  package static let candidateCount = 24

  /// How many of so many trials are good ones.
  package static func goodCount(of count: Int) -> Int { min((count + 9) / 10, 25) }

  /// One value of a dimension.
  ///
  /// - Parameters:
  ///   - history: values and costs of trials that did not fail, the oldest first; `nil` where a trial has no such option
  ///   - uniform: the next number from 0 to 1; all kernels are drawn before all places
  package static func value(
    _ values: Dimension.Values, history: [(value: Double?, cost: Double)], uniform: () -> Double
  ) -> Double {
    let order = history.indices.sorted { (history[$0].cost, $0) < (history[$1].cost, $1) }
    let good = Set(order.prefix(goodCount(of: history.count)))
    func estimator(_ isGood: Bool) -> ParzenEstimator {
      ParzenEstimator(
        values, observations: history.indices.filter { good.contains($0) == isGood }.compactMap { history[$0].value })
    }
    let (below, above) = (estimator(true), estimator(false))
    let kernels = (0..<candidateCount).map { _ in uniform() }
    var best = (value: 0.0, gain: -Double.infinity)
    for (index, kernel) in kernels.enumerated() {
      let value = below.draw(kernel: kernel, place: uniform())
      let gain = below.logDensity(value) - above.logDensity(value)
      if index == 0 || gain > best.gain { best = (value, gain) }
    }
    return best.value
  }

  /// Words for all dimensions.
  ///
  /// - Parameter history: words and costs of the trials before; infinite where one failed
  package static func words(
    _ space: Space, history: [(words: [String], taken: Set<String>, cost: Double)], generator: inout SplitMix64
  ) -> [String] {
    let whole = history.filter { $0.cost.isFinite }
    guard whole.count >= startCount else { return space.draw(&generator) }
    return space.dimensions.indices.map { place in
      let dimension = space.dimensions[place]
      let seen = whole.map { trial in
        (value: trial.taken.contains(dimension.option) ? dimension.number(trial.words[place]) : nil, cost: trial.cost)
      }
      return dimension.word(
        value(dimension.values, history: seen) { Double(generator.next() >> 11) / Double(1 << 53) })
    }
  }
}

extension Dimension {
  /// A word as the sampler sees it: the index of a choice, or the number.
  func number(_ word: String) -> Double? {
    switch values {
    case .choices(let words): words.firstIndex(of: word).map { Double($0) }
    case .range: Double(word)
    }
  }

  func word(_ number: Double) -> String {
    switch values {
    case .choices(let words): words[Int(number)]
    case .range(_, _, _, let isWhole): Self.text(number, isWhole: isWhole)
    }
  }
}
