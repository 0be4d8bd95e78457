#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The tensors of a model: one safetensors file or several with an index.
public final class Checkpoint: Sendable {
  /// The folder that holds the files.
  public let directory: String
  /// All names, file by file in the order of their data.
  public let tensorNames: [String]
  private let tensors: [String: StoredTensor]
  private let origin: String
  /// The file that the index names for each tensor which is in no file, as it does for the head of some tied models.
  private let absent: [String: String]

  /// - Parameter index: the file of each tensor as the index says
  private init(directory: String, origin: String, files: [SafetensorsFile], index: [String: String] = [:]) throws {
    self.directory = directory
    self.origin = origin
    var names: [String] = []
    var tensors: [String: StoredTensor] = [:]
    for tensor in files.lazy.flatMap({ file in file.tensorNames.compactMap(file.tensor) }) {
      if let other = tensors[tensor.name] {
        try Self.requireEqual(tensor, other)
      } else {
        tensors[tensor.name] = tensor
        names.append(tensor.name)
      }
    }
    tensorNames = names
    self.tensors = tensors
    absent = index.filter { tensors[$0.key] == nil }
  }

  /// Some shards hold a tensor that another one has too, which is harmless when both are the same.
  private static func requireEqual(_ tensor: StoredTensor, _ other: StoredTensor) throws {
    func refuse(_ what: String) -> SafetensorsError {
      .badTensor(
        file: tensor.file.path, tensor: tensor.name,
        reason: "is in \(other.file.path) as well, with other \(what); it is not clear which one is meant")
    }
    guard tensor.elementType == other.elementType else { throw refuse("elements") }
    guard tensor.shape == other.shape else { throw refuse("dimensions") }
    let piece = 1 << 22
    for start in stride(from: 0, to: tensor.byteCount, by: piece) {
      let count = min(piece, tensor.byteCount - start)
      let isSame = memcmp(tensor.bytes.baseAddress! + start, other.bytes.baseAddress! + start, count) == 0
      for part in [tensor, other] { part.file.dropPages(offset: part.byteOffset + start, count: count) }
      guard isSame else { throw refuse("values") }
    }
  }

  /// Opens a `.safetensors` file, or the folder of a model.
  public static func open(_ path: String) throws -> Checkpoint {
    if case .other = try PathKind(path) {
      if path.hasSuffix(".index.json") { return try openIndex(path) }
      return try Checkpoint(directory: PathText.folder(path), origin: path, files: [try SafetensorsFile(path: path)])
    }
    let single = "\(path)/model.safetensors"
    let index = "\(path)/model.safetensors.index.json"
    if System.isThere(single) {
      return try Checkpoint(directory: path, origin: single, files: [try SafetensorsFile(path: single)])
    }
    if System.isThere(index) { return try openIndex(index) }
    let names = try OutputFolder.readableNames(in: path)
    let candidates = names.filter { $0.hasSuffix(".safetensors") }
    guard candidates.count == 1 else { throw SafetensorsError.noWeights(directory: path, found: names) }
    let file = "\(path)/\(candidates[0])"
    return try Checkpoint(directory: path, origin: file, files: [try SafetensorsFile(path: file)])
  }

  private static func openIndex(_ path: String) throws -> Checkpoint {
    let directory = PathText.folder(path)
    let index = try JSONValue.parse(contentsOf: path, rules: .tensorTable)
    func refuse(_ reason: String) -> SafetensorsError { .badIndex(file: path, reason: reason) }
    guard let map = index["weight_map"]?.objectValue else { throw refuse("has no weight_map") }
    var shards: [String: SafetensorsFile] = [:]
    var places: [String: String] = [:]
    for (name, value) in map.entries {
      guard let shard = value.stringValue, !shard.isEmpty, !shard.contains("/"), shard != "..", shard != "." else {
        throw refuse("the file of \(name) is \(value.serialized()), expected a plain file name")
      }
      if shards[shard] == nil {
        let file = "\(directory)/\(shard)"
        guard System.isThere(file) else {
          throw refuse("names \(shard), which is not in the folder; download it too")
        }
        shards[shard] = try SafetensorsFile(path: file)
      }
      places[name] = shard
    }
    return try Checkpoint(
      directory: directory, origin: path, files: shards.sorted { $0.key < $1.key }.map(\.value), index: places)
  }

  /// Names that the index lists and no file has: none of them matters unless it is asked for.
  public var absentNames: [String] { absent.keys.sorted() }

  public func tensor(_ name: String) -> StoredTensor? { tensors[name] }

  /// - Throws: `SafetensorsError.missingTensor` or `wrongShape`
  public func requiredTensor(_ name: String, shape: [Int]? = nil) throws -> StoredTensor {
    guard let tensor = tensors[name] else {
      if let shard = absent[name] {
        throw SafetensorsError.badIndex(
          file: origin, reason: "says that \(shard) holds \(name), but it does not; download both again")
      }
      let similar = tensorNames.first { $0.hasSuffix(".\(name)") || name.hasSuffix(".\($0)") }
      throw SafetensorsError.missingTensor(file: origin, tensor: name, similar: similar)
    }
    if let shape, tensor.shape != shape {
      throw SafetensorsError.wrongShape(file: origin, tensor: name, found: tensor.shape, expected: shape)
    }
    return tensor
  }
}
