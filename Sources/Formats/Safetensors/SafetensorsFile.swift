/// Every way in which a safetensors file can be wrong.
public enum SafetensorsError: Error, CustomStringConvertible {
  case truncated(file: String, byteCount: Int)
  case headerTooLong(file: String, claimed: UInt64, byteCount: Int)
  case badHeader(file: String, reason: String)
  case badTensor(file: String, tensor: String, reason: String)
  case overlap(file: String, tensor: String, other: String)
  case gap(file: String, tensor: String, byteCount: Int)
  case trailingBytes(file: String, expected: Int, found: Int)
  case missingTensor(file: String, tensor: String, similar: String?)
  case wrongShape(file: String, tensor: String, found: [Int], expected: [Int])
  case noWeights(directory: String, found: [String])
  case badIndex(file: String, reason: String)

  public var description: String {
    let damaged = "\n       the file is damaged or incomplete; copy or download it again"
    switch self {
    case .truncated(let file, let byteCount):
      return "\(file): \(byteCount) bytes are too few for a safetensors file" + damaged
    case .headerTooLong(let file, let claimed, let byteCount):
      return "\(file): header of \(claimed) bytes, but the file has \(byteCount) and 100000000 are allowed" + damaged
    case .badHeader(let file, let reason):
      return "\(file): header: \(reason)" + damaged
    case .badTensor(let file, let tensor, let reason):
      return "\(file): tensor \(tensor): \(reason)"
    case .overlap(let file, let tensor, let other):
      return "\(file): tensor \(tensor) overlaps \(other)" + damaged
    case .gap(let file, let tensor, let byteCount):
      return "\(file): \(byteCount) unused bytes before tensor \(tensor)" + damaged
    case .trailingBytes(let file, let expected, let found):
      return "\(file): data of \(found) bytes, but the tensors take \(expected)" + damaged
    case .missingTensor(let file, let tensor, let similar):
      return "\(file): tensor \(tensor) is missing" + (similar.map { "; there is \($0)" } ?? "")
    case .wrongShape(let file, let tensor, let found, let expected):
      return "\(file): tensor \(tensor) has shape \(found), config.json asks for \(expected)"
    case .noWeights(let directory, let found):
      return "\(directory): no model.safetensors and no model.safetensors.index.json; it holds "
        + (found.isEmpty ? "nothing" : found.prefix(8).joined(separator: ", "))
        + "\n       name a model's folder, its .safetensors or a .gguf file"
    case .badIndex(let file, let reason):
      return "\(file): \(reason)"
    }
  }
}

/// A safetensors file, validated when it is opened: header, names, types, shapes, and offsets without hole or overlap.
///
/// Format: an unsigned 64-bit little-endian header length, the header as JSON, then the data.
/// Source: the format section of huggingface/safetensors.
public final class SafetensorsFile: Sendable {
  public let path: String
  /// The `__metadata__` strings.
  public let metadata: [String: String]
  /// Names in the order of their data.
  public let tensorNames: [String]
  private let tensors: [String: StoredTensor]
  private static let longestHeader: UInt64 = 100_000_000

