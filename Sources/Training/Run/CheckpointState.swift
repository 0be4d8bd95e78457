import Formats

/// A checkpoint that cannot be used.
public struct CheckpointError: Error, CustomStringConvertible {
  let path: String
  let reason: String
  public var description: String { "\(path): \(reason)" }
}

/// JSON of a run with a checksum of everything that it says.
package enum SealedJSON {
  private static let key = "checksum"

  package static func text(_ object: JSONObject) -> String {
    var sealed = object
    sealed[key] = .integer(FileChecksum.crc32(of: JSONValue.object(object).serialized()))
    return JSONValue.object(sealed).serialized(pretty: true) + "\n"
  }

  /// - Throws: `CheckpointError` or `JSONError` where anything was changed
  package static func read(_ path: String) throws -> JSONValue {
    try opened(try JSONValue.parse(contentsOf: path), file: path)
  }

  /// The JSON without its checksum.
  /// - Throws: `CheckpointError` where anything was changed
  package static func opened(_ json: JSONValue, file path: String) throws -> JSONValue {
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

/// What `trainer_state.json` of a checkpoint says: whose it is, and checksums of the files beside it.
package struct CheckpointState {
  /// Steps that were done.
  package let step: Int
  let run: String
  let identity: RunIdentity
  package let files: [(name: String, bytes: Int, crc32: Int)]

  private static let steps = 0...1_000_000_000

  /// - Throws: `CheckpointError` where something is missing or out of range
  package init(json: JSONValue, file: String) throws {
    func refuse(_ reason: String) -> CheckpointError { CheckpointError(path: file, reason: reason) }
    guard let step = json["global_step"]?.intValue, Self.steps.contains(step), let run = json["run"]?.stringValue,
      let files = json["files"]?.objectValue
    else { throw refuse("global_step, run or files is missing or out of range") }
    self.step = step
    self.run = run
    identity = try RunIdentity(json: json["identity"], file: file)
    self.files = try files.entries.map { name, value in
      guard !name.contains("/") else { throw refuse("\(name) is no name of a file") }
      guard let bytes = value["bytes"]?.intValue, let sum = value["crc32"]?.intValue else {
        throw refuse("\(name) has no checksum")
      }
      return (name, bytes, sum)
    }
  }
}
