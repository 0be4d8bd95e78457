import Formats
import FoundationEssentials
import Glibc
import Memory
import Reporting

/// `metrics.jsonl`: a line per optimiser step, each written whole or not at all.
final class MetricsWriter {
  private let file: GrowingFile
  /// Gets each line once it is written, `--report-to tensorboard`.
  var events: EventWriter?
  /// Of the first step of the whole run; `nil` where its line is lost.
  private(set) var firstLoss: Double?
  /// Of the last step that was done.
  private(set) var lastLoss: Double?
  /// Steps among those to be kept that have no line.
  private(set) var lostSteps = 0
  /// The evaluations so far, by ascending steps, with the numbers among their figures, and those that are none.
  private(set) var evaluations: [(step: Int, figures: JSONObject)] = []

  /// The last step after which sample prompts were answered.
  private(set) var lastSampledStep: Int?

  /// - Parameter keepingSteps: lines of later steps are dropped, because a resumed run writes them again; 0 starts anew
  init(path: String, keepingSteps: Int) throws {
    let output = try AtomicOutput(path: path, force: true)
    let kept = try OutputFile(path: output.temporaryPath)
    var first: Double?
    var last: (step: Int, loss: Double)?
    var evaluations: [(step: Int, figures: JSONObject)] = []
    var sampled: Int?
    var steps = 0
    if keepingSteps > 0 {
      try Self.forEachLine(of: path) { line in
        guard let json = try? JSONValue.parse(line, file: path), let step = json["step"]?.intValue,
          (0...keepingSteps).contains(step)
        else { return }
        if let loss = json["loss"]?.doubleValue {
          guard step > last?.step ?? 0 else { return }
          if step == 1 { first = loss }
          last = (step, loss)
          steps += 1
        } else if json["eval_loss"]?.doubleValue != nil {
          guard step > evaluations.last?.step ?? -1 else { return }
          evaluations.append((step, Self.figures(of: json)))
        } else if json["samples"] != nil {
          guard step > sampled ?? -1 else { return }
          sampled = step
        }
        try kept.append(line)
        try kept.append([UInt8(ascii: "\n")])
      }
    }
    try kept.finish()
    try output.commit()
    firstLoss = first
    lastLoss = last?.loss
    lastSampledStep = sampled
    self.evaluations = evaluations
    lostSteps = keepingSteps - steps
    file = try GrowingFile(path: path)
  }

  private static func forEachLine(of path: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    guard let input = fopen(path, "re") else { return }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer {
      free(line)
      fclose(input)
    }
    while true {
      let count = getline(&line, &capacity, input)
      // Half a line, as a run that was killed leaves it, is none.
      guard count > 0, let line, line[count - 1] == 0x0A else { return }
      try body(UnsafeRawBufferPointer(start: line, count: count - 1))
    }
  }

  /// - Parameters:
  ///   - byKind: parts of `residentBytes`
  ///   - storageBytesRead: by the step
  ///   - further: what else there is to say
  func append(
    _ report: StepReport, residentBytes: Int, byKind: [(MemoryKind, Int)], storageBytesRead: Int?,
    further: [(String, JSONValue)] = []
  ) throws {
    try append(
      [
        ("step", .integer(report.step)), ("loss", .number(report.loss)),
        ("learning_rate", .number(report.learningRate)), ("grad_norm", .number(report.gradientNorm)),
        ("tokens_per_second", .number(report.tokensPerSecond)), ("rss_bytes", .integer(residentBytes)),
        ("memory", .object(JSONObject(byKind.map { ($0.0.rawValue, .integer($0.1)) }))),
        ("storage_bytes_read", storageBytesRead.map { .integer($0) } ?? .null),
      ] + further)
    if report.step == 1 { firstLoss = report.loss }
    lastLoss = report.loss
  }

  /// - Parameter figures: of an evaluation, `eval_loss` first
  func append(step: Int, evaluation figures: JSONObject) throws {
    try append([("step", .integer(step))] + figures.entries)
    evaluations.append((step, Self.figures(of: .object(figures))))
  }

  /// Answers to sample prompts, in a line of their own.
  func append(step: Int, samples: [SampleAnswer]) throws {
    try append([("step", .integer(step)), ("samples", .array(samples.map(\.json)))])
    lastSampledStep = step
  }

  /// The numbers of an evaluation; `null` where one does not exist, such as a correlation where nothing varies.
  private static func figures(of json: JSONValue) -> JSONObject {
    JSONObject(
      (json.objectValue?.entries ?? []).filter {
        $0.0.hasPrefix("eval_") && ($0.1.doubleValue != nil || $0.1 == .null)
      })
  }

  private func append(_ entries: [(String, JSONValue)]) throws {
    let line = JSONObject(entries.map { ($0.0, $0.1) })
    try file.append(Array((JSONValue.object(line).serialized() + "\n").utf8))
    try events?.append(line: line)
  }

  /// Waits until every line is on the disk.
  func synchronize() throws {
    try events?.synchronize()
    try file.synchronize()
  }
}
