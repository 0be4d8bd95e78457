import Deployment
import Foundation
import Testing

private let logits: [Float] = [0, 2, 1, -1, 2, .leastNormalMagnitude]

private func probabilities(_ options: SamplingOptions, draws: Int = 40_000) -> [Double] {
  var sampler = TokenSampler(options)
  var counts = [Double](repeating: 0, count: logits.count)
  for _ in 0..<draws { counts[Int(sampler.next(logits))] += 1 }
  return counts.map { $0 / Double(draws) }
}

/// Probabilities of transformers' warpers: temperature, then the likeliest `k`, then those that together have `p`.
private func expected(_ temperature: Double, _ kept: [Int]) -> [Double] {
  let weights = logits.indices.map { kept.contains($0) ? exp(Double(logits[$0]) / temperature) : 0 }
  return weights.map { $0 / weights.reduce(0, +) }
}

@Test(arguments: [
  (SamplingOptions(temperature: 1), [0, 1, 2, 3, 4, 5]), (SamplingOptions(temperature: 0.5), [0, 1, 2, 3, 4, 5]),
  (SamplingOptions(temperature: 1, topK: 3), [1, 4, 2]), (SamplingOptions(temperature: 1, topP: 0.7), [1, 4]),
  (SamplingOptions(temperature: 2, topP: 0.7), [1, 4, 2]),
  (SamplingOptions(temperature: 1, topP: 0.5, topK: 3), [1, 4]),
  (SamplingOptions(temperature: 1, topP: 0), [1]), (SamplingOptions(temperature: 1, topK: 1), [1]),
  (SamplingOptions(temperature: 0.01, topK: 5), [1, 4]),
  (SamplingOptions(temperature: 1, topK: 100), [0, 1, 2, 3, 4, 5]),
])
func drawsHaveTheProbabilitiesOfTransformers(options: SamplingOptions, kept: [Int]) {
  let found = probabilities(options)
  // Five standard deviations of 40,000 draws.
  for (a, b) in zip(found, expected(options.temperature, kept)) { #expect(abs(a - b) < 0.0125) }
}

@Test func theSameSeedDrawsTheSame() {
  func draws(_ seed: UInt64) -> [Int32] {
    var sampler = TokenSampler(SamplingOptions(temperature: 1, topP: 0.9, topK: 4, seed: seed))
    return (0..<100).map { _ in sampler.next(logits) }
  }
  #expect(draws(1) == draws(1))
  #expect(draws(1) != draws(2))
}

/// What is likely stands far down in a large vocabulary too.
@Test func aLargeVocabularyIsCutByProbability() {
  let flat = [Float](repeating: 0, count: 150_000)
  var sampler = TokenSampler(SamplingOptions(temperature: 1, topP: 0.5))
  for _ in 0..<20 { #expect(sampler.next(flat) < 75_000) }
  var steep = flat
  steep[149_999] = 30
  #expect((0..<20).allSatisfy { _ in sampler.next(steep) == 149_999 })
}
