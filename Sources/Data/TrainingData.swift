import Architectures
import CZlib
import Randomness

/// One tokenised sample.
public struct Sample: Sendable, Equatable {
  public var tokens: [Int32]
  /// `labels[i]` says whether token `i` is to be learnt: the token itself, or `Label.ignored`.
  public var labels: [Int32]
  /// Whether labels are what should follow the tokens before them; else they are ids of what the tokens themselves are.
  public var labelsFollow = true
  /// Which text each token counts to; empty if all count to the first.
  public var typeIDs: [Int32] = []
  /// Where a label is no id: its numbers, for each token with a label.
  public var targets: [Float] = []

  public init(tokens: [Int32], labels: [Int32]) {
    self.tokens = tokens
    self.labels = labels
  }
}

/// A question whose answer is known.
public struct PromptAnswer: Sendable {
  /// What generation is fed with, tokenised.
  public let promptTokens: [Int32]
  public let prompt: String
  public let answer: String
}

/// What is wrong with the data.
public enum DataError: Error, CustomStringConvertible {
  case badLine(file: String, line: Int, reason: String)
  case empty(files: [String], skippedLines: Int = 0, uselessSamples: Int = 0)
  case unknownKind(file: String)
  case folder(String)

  public var description: String {
    switch self {
    case .badLine(let file, let line, let reason):
      "\(file):\(line): \(reason)\n       --skip-bad-lines counts such lines and goes on"
    case .empty(let files, let skipped, let useless):
      "\(files.joined(separator: ", ")): no sample with a token to learn"
        + (skipped > 0 ? " (\(skipped) bad lines skipped)" : "")
        + (useless > 0
          ? " (\(useless) have an empty answer, or one that --max-length cuts off: give more --max-length)" : "")
    case .folder(let path): "\(path) is a folder; name the files in it, such as \(path)/train.jsonl"
    case .unknownKind(let file): "\(file): expected a .txt, .jsonl or .json file"
    }
  }
}

/// Tokenised data, read once.
public struct TrainingData: Sendable {
  public internal(set) var samples: [Sample] = []
  /// The questions among them, for exact-match evaluation; only if the reader was asked to keep them.
  public internal(set) var questions: [PromptAnswer] = []
  /// Samples that were cut at the maximum length.
  public internal(set) var truncatedCount = 0
  public internal(set) var skippedLines = 0
  /// Samples that were left out because nothing of them is to be learnt: the answer is empty, or beyond the maximum length.
  public private(set) var uselessCount = 0
  /// Where the first of them stand, as `file:line`.
  public private(set) var uselessPlaces: [String] = []

  public init(samples: [Sample] = []) { self.samples = samples }

  mutating func leaveOut(_ place: String) {
    uselessCount += 1
    if uselessPlaces.count < 5 { uselessPlaces.append(place) }
  }

  /// What there is to tell of those that were left out.
  public var uselessNote: String? {
    guard uselessCount > 0 else { return nil }
    return "\(uselessCount) samples left out: the answer is empty or beyond --max-length ("
      + uselessPlaces.joined(separator: ", ") + (uselessCount > uselessPlaces.count ? ", ...)" : ")")
  }

  /// Whether every sample stands in a row of its own, as `input_ids` lines do.
  public internal(set) var isOnePerRow = false

  /// Number and checksum of all tokens.
  public var fingerprint: String {
    var tokens = samples.flatMap(\.tokens)
    for sample in samples where !sample.labelsFollow {
      tokens += sample.labels + sample.targets.map { Int32(bitPattern: $0.bitPattern) }
    }
    let sum = tokens.withUnsafeBytes { crc32_z(0, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), $0.count) }
    return "\(tokens.count):\(UInt32(truncatingIfNeeded: sum))"
  }

  /// The data split deterministically.
  /// - Parameter share: of the samples that go to the second part, between 0 and 1
  public func split(_ share: Double, seed: UInt64) -> (train: TrainingData, evaluation: TrainingData) {
    let order = Shuffle.permutation(samples.count, seed: seed ^ 0x5EED)
    let count = min(max(Int((Double(samples.count) * share).rounded()), 1), max(samples.count - 1, 0))
    var train = self
    var evaluation = self
    evaluation.samples = order.prefix(count).sorted().map { samples[$0] }
    train.samples = order.dropFirst(count).sorted().map { samples[$0] }
    evaluation.questions = []
    return (train, evaluation)
  }
}
