import Formats
import FoundationEssentials
import Glibc

/// What the folder of a run says: every file but the steps may be missing, as older runs lack some and one that goes on has
/// no summary yet.
public struct RunRecord: Sendable {
  /// A folder without a run.
  public struct NotARun: Error, CustomStringConvertible {
    let folder: String
    let reason: String
    public var description: String {
      "\(folder): \(reason); name the --output of a training run, which has metrics.jsonl"
    }
  }

  public let folder: String
  /// What people call the run.
  public var name: String
  /// Lines of `metrics.jsonl` with the loss of a step, by ascending steps.
  public private(set) var steps: [JSONObject] = []
  /// Lines with the figures of an evaluation.
  public private(set) var evaluations: [JSONObject] = []
  /// Other lines that name a step, such as answers to sample prompts.
  public private(set) var others: [JSONObject] = []
  /// Lines that are none.
  public private(set) var damagedLines = 0
  /// `summary.json`.
  public let summary: JSONValue?
  /// `run.json`.
  public let record: JSONValue?
  /// `adapter_config.json` of the finished adapter, or of the newest checkpoint.
  public let adapter: JSONValue?
  /// What could not be read, for people.
  public private(set) var warnings: [String] = []

  static let metricsName = "metrics.jsonl"

  /// A greater number is damage, and no place on an axis.
  private static let mostSteps = 1 << 53
  /// Steps that were read and are not in `steps`.
  private var leftOut = 0
  /// Of many steps, those at the end that are kept when not all are.
  private static let lastKept = 64

