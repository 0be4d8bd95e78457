import Formats
import FoundationEssentials
import Glibc
import Memory

/// `metrics.jsonl`: a line per optimiser step.
public final class MetricsWriter {
  private let path: String
  private var file: UnsafeMutablePointer<FILE>?
  /// Of the first step of the whole run; `nil` where its line is lost.
  public private(set) var firstLoss: Double?
  /// Of the last step that was done.
  public private(set) var lastLoss: Double?

  /// - Parameter keepingSteps: lines of later steps are dropped, because a resumed run writes them again; 0 starts anew
  public init(path: String, keepingSteps: Int) throws {
    self.path = path
    var kept = ""
    if keepingSteps > 0, let data = FileManager.default.contents(atPath: path) {
      for line in String(decoding: data, as: UTF8.self).split(separator: "\n") {
        guard let json = try? JSONValue.parse(String(line), file: path), let step = json["step"]?.intValue,
          step <= keepingSteps
        else { continue }
        kept += line + "\n"
        if let loss = json["loss"]?.doubleValue { take(loss, of: step) }
      }
    }
    let output = try AtomicOutput(path: path, force: true)
    try OutputFile.write(kept, to: output.temporaryPath)
    try output.commit()
    guard let file = fopen(path, "a") else {
      throw FileError.cannotWrite(file: path, reason: String(cString: strerror(errno)))
    }
    self.file = file
  }

  deinit { if let file { fclose(file) } }

  private func take(_ loss: Double, of step: Int) {
    if step == 1 { firstLoss = loss }
    lastLoss = loss
  }

  /// - Parameters:
  ///   - byKind: parts of `residentBytes`
  ///   - storageBytesRead: by the step
  public func append(
    _ report: StepReport, residentBytes: Int, byKind: [(MemoryKind, Int)], storageBytesRead: Int?
  ) throws {
    take(report.loss, of: report.step)
    try append([
      ("step", .integer(report.step)), ("loss", .number(report.loss)),
      ("learning_rate", .number(report.learningRate)), ("grad_norm", .number(report.gradientNorm)),
      ("tokens_per_second", .number(report.tokensPerSecond)), ("rss_bytes", .integer(residentBytes)),
      ("memory", .object(JSONObject(byKind.map { ($0.0.rawValue, .integer($0.1)) }))),
      ("storage_bytes_read", storageBytesRead.map { .integer($0) } ?? .null),
    ])
  }

  /// - Parameter figures: further ones, which get `eval_` before their names
  public func append(step: Int, evaluationLoss: Double, figures: JSONObject = JSONObject()) throws {
    try append(
      [("step", .integer(step)), ("eval_loss", .number(evaluationLoss))]
        + figures.entries.map { ("eval_\($0.0)", $0.1) })
  }

  private func append(_ entries: [(String, JSONValue)]) throws {
    try write(JSONValue.object(JSONObject(entries.map { ($0.0, $0.1) })).serialized() + "\n")
  }

  private func write(_ text: String) throws {
    guard let file, fputs(text, file) >= 0, fflush(file) == 0 else {
      throw FileError.cannotWrite(file: path, reason: String(cString: strerror(errno)))
    }
  }
}

/// SIGINT and SIGTERM ask a run to checkpoint and stop.
public enum StopRequest {
  private nonisolated(unsafe) static var received: sig_atomic_t = 0

  /// Starts to listen.
  public static func install() {
    for number in [SIGINT, SIGTERM] { signal(number) { StopRequest.received = sig_atomic_t($0) } }
  }

  /// The signal that came, if one did.
  public static var signalNumber: Int32? { received == 0 ? nil : Int32(received) }
}
