import Formats
import Glibc
import Search
import Testing

/// Against Optuna's sampler with the same history and the same random numbers.
@Suite struct TreeParzenTests {
  private struct Case {
    let values: Dimension.Values
    let history: [(value: Double?, cost: Double)]
    let uniform: [Double]
    /// Value, and logarithms of the good ones' density and of the others'.
    let samples: [[Double]]
    let value: Double

    init(_ json: JSONValue) throws {
      let name = try #require(json["name"]?.stringValue)
      let space = try #require(json["space"])
      if let words = space.arrayValue {
        values = .choices(words.compactMap(\.stringValue))
      } else {
        values = .range(
          low: try #require(space["low"]?.doubleValue), high: try #require(space["high"]?.doubleValue),
          isLogarithmic: space["log"] != nil, isWhole: name.hasSuffix("whole"))
      }
      func rows(_ name: String) throws -> [[Double]] {
        try #require(json[name]?.arrayValue).map { ($0.arrayValue ?? []).compactMap(\.doubleValue) }
      }
      history = try rows("history").map { (value: $0[0], cost: $0[1]) }
      samples = try rows("samples")
      uniform = try #require(json["uniform"]?.arrayValue).compactMap(\.doubleValue)
      value = try #require(json["value"]?.doubleValue)
    }

    func estimator(good isGood: Bool) -> ParzenEstimator {
      let order = history.indices.sorted { history[$0].cost < history[$1].cost }
      let good = Set(order.prefix(TreeParzenSampler.goodCount(of: history.count)))
      return ParzenEstimator(
        values,
        observations: history.indices.filter { good.contains($0) == isGood }.compactMap { history[$0].value })
    }
  }

  private static func cases() throws -> [Case] {
    let path = goldenSamples
    return try #require(JSONValue.parse(contentsOf: path)["cases"]?.arrayValue).map { try Case($0) }
  }

  // Sums of a few dozen terms in another order, and differences of integrals: 1e-11.
  @Test func densitiesAreOptunas() throws {
    for one in try Self.cases() {
      let (good, others) = (one.estimator(good: true), one.estimator(good: false))
      for sample in one.samples {
        #expect(abs(good.logDensity(sample[0]) - sample[1]) < 1e-11)
        #expect(abs(others.logDensity(sample[0]) - sample[2]) < 1e-11)
      }
    }
  }

  @Test func drawnValuesAreOptunas() throws {
    for one in try Self.cases() {
      let good = one.estimator(good: true)
      for (index, sample) in one.samples.enumerated() {
        let value = good.draw(
          kernel: one.uniform[index], place: one.uniform[TreeParzenSampler.candidateCount + index])
        #expect(abs(value - sample[0]) <= 1e-12 * abs(sample[0]))
      }
    }
  }

  @Test func suggestionsAreOptunas() throws {
    for one in try Self.cases() {
      var rest = one.uniform[...]
      let value = TreeParzenSampler.value(one.values, history: one.history) { rest.popFirst() ?? .nan }
      #expect(rest.isEmpty)
      // Of two choices that promise the same, the last bits of a sum say which is taken.
      func gain(_ x: Double) -> Double {
        one.estimator(good: true).logDensity(x) - one.estimator(good: false).logDensity(x)
      }
      if case .choices = one.values {
        #expect(abs(gain(value) - gain(one.value)) < 1e-11)
      } else {
        #expect(abs(value - one.value) <= 1e-12 * abs(one.value))
      }
    }
  }

  @Test func suggestionsAreRepeatableAndGetBetter() throws {
    let space = Space([
      Dimension("learning-rate", .range(low: 1e-5, high: 1e-1, isLogarithmic: true, isWhole: false)),
      Dimension("rank", .choices(["4", "8", "16"])),
    ])
    /// Best at 1e-3 and rank 8.
    func cost(_ settings: Settings) -> Double {
      let rate = Double(settings.entries[0].word) ?? 1
      return abs(log10(rate) + 3) + (settings.entries[1].word == "8" ? 0 : 0.5)
    }
    func run() throws -> [Double] {
      var scheduler = try Scheduler(.tpe, space: space, base: [:], trials: 40, seed: 5)
      var known: [Measurement] = []
      while let job = try scheduler.next(known) {
        known.append(Measurement(trial: job.trial, rung: 0, cost: cost(scheduler.candidates[job.trial])))
      }
      return known.map(\.cost)
    }
    let costs = try run()
    #expect(costs.count == 40)
    #expect(try run() == costs)
    #expect(costs[20...].reduce(0, +) / 20 < 0.7 * costs[..<10].reduce(0, +) / 10)
  }
}