  /// Reads the folder.
  ///
  /// - Parameter keepsSteps: `false` keeps the first step and the last ones, for a process without memory for all
  /// - Throws: `NotARun` where there are no steps to speak of
  public init(folder: String, keepsSteps: Bool = true) throws {
    self.folder = folder.count > 1 && folder.hasSuffix("/") ? String(folder.dropLast()) : folder
    name = Self.name(of: self.folder)
    var warnings: [String] = []
    func json(_ name: String) -> JSONValue? {
      let path = "\(folder)/\(name)"
      guard FileManager.default.fileExists(atPath: path) else { return nil }
      do { return try JSONValue.parse(contentsOf: path) } catch {
        warnings.append("\(error); it is passed over")
        return nil
      }
    }
    summary = json("summary.json")
    record = json("run.json")
    let checkpoints = ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).compactMap { name in
      name.hasPrefix("checkpoint-") ? Int(name.dropFirst("checkpoint-".count)) : nil
    }
    adapter =
      json("adapter_config.json")
      ?? checkpoints.max().flatMap { json("checkpoint-\($0)/adapter_config.json") }
    self.warnings = warnings
    let path = "\(folder)/\(Self.metricsName)"
    guard FileManager.default.fileExists(atPath: path) else {
      let isThere = FileManager.default.fileExists(atPath: folder)
      throw NotARun(folder: folder, reason: isThere ? "holds no \(Self.metricsName)" : "is not there")
    }
    try read(path, keepsSteps: keepsSteps)
    guard !steps.isEmpty || !evaluations.isEmpty else {
      throw NotARun(folder: folder, reason: "\(Self.metricsName) has no step yet")
    }
    if damagedLines > 0 { self.warnings.append("\(path): \(damagedLines) damaged lines are passed over") }
  }

  private static func name(of folder: String) -> String {
    let last = folder.split(separator: "/").last.map(String.init) ?? folder
    guard [".", ".."].contains(last) else { return last }
    guard let real = realpath(folder, nil) else { return "run" }
    defer { free(real) }
    return String(cString: real).split(separator: "/").last.map(String.init) ?? "run"
  }

  /// Line by line; pages that have been read go again.
  private mutating func read(_ path: String, keepsSteps: Bool) throws {
    let file = try MappedFile(path: path)
    defer { withExtendedLifetime(file) {} }
    var (start, dropped) = (0, 0)
    while start < file.byteCount {
      let end = file.bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? file.byteCount
      if end > start { take(UnsafeRawBufferPointer(rebasing: file.bytes[start..<end]), of: path) }
      start = end + 1
      if !keepsSteps { leaveOut() }
      guard start - dropped > 1 << 20 else { continue }
      file.dropPages(offset: dropped, count: start - dropped)
      dropped = start
    }
  }

  /// Lets go of steps that are neither the first nor among the last.
  private mutating func leaveOut() {
    others.removeAll()
    guard steps.count > 2 * Self.lastKept else { return }
    let gone = 1..<steps.count - Self.lastKept
    leftOut += gone.count
    steps.removeSubrange(gone)
  }

  private mutating func take(_ line: UnsafeRawBufferPointer, of path: String) {
    guard let object = (try? JSONValue.parse(line, file: path))?.objectValue, let step = object["step"]?.intValue,
      (0...Self.mostSteps).contains(step)
    else {
      damagedLines += 1
      return
    }
    if object["eval_loss"] != nil {
      evaluations.append(object)
    } else if object["loss"] != nil {
      // A resumed run of an older version may have done some steps again: the last time counts.
      while let last = steps.last?["step"]?.intValue, last >= step { steps.removeLast() }
      steps.append(object)
    } else {
      others.append(object)
    }
  }

  // MARK: What is asked often

  /// Steps that were done.
  public var stepCount: Int { max(steps.last?["step"]?.intValue ?? 0, evaluations.last?["step"]?.intValue ?? 0) }

  /// The evaluation with the least loss.
  public var bestEvaluation: JSONObject? {
    evaluations.filter { $0["eval_loss"]?.doubleValue?.isFinite ?? false }
      .min { $0["eval_loss"]?.doubleValue ?? 0 < $1["eval_loss"]?.doubleValue ?? 0 }
  }

  /// Mean loss of the last steps, at most fifty and at most a tenth of all.
  public var lastLoss: Double? {
    let losses = steps.suffix(max(1, min(50, (steps.count + leftOut) / 10))).compactMap { $0["loss"]?.doubleValue }
    return losses.isEmpty ? nil : losses.reduce(0, +) / Double(losses.count)
  }

  /// What the run was told, by option name: those that were given, then those that stand for what is in the record.
  public var options: [(name: String, value: String)] {
    (record?["options"]?.objectValue?.entries ?? []).map { name, value in
      (name, (value.arrayValue ?? []).compactMap(\.stringValue).joined(separator: " "))
    }
  }

  /// Gives runs whose folders are called alike names that tell them apart: with the folder around each, or else a number.
  public static func tellApart(_ runs: inout [RunRecord]) {
    func isShared(_ name: String) -> Bool { runs.filter { $0.name == name }.count > 1 }
    let longer = runs.map { run in
      isShared(run.name) ? run.folder.split(separator: "/").suffix(2).joined(separator: "-") : run.name
    }
    for place in runs.indices { runs[place].name = longer[place] }
    var used: Set<String> = []
    for place in runs.indices {
      let name = runs[place].name
      var number = 1
      while !used.insert(runs[place].name).inserted {
        number += 1
        runs[place].name = "\(name)-\(number)"
      }
    }
  }

  /// Steps and values of a figure of the steps, where they are finite.
  func series(_ key: String) -> [(step: Double, value: Double)] { Self.series(steps, [key]) }

  /// - Parameter path: names of members, from the outside in
  static func series(_ lines: [JSONObject], _ path: [String]) -> [(step: Double, value: Double)] {
    lines.compactMap { line in
      var value = path.first.flatMap { line[$0] }
      for key in path.dropFirst() { value = value?[key] }
      guard let step = line["step"]?.doubleValue else { return nil }
      if case .bool(let flag)? = value { return (step, flag ? 1 : 0) }
      guard let number = value?.doubleValue, number.isFinite else { return nil }
      return (step, number)
    }
  }
}
