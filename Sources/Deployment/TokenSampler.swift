import FoundationEssentials
import Glibc
import Kernels
import Randomness

/// How the next token is chosen.
public struct SamplingOptions: Sendable {
  /// 0 takes the likeliest token.
  public var temperature: Double
  /// Only the likeliest tokens that together have this probability.
  public var topP: Double
  /// Only so many of the likeliest tokens; 0 for all.
  public var topK: Int
  public var seed: UInt64

  public init(temperature: Double = 0, topP: Double = 1, topK: Int = 0, seed: UInt64 = 42) {
    self.temperature = temperature
    self.topP = topP
    self.topK = topK
    self.seed = seed
  }
}

/// Draws tokens reproducibly: temperature first, then `topK`, then `topP` of what is left, as transformers does.
public struct TokenSampler {
  private let options: SamplingOptions
  private var generator: SplitMix64

  public init(_ options: SamplingOptions) {
    self.options = options
    generator = SplitMix64(seed: options.seed)
  }

  /// A token by its logits.
  public mutating func draw(_ logits: Vector) -> Int32 { next(logits) }

  mutating func next(_ logits: Vector) -> Int32 {
    options.temperature <= 0 ? Int32(logits.indexOfLargest()) : next(logits.values)
  }

  /// A token by its logits.
  public mutating func next(_ logits: [Float]) -> Int32 {
    let top = logits.max() ?? 0
    let weights = logits.map { exp(Double($0 - top) / max(options.temperature, .leastNormalMagnitude)) }
    let all = weights.reduce(0, +)
    var candidates = Array(weights.indices)
    var kept = all
    if options.topK > 0 || options.topP < 1 {
      candidates = likeliest(weights, all)
      if options.topK > 0 { candidates = Array(candidates.prefix(options.topK)) }
      let share = options.topP * (options.topK > 0 ? candidates.reduce(0) { $0 + weights[$1] } : all)
      kept = 0
      let count = candidates.firstIndex { candidate in
        kept += weights[candidate]
        return kept >= share
      }
      if let count { candidates = Array(candidates.prefix(count + 1)) }
    }
    var target = Double(generator.next() >> 11) / Double(UInt64(1) << 53) * kept
    for candidate in candidates {
      target -= weights[candidate]
      if target < 0 { return Int32(candidate) }
    }
    // Rounding may leave a rest: the last token that can be drawn at all.
    return Int32(candidates.last { weights[$0] > 0 } ?? 0)
  }

  /// The likeliest tokens in order, as many as the options can ask for: sorting all of a large vocabulary would take
  /// longer than a small model takes for a token.
  private func likeliest(_ weights: [Double], _ all: Double) -> [Int] {
    var least = 1e-3
    while true {
      var found = weights.indices.filter { weights[$0] >= least }
      let isEnough =
        options.topK > 0
        ? found.count >= options.topK : found.reduce(0) { $0 + weights[$1] } >= options.topP * all
      if isEnough || least == 0 {
        found.sort { weights[$0] != weights[$1] ? weights[$0] > weights[$1] : $0 < $1 }
        return found
      }
      least = least > 1e-30 ? least * least : 0
    }
  }
}
