import Formats
import FoundationEssentials
import Glibc
import Options
import Tuning

/// What a run writes, and when it saves.
public struct OutputOptions: Sendable {
  /// Folder for the adapter, checkpoints and records.
  public var folder: String
  public var saveSteps: Int
  public var saveMinutes: Double
  public var saveLimit: Int
  public var logSteps: Int
  public var resume: Bool
  public var force: Bool
  public var json: Bool
  public var onDiskFull: FullDiskPolicy
  public var reportsToTensorBoard: Bool
  /// Degrees Celsius at which a run pauses.
  public var maximumTemperature: Double?
  /// Gets the gradient of the first step, and nothing is trained.
  public var gradientFile: String?

  static let declarations: [OptionDeclaration] = [
    .init(
      "output", "DIR", default: "adapter", aliases: ["o", "output-dir"],
      "folder for the adapter, checkpoints and records"),
    .init("save-steps", "N", default: "0", "checkpoint every N steps; 0: when stopped and at the end"),
    .init("save-minutes", "X", default: "10", "checkpoint when X minutes have passed since the last one; 0: never"),
    .init("save-total-limit", "N", default: "2", "checkpoints that are kept"),
    .init(
      "log-every", "N", default: "10", aliases: ["logging-steps"],
      "steps between lines when the output is not a terminal"),
    .init(
      "on-disk-full", "KIND", default: "wait", "wait until there is room again, or stop with a checkpoint"),
    .init("report-to", "KIND", default: "none", "tensorboard: also write event files, into --output; none"),
    .init("max-temp", "C", "pause while the processor is hotter than this, in degrees Celsius"),
    .init(
      "resume", nil, aliases: ["resume-from-checkpoint"],
      "go on from the newest checkpoint in --output, also of a finished run"),
    .init(
      "force", nil, aliases: ["overwrite-output-dir"],
      "replace an output that exists; checkpoints of an earlier run are set aside"),
    .init("dump-gradients", "FILE", "write the gradient of the first step to FILE and stop"),
    .init("json", nil, "print the summary as JSON"),
  ]

  init(_ values: OptionValues) throws {
    folder = try values.required("output")
    saveSteps = try values.number("save-steps", in: 0...1_000_000_000)
    saveMinutes = try values.number("save-minutes", in: 0...1e6)
    saveLimit = try values.number("save-total-limit", in: 1...10_000)
    logSteps = try values.number("log-every", in: 1...1_000_000)
    onDiskFull = try values.choice("on-disk-full", FullDiskPolicy.self)
    switch try values.required("report-to") {
    case "none": reportsToTensorBoard = false
    case "tensorboard", "all": reportsToTensorBoard = true
    case let kind: throw OptionError("--report-to \(kind): expected tensorboard or none")
    }
    maximumTemperature = try values.optionalNumber("max-temp", in: 20...150)
    resume = values.flag("resume")
    force = values.flag("force")
    json = values.flag("json")
    gradientFile = values.text("dump-gradients")
  }

  /// Refuses to replace what a run would write, before it takes the time to read anything.
  /// - Throws: `FileError.alreadyExists` or `OutputInUse` unless `force`; `FolderLock.Held` while another run has the folder
  public func check() throws {
    if let gradientFile {
      _ = try gradientOutput(gradientFile)
      return
    }
    if try FileManager.default.fileExists(atPath: folder) && PathKind(folder) != .directory {
      throw FileError.cannotWrite(file: folder, reason: "is a file; --output names a folder")
    }
    try Self.requireNoModel(in: folder)
    if FileManager.default.fileExists(atPath: "\(folder)/\(TrainingCheckpoint.stateName)") {
      throw OutputInUse(path: folder, reason: "is a checkpoint of a run; --output names the folder of a run")
    }
    try RunFolder.requireFree(folder)
    if force || resume { return }
    for file in RunFolder.weightsNames.map({ "\(folder)/\($0)" }) where FileManager.default.fileExists(atPath: file) {
      throw FileError.alreadyExists(file: file)
    }
    try RunFolder.requireNoCheckpoints(in: folder)
  }

  /// Refuses the folder of a model: an adapter's files have names that those of a model have too.
  package static func requireNoModel(in folder: String) throws {
    let names = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"]
    guard let weights = OutputFolder.names(in: folder).first(where: names.contains) else { return }
    throw OutputInUse(path: folder, reason: "holds a model (\(weights)); name another folder with --output")
  }

  /// The file for gradients, which replaces an older one and no weights of a model or an adapter.
  func gradientOutput(_ path: String) throws -> AtomicOutput {
    let output = try AtomicOutput(path: path, force: force)
    let name = URL(fileURLWithPath: path).lastPathComponent
    let areWeights = AdapterFolder.fileNames.contains(name) || name.hasPrefix("model")
    try output.requireFile(kind: "gradient") { !areWeights && (try? SafetensorsFile(path: $0)) != nil }
    return output
  }

  /// Where layer inputs may wait in a file: the folder that the run writes to.
  var spillDirectory: String {
    gradientFile.map { URL(fileURLWithPath: $0).deletingLastPathComponent().path } ?? folder
  }
}