  public init(path: String) throws {
    self.path = path
    let file = try MappedFile(path: path)
    defer { withExtendedLifetime(file) {} }
    guard file.byteCount >= 10 else { throw SafetensorsError.truncated(file: path, byteCount: file.byteCount) }
    let claimed = UInt64(littleEndian: file.bytes.loadUnaligned(as: UInt64.self))
    guard claimed <= Self.longestHeader, claimed <= UInt64(file.byteCount - 8) else {
      throw SafetensorsError.headerTooLong(file: path, claimed: claimed, byteCount: file.byteCount)
    }
    let dataStart = 8 + Int(claimed)
    let header: JSONValue
    do {
      header = try JSONValue.parse(
        UnsafeRawBufferPointer(rebasing: file.bytes[8..<dataStart]), file: path, rules: .tensorTable)
    } catch let error as JSONError {
      throw SafetensorsError.badHeader(file: path, reason: "not JSON: \(error.reason) at byte \(error.column)")
    }
    guard let object = header.objectValue else {
      throw SafetensorsError.badHeader(file: path, reason: "not a JSON object")
    }
    var metadata: [String: String] = [:]
    var found: [StoredTensor] = []
    for (name, value) in object.entries {
      guard !TensorNaming.isUnprintable(name) else {
        throw SafetensorsError.badHeader(file: path, reason: "the name of a tensor holds control characters")
      }
      if name == "__metadata__" {
        guard let strings = value.objectValue else {
          throw SafetensorsError.badHeader(file: path, reason: "__metadata__ is not an object of strings")
        }
        for (key, value) in strings.entries {
          guard let string = value.stringValue else {
            throw SafetensorsError.badHeader(file: path, reason: "__metadata__ \(key) is not a string")
          }
          metadata[key] = string
        }
      } else {
        found.append(try Self.tensor(name, value, file: file, dataStart: dataStart))
      }
    }
    found.sort { ($0.byteOffset, $0.byteCount) < ($1.byteOffset, $1.byteCount) }
    var end = dataStart
    var previous = ""
    for tensor in found {
      if tensor.byteOffset < end {
        throw SafetensorsError.overlap(file: path, tensor: tensor.name, other: previous)
      }
      if tensor.byteOffset > end {
        throw SafetensorsError.gap(file: path, tensor: tensor.name, byteCount: tensor.byteOffset - end)
      }
      end += tensor.byteCount
      previous = tensor.name
    }
    if end != file.byteCount {
      throw SafetensorsError.trailingBytes(file: path, expected: end - dataStart, found: file.byteCount - dataStart)
    }
    self.metadata = metadata
    tensorNames = found.map(\.name)
    // Names of other bytes may be equal as texts, as é in one scalar and in two.
    tensors = try Dictionary(found.map { ($0.name, $0) }) { first, _ in
      throw SafetensorsError.badTensor(file: path, tensor: first.name, reason: "occurs twice")
    }
  }

  private static func tensor(_ name: String, _ value: JSONValue, file: MappedFile, dataStart: Int) throws
    -> StoredTensor
  {
    func failure(_ reason: String) -> SafetensorsError { .badTensor(file: file.path, tensor: name, reason: reason) }
    guard let typeName = value["dtype"]?.stringValue else { throw failure("has no dtype") }
    guard let type = ElementType(rawValue: typeName) else {
      throw failure(
        "dtype \(typeName) is not supported (\(ElementType.allCases.map(\.rawValue).joined(separator: ", ")))")
    }
    guard let dimensions = value["shape"]?.arrayValue else { throw failure("has no shape") }
    var byteCount = type.byteCount
    var shape: [Int] = []
    for dimension in dimensions {
      guard let size = dimension.intValue, size >= 0 else { throw failure("a dimension is not a whole number") }
      let (product, overflow) = byteCount.multipliedReportingOverflow(by: size)
      if overflow { throw failure("its size overflows") }
      byteCount = product
      shape.append(size)
    }
    guard let offsets = value["data_offsets"]?.arrayValue, offsets.count == 2, let begin = offsets[0].intValue,
      let end = offsets[1].intValue, begin >= 0, begin <= end
    else { throw failure("data_offsets are not two ascending numbers") }
    guard end <= file.byteCount - dataStart else {
      throw failure("ends at byte \(end), but the file has \(file.byteCount - dataStart) bytes of data")
    }
    guard end - begin == byteCount else {
      throw failure("shape \(shape) of \(typeName) takes \(byteCount) bytes, data_offsets span \(end - begin)")
    }
    return StoredTensor(
      name: name, elementType: type, shape: shape, file: file, byteOffset: dataStart + begin, byteCount: byteCount)
  }

  public func tensor(_ name: String) -> StoredTensor? { tensors[name] }
}
