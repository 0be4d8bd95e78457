import Formats
import FoundationEssentials
import Glibc
import Options
import Planning
import Reporting
import Tuning
import WeightStore

/// An output that holds what a new run would bury.
public struct OutputInUse: Error, CustomStringConvertible {
  let path: String
  let reason: String
  public var description: String { "\(path): \(reason)" }
}

/// The output folder of one run, which owns it while the process lives: its lock, its identity, its checkpoints, the adapter
/// at the end.
///
/// `run.json` names the run. Checkpoints of another one are never taken up: when a run starts afresh, they are set aside in
/// `earlier/`, in place of those that an earlier start has set aside.
final class RunFolder {
  let path: String
  private let lock: FolderLock
  private let identity: RunIdentity
  private let options: JSONValue
  private let saveLimit: Int
  private var run = ""
  /// Steps of the checkpoints of this run that are whole, ascending.
  private var whole: [Int] = []
  /// The checkpoint to go on from, if there is one.
  private(set) var newest: TrainingCheckpoint?

  /// Weights of a finished adapter, PEFT's or AdapterHub's.
  static let weightsNames = ["adapter_model.safetensors", "adapter.safetensors"]
  static let recordName = "run.json"
  private static let earlierName = "earlier"
  private static let partial = ".partial-"
  private static let stagingName = ".adapter"
  private static let summaryName = "summary.json"
  /// What runs alone write into the folder, beside checkpoints.
  private static let ownOutputs = [recordName, stagingName, summaryName, "metrics.jsonl"]

  /// Opens, locks and tidies the folder, which is made if it is not there.
  ///
  /// - Parameters:
  ///   - options: that the run was given, for `run.json`
  ///   - resumes: whether the run that is there goes on
  ///   - force: whether a new run may take the place of an old one
  ///   - note: gets lines for people
  init(
    path: String, identity: RunIdentity, options: JSONValue, resumes: Bool, force: Bool, saveLimit: Int,
    note: (String) -> Void
  ) throws {
    self.path = path
    self.identity = identity
    self.options = options
    self.saveLimit = saveLimit
    try OutputFolder.create(path)
    lock = try FolderLock(folder: path, purpose: "train")
    if !lock.isEffective { note("warning: \(path) is on a file system without locks; start no second run with it") }
    removeLeftovers()
    if resumes {
      try findCheckpoints(note)
    } else {
      if !force { try Self.requireNoCheckpoints(in: path) }
      run = UUID().uuidString
      try write(finished: nil)
      removeEarlier()
      for step in TrainingCheckpoint.steps(in: path) { try setAside(step) }
    }
  }

  /// - Throws: `OutputInUse` where an earlier run could be gone on with
  static func requireNoCheckpoints(in path: String) throws {
    guard let step = TrainingCheckpoint.steps(in: path).last else { return }
    throw OutputInUse(
      path: path,
      reason: "holds \(TrainingCheckpoint.name(step)) of an earlier run: go on from it with --resume, name another "
        + "--output, or set it aside and start anew with --force")
  }

  /// - Throws: `FolderLock.Held` when another process has it
  static func requireFree(_ path: String) throws {
    guard FileManager.default.fileExists(atPath: path) else { return }
    _ = try FolderLock(folder: path, purpose: "train")
  }

  // MARK: Whose it is

  /// What `run.json` says, if it is whole: the run, and its last step when that has been done.
  private func record() -> (run: String, finished: Int?)? {
    guard let json = try? SealedJSON.read("\(path)/\(Self.recordName)"), let run = json["run"]?.stringValue else {
      return nil
    }
    return (run, json["finished_after_step"]?.intValue)
  }

  private func write(finished: Int?) throws {
    let object = JSONObject([
      ("run", .string(run)), ("identity", identity.json), (RecordedOptions.key, options),
      ("finished_after_step", finished.map { .integer($0) } ?? .null),
    ])
    let output = try AtomicOutput(path: "\(path)/\(Self.recordName)", force: true)
    try OutputFile.write(SealedJSON.text(object), to: output.temporaryPath)
    try output.commit()
  }

