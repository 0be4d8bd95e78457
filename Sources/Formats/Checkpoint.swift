import Foundation

/// The tensors of a model: one safetensors file or several with an index.
public final class Checkpoint: Sendable {
  /// The folder that holds the files.
  public let directory: String
  /// All names, file by file in the order of their data.
  public let tensorNames: [String]
  private let tensors: [String: StoredTensor]
  private let origin: String

  private init(directory: String, origin: String, files: [SafetensorsFile]) throws {
    self.directory = directory
    self.origin = origin
    var names: [String] = []
    var tensors: [String: StoredTensor] = [:]
    for file in files {
      for name in file.tensorNames {
        if let other = tensors[name] {
          throw SafetensorsError.badTensor(file: file.path, tensor: name, reason: "is in \(other.file.path) as well")
        }
        tensors[name] = file.tensor(name)
        names.append(name)
      }
    }
    tensorNames = names
    self.tensors = tensors
  }

  /// Opens a `.safetensors` file, or the folder of a model.
  public static func open(_ path: String) throws -> Checkpoint {
    if case .other = try PathKind(path) {
      if path.hasSuffix(".index.json") { return try openIndex(path) }
      return try Checkpoint(directory: folder(of: path), origin: path, files: [try SafetensorsFile(path: path)])
    }
    let single = "\(path)/model.safetensors"
    let index = "\(path)/model.safetensors.index.json"
    if FileManager.default.fileExists(atPath: single) {
      return try Checkpoint(directory: path, origin: single, files: [try SafetensorsFile(path: single)])
    }
    if FileManager.default.fileExists(atPath: index) { return try openIndex(index) }
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: path).sorted()
    } catch {
      throw FileError.cannotOpen(file: path, reason: "the folder cannot be read")
    }
    let candidates = names.filter { $0.hasSuffix(".safetensors") }
    guard candidates.count == 1 else { throw SafetensorsError.noWeights(directory: path, found: names) }
    let file = "\(path)/\(candidates[0])"
    return try Checkpoint(directory: path, origin: file, files: [try SafetensorsFile(path: file)])
  }

  private static func folder(of path: String) -> String {
    let folder = (path as NSString).deletingLastPathComponent
    return folder.isEmpty ? "." : folder
  }

  private static func openIndex(_ path: String) throws -> Checkpoint {
    let directory = folder(of: path)
    let index = try JSONValue.parse(contentsOf: path, rules: .tensorTable)
    func refuse(_ reason: String) -> SafetensorsError { .badIndex(file: path, reason: reason) }
    guard let map = index["weight_map"]?.objectValue else { throw refuse("has no weight_map") }
    var shards: [String: SafetensorsFile] = [:]
    for (name, value) in map.entries {
      guard let shard = value.stringValue, !shard.isEmpty, !shard.contains("/"), shard != "..", shard != "." else {
        throw refuse("the file of \(name) is \(value.serialized()), expected a plain file name")
      }
      if shards[shard] == nil {
        let file = "\(directory)/\(shard)"
        guard FileManager.default.fileExists(atPath: file) else {
          throw refuse("names \(shard), which is not in the folder; download it too")
        }
        shards[shard] = try SafetensorsFile(path: file)
      }
      if shards[shard]?.tensor(name) == nil { throw refuse("says that \(shard) holds \(name), but it does not") }
    }
    return try Checkpoint(
      directory: directory, origin: path, files: shards.sorted { $0.key < $1.key }.map(\.value))
  }

  public func tensor(_ name: String) -> StoredTensor? { tensors[name] }

  /// - Throws: `SafetensorsError.missingTensor` or `wrongShape`
  public func requiredTensor(_ name: String, shape: [Int]? = nil) throws -> StoredTensor {
    guard let tensor = tensors[name] else {
      let similar = tensorNames.first { $0.hasSuffix(".\(name)") || name.hasSuffix(".\($0)") }
      throw SafetensorsError.missingTensor(file: origin, tensor: name, similar: similar)
    }
    if let shape, tensor.shape != shape {
      throw SafetensorsError.wrongShape(file: origin, tensor: name, found: tensor.shape, expected: shape)
    }
    return tensor
  }
}
