import Architectures
import FoundationEssentials
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

  package init(promptTokens: [Int32], prompt: String, answer: String) {
    self.promptTokens = promptTokens
    self.prompt = prompt
    self.answer = answer
  }
}

/// What is wrong with the data.
public enum DataError: Error, CustomStringConvertible {
  case badLine(file: String, line: Int, reason: String)
  case empty(files: [String], skippedLines: Int = 0, uselessSamples: Int = 0)
  case unknownKind(file: String)
  case folder(String)

  /// How a file of some other kinds becomes one that is read.
  private static func wayOut(_ file: String) -> String {
    let name = file.lowercased()
    if name.hasSuffix(".gz") { return "; unpack it: gunzip \(file)" }
    if name.hasSuffix(".parquet") || name.hasSuffix(".arrow") {
      return
        "\n       where Python has pandas: pandas.read_parquet(FILE).to_json(\"train.jsonl\", orient=\"records\", lines=True)"
    }
    return ""
  }

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
    case .unknownKind(let file): "\(file): expected a .txt, .jsonl, .json, .csv or .tsv file\(Self.wayOut(file))"
    }
  }
}

/// Tokenised data, read once.
public struct TrainingData: Sendable {
  public internal(set) var samples: SampleList
  /// The questions among them, for exact-match evaluation; only if the reader was asked to keep them.
  public internal(set) var questions: [PromptAnswer] = []
  /// What the labels of its samples are, where they are no ids to follow.
  public var labelling: Labelling?
  /// Whether any sample has something to learn.
  var hasLabel = false
  /// Samples that were cut at the maximum length.
  public internal(set) var truncatedCount = 0
  public internal(set) var skippedLines = 0
  /// Samples that were left out because nothing of them is to be learnt: the answer is empty, or beyond the maximum length.
  public private(set) var uselessCount = 0
  /// Where the first of them stand, as `file:line`.
  public private(set) var uselessPlaces: [String] = []

  /// Where files without names go.
  let directory: String
  /// The folder that the samples are kept in, if it has a name.
  let folder: String?

  /// - Parameter place: for what memory does not take
  init(_ place: SamplePlace) {
    samples = SampleList(place)
    (directory, folder) =
      switch place {
      case .unnamed(let directory): (directory, nil)
      case .folder(let path): (Self.above(path), path)
      }
  }

  /// Data that is kept in a folder.
  init(_ storage: SampleStorage, in folder: String) {
    samples = SampleList(storage)
    (directory, self.folder) = (Self.above(folder), folder)
  }

  private static func above(_ path: String) -> String { URL(fileURLWithPath: path).deletingLastPathComponent().path }

  /// Data of some samples.
  public init(samples: [Sample], in place: SamplePlace = .unnamed(directory: temporary)) throws {
    self.init(place)
    for sample in samples { try self.samples.append(sample) }
    try self.samples.seal()
  }

  /// The folder for large files that need not last.
  public static var temporary: String {
    ProcessInfo.processInfo.environment["TMPDIR"].flatMap { $0.isEmpty ? nil : $0 } ?? "/var/tmp"
  }

  /// Takes over what was counted when the data was read.
  mutating func restore(uselessCount: Int, places: [String]) {
    self.uselessCount = uselessCount
    uselessPlaces = places
  }

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
  public var fingerprint: String { samples.fingerprint }

  /// A share of the samples, drawn by `seed`, in their order.
  /// - Parameter share: above 0
  public func part(_ share: Double, seed: UInt64) throws -> TrainingData {
    let count = min(max(Int((Double(samples.count) * share).rounded()), 1), samples.count)
    let drawn = Shuffle.permutation(samples.count, seed: seed ^ 0x5A4E).prefix(count).map { Int($0) }.sorted()
    var part = self
    part.samples = try samples.selecting(drawn, directory: directory)
    part.questions = []
    return part
  }

  /// The data split deterministically.
  /// - Parameter share: of the samples that go to the second part, between 0 and 1
  public func split(_ share: Double, seed: UInt64) throws -> (train: TrainingData, evaluation: TrainingData) {
    let count = min(max(Int((Double(samples.count) * share).rounded()), 1), max(samples.count - 1, 0))
    var train = self
    var evaluation = self
    var isHeld = [Bool](repeating: false, count: samples.count)
    for index in Shuffle.permutation(samples.count, seed: seed ^ 0x5EED).prefix(count) { isHeld[Int(index)] = true }
    evaluation.samples = try samples.selecting(isHeld.indices.lazy.filter { isHeld[$0] }, directory: directory)
    train.samples = try samples.selecting(isHeld.indices.lazy.filter { !isHeld[$0] }, directory: directory)
    evaluation.questions = []
    return (train, evaluation)
  }
}