  private func findCheckpoints(_ note: (String) -> Void) throws {
    let record = record()
    var found: [TrainingCheckpoint] = []
    var foreign: [Int] = []
    var damaged = false
    for step in TrainingCheckpoint.steps(in: path).reversed() {
      do {
        let checkpoint = try TrainingCheckpoint.open(step: step, in: path)
        if checkpoint.run == record?.run ?? found.first?.run ?? checkpoint.run {
          found.append(checkpoint)
        } else {
          foreign.append(step)
        }
      } catch {
        let error = try TrainingCheckpoint.damage(error, of: "\(path)/\(TrainingCheckpoint.name(step))")
        damaged = true
        note("warning: \(error); an older checkpoint is tried")
      }
    }
    run = record?.run ?? found.first?.run ?? UUID().uuidString
    if let newest = found.first {
      let differences = identity.differences(from: newest.identity)
      guard differences.isEmpty else {
        throw CheckpointError(
          path: newest.path,
          reason: "was written with other data or options; now there is \(differences.joined(separator: ", ")); "
            + "--force sets it aside and starts anew")
      }
      if newest.identity.program != identity.program {
        note(
          "warning: version \(newest.identity.program) wrote \(newest.path), this is \(identity.program): the run may end "
            + "with other bits")
      }
    } else {
      let hasAdapter = Self.weightsNames.contains { FileManager.default.fileExists(atPath: "\(path)/\($0)") }
      guard !hasAdapter || record.map({ $0.finished == nil }) ?? false else {
        throw OutputInUse(
          path: path,
          reason:
            "holds the adapter of a finished run and no \(damaged ? "whole " : "")checkpoint to go on from: train "
            + "on with --init-adapter \(path) and another --output, or start anew with --force")
      }
      note("no \(damaged ? "whole " : "")checkpoint in \(path); training starts at step 0")
    }
    for step in foreign { try setAside(step) }
    whole = found.map(\.step).reversed()
    newest = found.first
    if record == nil { try write(finished: nil) }
  }

  // MARK: Tidying

