import Architectures
import Formats
import FoundationEssentials
import Options
import Planning
import Training
import Tuning

/// What a search says while it goes on.
public protocol SearchObserver: AnyObject {
  /// A line for people.
  func note(_ line: String)
  /// A trial begins, or goes on to a further rung.
  ///
  /// - Returns: what its run tells of itself
  func began(_ job: Job, of trials: Int, settings: Settings) -> any TrainingObserver
  func ended(_ record: TrialRecord)
}

/// A whole search: trials in this process, one after the other or some of them together, each a run of `train` in a folder of
/// its own.
///
/// A trial is the run that `train` would do with its settings: the same bits, also where it rested at rungs. What is known of
/// the machine is measured once.
public final class SearchRun {
  let options: SearchOptions
  let training: TrainingOptions
  package let base: [String: [String]]
  private let space: Space
  private(set) var scheduler: Scheduler
  let ledger: Ledger
  private let lock: FolderLock
  private let folder: String
  let modelDirectory: String
  let files: [String]
  let observer: any SearchObserver
  var speed: MachineSpeed?
  /// Model and data, which all trials read alike.
  let inputs = RunInputs()

  /// - Parameters:
  ///   - given: by option name, as the command was given them
  ///   - files: data to train on
  /// - Throws: `SearchMismatch` where the output holds another search; `OptionError`
  public init(
    given: [String: [String]], modelDirectory: String, files: [String], observer: any SearchObserver
  ) throws {
    options = try SearchOptions(given)
    let folder = given["output"]?.last ?? "search"
    self.folder = folder
    self.modelDirectory = modelDirectory
    self.files = files
    self.observer = observer
    (space, base) = try Space.split(SearchOptions.trialOptions(given), file: options.spaceFile) {
      try ModelDescription.load(directory: modelDirectory).layers.count
    }
    var scheduler = try Scheduler(
      options.strategy, space: space, base: base, trials: options.trials, seed: Self.seed(base),
      rungs: options.rungs, factor: options.factor)
    _ = try scheduler.next([])
    guard let first = scheduler.candidates.first else { throw OptionError("there are no settings to try") }
    training = try TrainingOptions(first.options(over: base))
    // A setting that no run would take is told before hours go into those before it.
    for settings in scheduler.candidates { _ = try TrainingOptions(settings.options(over: base)) }
    try OutputOptions.requireNoModel(in: folder)
    try OutputFolder.create(folder)
    lock = try FolderLock(folder: folder, purpose: "search")
    if given["force"] != nil { try Self.clear(folder) }
    let fixed = base.filter { !Self.free.contains($0.key) }
      .sorted { $0.key < $1.key }.map { ([$0.key] + $0.value).joined(separator: " ") }.joined(separator: "; ")
    ledger = try Ledger(
      folder: folder,
      identity: [
        ("space", space.text), ("strategy", options.strategy.rawValue),
        ("seed", "\(Self.seed(base))"), ("trials", options.trials.map { "\($0)" } ?? "all"),
        ("stages", scheduler.rungCount > 1 ? "\(options.rungs) by \(options.factor)" : "1"), ("options", fixed),
        ("data", try Self.content(files)), ("evaluation", try Self.content(base["eval-data"] ?? [])),
        ("model", try BaseModelDigest.of(directory: modelDirectory)),
      ])
    self.scheduler = scheduler
    _ = try self.scheduler.next(measurements)
    for record in ledger.records where self.scheduler.candidates[safe: record.trial] != record.settings {
      throw SearchMismatch(path: "\(folder)/\(Ledger.name)", reason: "has other settings for trial \(record.trial)")
    }
  }

  /// Options that change no result, or whose files count by what is in them.
  private static let free: Set<String> = ["force", "json", "threads", "log-every", "model", "data", "eval-data"]

  private static func seed(_ base: [String: [String]]) -> UInt64 {
    base["seed"]?.last.flatMap { UInt64($0) } ?? 42
  }

  /// What is in files, wherever they lie.
  private static func content(_ files: [String]) throws -> String {
    try files.map { file in
      guard file != "-" else { throw OptionError("--data -: trials read the data again and again; name a file") }
      return try FileChecksum(of: file).text
    }.joined(separator: ", ")
  }

