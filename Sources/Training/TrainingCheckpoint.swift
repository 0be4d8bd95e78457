import Formats
import FoundationEssentials
import Glibc
import Kernels
import Planning
import Tuning

/// A checkpoint that cannot be used.
public struct CheckpointError: Error, CustomStringConvertible {
  let path: String
  let reason: String
  public var description: String { "\(path): \(reason)" }
}

/// State of a run on disk: `checkpoint-STEP/` with the adapter as PEFT reads it, the optimiser's moments, and
/// `trainer_state.json`, which says whose it is and has checksums of the others and of itself. It appears complete or not at
/// all.
package struct TrainingCheckpoint {
  /// Steps that were done.
  let step: Int
  let path: String
  /// The run that wrote it.
  let run: String
  let identity: RunIdentity

  private static let momentsName = "optimizer.safetensors"
  private static let parametersName = "parameters"
  private static let stateName = "trainer_state.json"
  private static let prefix = "checkpoint-"
  private static let steps = 0...1_000_000_000

  static func name(_ step: Int) -> String { "\(prefix)\(step)" }

  /// Steps of all folders of this name in `directory`, whole or not, ascending.
  static func steps(in directory: String) -> [Int] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    return names.compactMap { name in
      guard name.hasPrefix(prefix), let step = Int(name.dropFirst(prefix.count)), self.name(step) == name else {
        return nil
      }
      return step
    }.sorted()
  }

  /// Bytes that one takes on disk, about.
  static func byteCount(of memory: TrainingMemory) -> Int {
    adapterByteCount(of: memory) + 4 * memory.method.trainables.parameters.count + memory.state.byteCount + 1 << 16
  }

  /// Bytes of its adapter.
  static func adapterByteCount(of memory: TrainingMemory) -> Int {
    let trainables = memory.method.trainables
    return 4 * trainables.parameters.count + 400 * trainables.entries.count + 1 << 16
  }

  /// Writes `checkpoint-STEP` into `directory`.
  static func save(
    step: Int, memory: TrainingMemory, baseModel: String, run: String, identity: RunIdentity, in directory: String
  ) throws {
    let output = try AtomicOutput(path: "\(directory)/\(name(step))", force: true)
    try output.createDirectory()
    try memory.method.save(to: output.temporaryPath, baseModel: baseModel)
    let writer = try SafetensorsWriter(
      path: "\(output.temporaryPath)/\(momentsName)",
      headerByteCount: SafetensorsWriter.headerByteCount(tensors: 5, longestName: AdamWMoments.longestName))
    let parameters = memory.method.trainables.parameters
    try writer.begin(.init(name: parametersName, elementType: .f32, shape: [parameters.count]))
    try parameters.withBytes { try writer.append($0) }
    try memory.state.write(to: writer)
    try writer.finish()
    try seal(output.temporaryPath, step: step, run: run, identity: identity)
    try output.commit()
  }

  /// Writes `trainer_state.json` over what else is in `directory`.
  static func seal(_ directory: String, step: Int, run: String, identity: RunIdentity) throws {
    var files = JSONObject()
    let names = try FileManager.default.contentsOfDirectory(atPath: directory)
    for name in names.sorted() where name != stateName {
      let sum = try FileChecksum(of: "\(directory)/\(name)")
      files[name] = .object(JSONObject([("bytes", .integer(sum.byteCount)), ("crc32", .integer(Int(sum.crc32)))]))
    }
    let state = JSONObject([
      ("global_step", .integer(step)), ("run", .string(run)), ("identity", identity.json), ("files", .object(files)),
    ])
    try OutputFile.write(SealedJSON.text(state), to: "\(directory)/\(stateName)")
  }

  /// Brings the checksums of a folder up to date with what its files hold, for tests of what they do not guard against.
  package static func reseal(step: Int, in directory: String) throws {
    let path = "\(directory)/\(name(step))"
    let json = try SealedJSON.read("\(path)/\(stateName)")
    try seal(
      path, step: step, run: json["run"]?.stringValue ?? "",
      identity: RunIdentity(json: json["identity"], file: path))
  }

  /// Whether `checkpoint-STEP` is whole.
  package static func isWhole(step: Int, in directory: String) -> Bool { (try? open(step: step, in: directory)) != nil }

  /// Checks all of a folder of a checkpoint.
  /// - Throws: what is wrong with it
  package static func check(_ path: String) throws {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    guard let name = parts.last, let step = Int(name.dropFirst(prefix.count)), self.name(step) == name else {
      throw CheckpointError(path: path, reason: "is not called \(prefix)STEP, as checkpoints are")
    }
    let folder = parts.count == 1 ? "." : parts.dropLast().joined(separator: "/")
    _ = try open(step: step, in: folder)
  }

  /// Opens `checkpoint-STEP` and checks all of it.
  /// - Throws: what is wrong with it
  static func open(step: Int, in directory: String) throws -> TrainingCheckpoint {
    let path = "\(directory)/\(name(step))"
    let file = "\(path)/\(stateName)"
    let json = try SealedJSON.read(file)
    guard let said = json["global_step"]?.intValue, steps.contains(said), said == step,
      let run = json["run"]?.stringValue, let files = json["files"]?.objectValue
    else { throw CheckpointError(path: file, reason: "global_step, run or files is missing or out of range") }
    let identity = try RunIdentity(json: json["identity"], file: file)
    for name in [momentsName] where files[name] == nil {
      throw CheckpointError(path: file, reason: "has no checksum of \(name)")
    }
    for (name, value) in files.entries {
      guard !name.contains("/") else { throw CheckpointError(path: file, reason: "\(name) is no name of a file") }
      let sum = try FileChecksum(of: "\(path)/\(name)")
      guard value["bytes"]?.intValue == sum.byteCount, value["crc32"]?.intValue == Int(sum.crc32) else {
        throw CheckpointError(path: "\(path)/\(name)", reason: "its checksum is wrong; the file is damaged")
      }
    }
    return TrainingCheckpoint(step: step, path: path, run: run, identity: identity)
  }

  /// Puts parameters and moments back; changes nothing where it throws.
  /// - Returns: the form of the checkpoint's moments, of AdamW; if it is not the memory's, they were converted
  func restore(into memory: TrainingMemory) throws -> MomentFormat? {
    let file = try SafetensorsFile(path: "\(path)/\(Self.momentsName)")
    let parameters = memory.method.trainables.parameters
    let tensor = try file.state(Self.parametersName, .f32, count: parameters.count)
    let format = try memory.state.read(file, parts: memory.method.trainables.counts)
    tensor.copyPieces(into: parameters)
    return format
  }
}

/// JSON of a run with a checksum of everything that it says.
enum SealedJSON {
  private static let key = "checksum"

  static func text(_ object: JSONObject) -> String {
    var sealed = object
    sealed[key] = .integer(FileChecksum.crc32(of: JSONValue.object(object).serialized()))
    return JSONValue.object(sealed).serialized(pretty: true) + "\n"
  }

  /// - Throws: `CheckpointError` or `JSONError` where anything was changed
  static func read(_ path: String) throws -> JSONValue {
    let json = try JSONValue.parse(contentsOf: path)
    guard var object = json.objectValue, let sum = object[key]?.intValue else {
      throw CheckpointError(path: path, reason: "has no checksum: it is damaged, or an earlier version wrote it")
    }
    object[key] = nil
    guard FileChecksum.crc32(of: JSONValue.object(object).serialized()) == sum else {
      throw CheckpointError(path: path, reason: "its checksum is wrong; the file is damaged")
    }
    return .object(object)
  }
}