  /// Removes what killed processes have left half-written.
  private func removeLeftovers() {
    for folder in [path, "\(path)/\(Self.earlierName)"] {
      for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
        guard name.hasPrefix("."), let place = name.firstRange(of: Self.partial) else { continue }
        let output = String(name[..<place.lowerBound].dropFirst())
        // Others may put what they make of a run into its folder: a report, or a merged model.
        let isOwn = output.hasPrefix(TrainingCheckpoint.prefix) || Self.ownOutputs.contains(output)
        AtomicOutput.removeLeftovers(of: "\(folder)/\(output)", ofAnyProcess: lock.isEffective && isOwn)
      }
    }
  }

  private func removeEarlier() {
    for step in TrainingCheckpoint.steps(in: "\(path)/\(Self.earlierName)") {
      remove(TrainingCheckpoint.name(step), in: "\(path)/\(Self.earlierName)")
    }
  }

  private func setAside(_ step: Int) throws {
    let earlier = "\(path)/\(Self.earlierName)"
    let name = TrainingCheckpoint.name(step)
    try OutputFolder.create(earlier)
    remove(name, in: earlier)
    guard rename("\(path)/\(name)", "\(earlier)/\(name)") == 0 else {
      throw FileError.cannotWrite(file: "\(earlier)/\(name)", reason: .system)
    }
    try OutputFolder.synchronize(earlier)
    try OutputFolder.synchronize(path)
  }

  /// Removes a folder under a name that says that it is half gone already.
  private func remove(_ name: String, in directory: String) {
    let going = "\(directory)/.\(name)\(Self.partial)\(getpid())"
    guard rename("\(directory)/\(name)", going) == 0 else { return }
    try? FileManager.default.removeItem(atPath: going)
  }

  // MARK: State

  /// Whether the state after `step` is saved.
  func holds(_ step: Int) -> Bool { whole.contains(step) }

  /// Folder of the newest whole checkpoint.
  var newestPath: String? { whole.last.map { "\(path)/\(TrainingCheckpoint.name($0))" } }

  /// Bytes that the checkpoints will take beside those that are there.
  ///
  /// - Parameter saves: how many will be written
  func missingByteCount(saves: Int, memory: TrainingMemory) -> Int {
    max(0, min(saves, saveLimit) - whole.count) * TrainingCheckpoint.byteCount(of: memory)
  }

  /// Writes a checkpoint; older ones than are to be kept, and such that are damaged, go.
  ///
  /// - Parameter best: step of a checkpoint that stays, however old
  /// - Throws: `RunFailed` instead of writing what is not finite
  func save(step: Int, memory: TrainingMemory, baseModel: String, keeping best: Int? = nil) throws {
    guard memory.isFinite else {
      throw RunFailed(step: step, reason: "parameters or moments are not finite any more")
    }
    try TrainingCheckpoint.save(
      step: step, memory: memory, baseModel: baseModel, run: run, identity: identity, in: path)
    whole = whole.filter { $0 < step } + [step]
    let kept = whole.suffix(saveLimit)
    whole = whole.filter { kept.contains($0) || $0 == best }
    for other in TrainingCheckpoint.steps(in: path) where !whole.contains(other) {
      remove(TrainingCheckpoint.name(other), in: path)
    }
  }

  /// Puts the parameters of a checkpoint of this run into `memory`; `false` where it is gone or damaged.
  func restore(step: Int, into memory: TrainingMemory) throws -> Bool {
    guard holds(step) else { return false }
    let checkpoint: TrainingCheckpoint
    do {
      checkpoint = try TrainingCheckpoint.open(step: step, in: path)
    } catch {
      _ = try TrainingCheckpoint.damage(error, of: "\(path)/\(TrainingCheckpoint.name(step))")
      return false
    }
    _ = try checkpoint.restore(into: memory)
    return true
  }

  /// Puts the finished adapter into the folder. Each file appears complete: written beside, then renamed.
  func finish(step: Int, memory: TrainingMemory, baseModel: String) throws {
    try write(finished: step)
    let staging = try AtomicOutput(path: "\(path)/\(Self.stagingName)", force: true)
    try staging.createDirectory()
    try memory.method.save(to: staging.temporaryPath, baseModel: baseModel)
    try CompanionFile.writeForAdapter(of: baseModel, to: staging.temporaryPath)
    if !ModelCard.isForeign(in: path) {
      let card = try ModelCard(
        .adapter, adapter: staging.temporaryPath, baseDirectory: baseModel, runFolder: path, program: Program.version)
      try card.write(to: staging.temporaryPath)
    }
    // The weights are named last: where they are, the rest is. What the adapter of an earlier run had and this one has not
    // would be read as part of it.
    let names = try FileManager.default.contentsOfDirectory(atPath: staging.temporaryPath).sorted()
    let weights = names.filter(Self.weightsNames.contains)
    for name in names.filter({ !weights.contains($0) }) { try take(name, from: staging.temporaryPath) }
    for name in AdapterFolder.fileNames where !names.contains(name) { unlink("\(path)/\(name)") }
    for name in weights { try take(name, from: staging.temporaryPath) }
    try OutputFolder.synchronize(path)
  }

  private func take(_ name: String, from folder: String) throws {
    guard rename("\(folder)/\(name)", "\(path)/\(name)") == 0 else {
      throw FileError.cannotWrite(file: "\(path)/\(name)", reason: .system)
    }
  }

  /// Writes `summary.json`.
  func write(summary: JSONValue) throws {
    let output = try AtomicOutput(path: "\(path)/\(Self.summaryName)", force: true)
    try OutputFile.write(summary.serialized(pretty: true) + "\n", to: output.temporaryPath)
    try output.commit()
  }
}

extension TrainingMemory {
  /// Whether everything that a checkpoint holds is.
  var isFinite: Bool { method.trainables.parameters.isFinite && state.isFinite }
}
