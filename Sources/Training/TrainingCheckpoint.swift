import CZlib
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
/// `trainer_state.json` with checksums. It appears complete or not at all.
public struct TrainingCheckpoint {
  /// Steps that were done.
  public let step: Int
  public let path: String
  /// What the run was started with; another run's state is not taken up.
  public let fingerprint: String

  private static let momentsName = "optimizer.safetensors"
  private static let parametersName = "parameters"
  private static let stateName = "trainer_state.json"

  /// Writes `checkpoint-STEP` into `directory`.
  public static func save(
    step: Int, memory: TrainingMemory, baseModel: String, fingerprint: String, in directory: String
  ) throws {
    let output = try AtomicOutput(path: "\(directory)/checkpoint-\(step)", force: true)
    try output.createDirectory()
    try memory.method.save(to: output.temporaryPath, baseModel: baseModel)
    let writer = try SafetensorsWriter(
      path: "\(output.temporaryPath)/\(momentsName)",
      headerByteCount: SafetensorsWriter.headerByteCount(tensors: 5, longestName: AdamWMoments.longestName))
    let parameters = memory.method.trainables.parameters
    try writer.begin(.init(name: parametersName, elementType: .f32, shape: [parameters.count]))
    try parameters.withBytes { try writer.append($0) }
    try memory.moments.write(to: writer)
    try writer.finish()
    var sums = JSONObject()
    for name in memory.method.fileNames + [momentsName] {
      sums[name] = .integer(Int(try checksum("\(output.temporaryPath)/\(name)")))
    }
    let state = JSONObject([
      ("global_step", .integer(step)), ("fingerprint", .string(fingerprint)), ("crc32", .object(sums)),
    ])
    try OutputFile.write(
      JSONValue.object(state).serialized(pretty: true) + "\n", to: "\(output.temporaryPath)/\(stateName)")
    try output.commit()
  }

  /// The newest checkpoint in `directory` that is whole.
  /// - Parameter report: gets a line about each that is not
  public static func latest(in directory: String, report: (String) -> Void) -> TrainingCheckpoint? {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    let steps = names.compactMap { $0.hasPrefix("checkpoint-") ? Int($0.dropFirst("checkpoint-".count)) : nil }
    for step in steps.sorted(by: >) {
      let path = "\(directory)/checkpoint-\(step)"
      do {
        return try open(path)
      } catch {
        report("\(error); an older checkpoint is tried")
      }
    }
    return nil
  }

  private static func open(_ path: String) throws -> TrainingCheckpoint {
    let file = "\(path)/\(stateName)"
    let json = try JSONValue.parse(contentsOf: file)
    guard let step = json["global_step"]?.intValue, let fingerprint = json["fingerprint"]?.stringValue,
      let sums = json["crc32"]?.objectValue
    else { throw CheckpointError(path: file, reason: "global_step, fingerprint or crc32 is missing") }
    for (name, value) in sums.entries {
      guard try Int(checksum("\(path)/\(name)")) == value.intValue else {
        throw CheckpointError(path: "\(path)/\(name)", reason: "its checksum is wrong; the file is damaged")
      }
    }
    return TrainingCheckpoint(step: step, path: path, fingerprint: fingerprint)
  }

  /// Puts parameters and moments back.
  /// - Returns: the form of the checkpoint's moments; if it is not the memory's, they were converted
  public func restore(into memory: TrainingMemory) throws -> MomentFormat {
    let file = try SafetensorsFile(path: "\(path)/\(Self.momentsName)")
    let parameters = memory.method.trainables.parameters
    let tensor = try file.state(Self.parametersName, .f32, count: parameters.count)
    parameters.withMutableElements { tensor.copyFloats(range: 0..<parameters.count, into: $0) }
    return try memory.moments.read(file, parts: memory.method.trainables.counts)
  }

  /// Removes all but the newest `limit` checkpoints.
  public static func prune(in directory: String, keeping limit: Int) {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    let steps = names.compactMap { $0.hasPrefix("checkpoint-") ? Int($0.dropFirst("checkpoint-".count)) : nil }
    for step in steps.sorted(by: >).dropFirst(limit) {
      try? FileManager.default.removeItem(atPath: "\(directory)/checkpoint-\(step)")
    }
  }

  private static func checksum(_ path: String) throws -> UInt32 {
    let file = try MappedFile(path: path)
    return withExtendedLifetime(file) {
      UInt32(
        truncatingIfNeeded: crc32_z(0, file.bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), file.byteCount))
    }
  }
}
