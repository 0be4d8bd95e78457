import Formats
import Options

/// What there is to say of data before anything is trained on it.
public struct DataReport: Sendable {
  public var kind: TaskKind
  /// The task as `train` calls it, and the kind of the labels.
  public var task: String
  public var samples = 0
  public var tokens = 0
  /// Tokens of the sample in the middle, of one that only a twentieth exceeds, and of the longest.
  public var median = 0
  public var ninetyFifth = 0
  public var longest = 0
  /// Tokens that a sample may have.
  public var maximumLength: Int
  /// Samples that are cut there, so that their answer ends early.
  public var cutSamples = 0
  /// Samples of which nothing is learnt: their answer is empty, or begins beyond what is cut.
  public var uselessSamples = 0
  public var skippedLines = 0
  /// Samples that occurred before.
  public var duplicates = 0
  /// Samples whose question, or text, has another answer elsewhere.
  public var contradictions = 0
  /// Answers that end in the middle of a sentence where most others do not.
  public var openAnswers = 0
  /// Labels by how often they occur; none where there are no labels.
  public var labels: [(name: String, count: Int)] = []
  public var scripts: [(name: String, share: Double)] = []

  public init(kind: TaskKind, task: String, maximumLength: Int) {
    self.kind = kind
    self.task = task
    self.maximumLength = maximumLength
  }

  /// - Parameter lengths: tokens of every sample, as long as it really is
  mutating func take(lengths: [Int]) {
    let sorted = lengths.sorted()
    samples = sorted.count
    tokens = sorted.reduce(0, +)
    guard let last = sorted.last else { return }
    median = sorted[sorted.count / 2]
    ninetyFifth = sorted[min(sorted.count - 1, sorted.count * 19 / 20)]
    longest = last
    cutSamples = sorted.reduce(0) { $1 > maximumLength ? $0 + 1 : $0 }
  }

  private static func counted(_ count: Int, _ one: String, _ many: String) -> String {
    "\(Decimals.grouped(count)) \(count == 1 ? one : many)"
  }

  /// What should be looked at, and what to do.
  public var findings: [String] {
    var found: [String] = []
    if cutSamples > 0 {
      let room = (longest + 15) / 16 * 16
      found.append(
        "\(Self.counted(cutSamples, "sample is", "samples are")) longer than --max-length \(maximumLength) and end "
          + "early; --max-length \(room) holds all")
    }
    if uselessSamples > 0 {
      found.append(
        "\(Self.counted(uselessSamples, "sample teaches", "samples teach")) nothing: the answer is empty, or begins "
          + "beyond --max-length")
    }
    if skippedLines > 0 { found.append("\(Self.counted(skippedLines, "line", "lines")) cannot be used") }
    if duplicates > 0 {
      found.append("\(Self.counted(duplicates, "sample occurs", "samples occur")) more than once")
    }
    if contradictions > 0 {
      found.append(
        "\(Self.counted(contradictions, "sample has", "samples have")) a text that has another answer elsewhere")
    }
    if openAnswers > 0 {
      found.append(
        "\(Self.counted(openAnswers, "answer stops", "answers stop")) in the middle of a sentence, as if cut off")
    }
    if kind == .texts, labels.count > 1, let most = labels.first, let least = labels.last, samples > 0 {
      if most.count > 10 * max(least.count, 1) {
        found.append(
          "labels are uneven (\(most.name) \(Decimals.grouped(most.count)), \(least.name) "
            + "\(Decimals.grouped(least.count))); --class-weights balanced weighs them")
      }
    }
    if samples < Self.few {
      found.append(
        "\(Self.counted(samples, "sample", "samples")) are few: keep some with --eval-split and look at them")
    }
    return found
  }

  private static let few = 200

  /// A line or two for people.
  public var text: String {
    let lengths =
      "half of them within \(median) tokens, 95 % within \(ninetyFifth), the longest \(longest)"
    var lines = [
      "data: \(task), \(kind.text); \(Self.counted(samples, "sample", "samples")), \(Decimals.grouped(tokens)) tokens, "
        + lengths
    ]
    if !scripts.isEmpty {
      let parts = scripts.map { "\($0.name) \(Decimals.text(100 * $0.share, 0)) %" }
      lines.append("  script: \(parts.joined(separator: ", "))")
    }
    if !labels.isEmpty {
      let shown = labels.prefix(8).map { "\($0.name) \(Decimals.grouped($0.count))" }
      lines.append("  labels: \(shown.joined(separator: ", "))\(labels.count > 8 ? ", ..." : "")")
    }
    lines += findings.map { "  look at: \($0)" }
    return lines.map { TerminalText.wrapped($0, indent: 4) }.joined(separator: "\n")
  }

  package var json: JSONValue {
    .object(
      JSONObject([
        ("kind", .string(kind.rawValue)), ("task", .string(task)), ("samples", .integer(samples)),
        ("tokens", .integer(tokens)), ("median_tokens", .integer(median)), ("p95_tokens", .integer(ninetyFifth)),
        ("longest_tokens", .integer(longest)), ("max_length", .integer(maximumLength)),
        ("cut_samples", .integer(cutSamples)), ("useless_samples", .integer(uselessSamples)),
        ("skipped_lines", .integer(skippedLines)), ("duplicates", .integer(duplicates)),
        ("contradictions", .integer(contradictions)), ("open_answers", .integer(openAnswers)),
        ("labels", .object(JSONObject(labels.map { ($0.name, .integer($0.count)) }))),
        ("scripts", .object(JSONObject(scripts.map { ($0.name, .number($0.share)) }))),
        ("findings", .array(findings.map { .string($0) })),
      ]))
  }
}
