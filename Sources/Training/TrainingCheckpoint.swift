import Formats
import FoundationEssentials
import Glibc
import Kernels
import Planning
import Tuning

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
  static let stateName = "trainer_state.json"
  static let prefix = "checkpoint-"

  package static func name(_ step: Int) -> String { "\(prefix)\(step)" }

  /// Steps of all folders of this name in `directory`, whole or not, ascending.
  package static func steps(in directory: String) -> [Int] {
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
    let state = try CheckpointState(json: try SealedJSON.read(file), file: file)
    guard state.step == step else {
      throw CheckpointError(path: file, reason: "is of step \(state.step)")
    }
    for name in [momentsName] where !state.files.contains(where: { $0.name == name }) {
      throw CheckpointError(path: file, reason: "has no checksum of \(name)")
    }
    for file in state.files {
      let sum = try FileChecksum(of: "\(path)/\(file.name)")
      guard sum.byteCount == file.bytes, Int(sum.crc32) == file.crc32 else {
        throw CheckpointError(path: "\(path)/\(file.name)", reason: "its checksum is wrong; the file is damaged")
      }
    }
    return TrainingCheckpoint(step: step, path: path, run: state.run, identity: state.identity)
  }

  /// What `open` has thrown for a checkpoint that is damaged, by its content or by a storage that gives it back no more.
  /// - Throws: what else it has thrown: a checkpoint that the system does not let be read now may be whole
  package static func damage(_ error: any Error, of path: String) throws -> any Error {
    switch error {
    case FileError.cannotOpen(let file, let reason), FileError.cannotMap(let file, let reason):
      if [ENOENT, ENOTDIR, EIO].contains(reason.code) || reason == FilePieces.shortened { return error }
      throw CheckpointError(
        path: file,
        reason: "cannot be read: \(reason)\n       --resume again when it can; if \(path) is lost, remove it, and an "
          + "older checkpoint is taken")
    default: return error
    }
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