  /// Removes what an earlier search has left, and nothing else.
  private static func clear(_ folder: String) throws {
    guard FileManager.default.fileExists(atPath: "\(folder)/\(Ledger.name)") else { return }
    let names = try FileManager.default.contentsOfDirectory(atPath: folder)
    for name in names
    where name.hasPrefix("trial-") || [Ledger.name, "best.json", "results.json", "report.html"].contains(name) {
      try FileManager.default.removeItem(atPath: "\(folder)/\(name)")
    }
  }

  /// Settings that are tried at most.
  public var trialCount: Int { scheduler.trialCount }
  /// In a line, what is searched.
  public var spaceText: String { space.text }

  /// Does what is left to do.
  ///
  /// - Parameter stopSignal: asked many times inside every step; a number ends the search, its trials with checkpoints
  /// - Returns: what was found so far, and that number if there was one
  public func run(
    stopSignal: @escaping () -> Int32? = { StopRequest.signalNumber }
  ) throws -> (table: SearchTable, signalNumber: Int32?) {
    if !ledger.records.isEmpty { observer.note("\(ledger.records.count) results are known already; going on") }
    while !isOutOfTime {
      let jobs = try scheduler.following(measurements)
      if jobs.isEmpty { break }
      if let signal = try work(on: jobs, stopSignal: stopSignal) { return (table, signal) }
    }
    if isOutOfTime { observer.note("the time is up") }
    let table = table
    try OutputFile.writeWhole(table.json.serialized(pretty: true) + "\n", to: "\(folder)/results.json")
    try OutputFile.writeWhole(table.report.html, to: "\(folder)/report.html")
    if let best = table.best { try writeBest(best) }
    return (table, nil)
  }

  private var isOutOfTime: Bool {
    guard let limit = options.seconds else { return false }
    return ledger.records.reduce(0) { $0 + $1.seconds } >= limit
  }

  private var measurements: [Measurement] {
    ledger.records.map { record in
      let metric = record.metric.flatMap { $0.isFinite ? $0 : nil }
      let cost = metric.map { training.evaluation.greaterIsBetter ? -$0 : $0 } ?? .infinity
      return Measurement(trial: record.trial, rung: record.rung, cost: cost)
    }
  }

  private var table: SearchTable {
    SearchTable(
      records: ledger.records, metric: training.evaluation.metric,
      greaterIsBetter: training.evaluation.greaterIsBetter)
  }

  /// Folder of a trial.
  func path(_ trial: Int) -> String {
    let number = String(trial)
    return "\(folder)/trial-" + String(repeating: "0", count: max(0, 3 - number.count)) + number
  }

  /// Whether the evaluations of a run are compared with each other.
  var looksForBest: Bool { training.evaluation.loadBest || training.evaluation.patience != nil }

  /// The result of a trial that has nothing left to do: where runs are short, rungs may end at the same step.
  func whole(_ trial: Int) -> TrialRecord? {
    ledger.records.last { $0.trial == trial && $0.steps == $0.allSteps && $0.metric != nil }
  }

  /// The best settings with everything else that made their trial, but not what made it short.
  public func bestOptions(_ best: TrialRecord) -> [String: [String]] {
    let short = ["epochs", "max-steps", "data-share", "force", "json", "save-total-limit"]
    var given = best.settings.options(over: base).filter { !short.contains($0.key) }
    (given["model"], given["data"]) = ([modelDirectory], files)
    return TrainingOptions.withAbsolutePaths(given)
  }

  /// `best.json`, as `train --settings` takes it.
  private func writeBest(_ best: TrialRecord) throws {
    let options = bestOptions(best).sorted { $0.key < $1.key }.map { name, words -> (String, JSONValue) in
      let declaration = TrainingOptions.declarations.first { $0.name == name }
      if declaration?.placeholder == nil { return (name, .bool(true)) }
      if declaration?.isList ?? false { return (name, .array(words.map { .string($0) })) }
      return (name, .string(words.last ?? ""))
    }
    try OutputFile.writeWhole(
      JSONValue.object(JSONObject(options)).serialized(pretty: true) + "\n", to: "\(folder)/best.json")
  }
}

extension Array {
  fileprivate subscript(safe index: Int) -> Element? { indices.contains(index) ? self[index] : nil }
}
