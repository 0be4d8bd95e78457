import FoundationEssentials
import Glibc

/// Writes a safetensors file in one stream: the header first, then the data of every tensor in the declared order.
public final class SafetensorsWriter {
  /// A tensor that will be written.
  public struct Declaration: Sendable {
    public let name: String
    public let elementType: ElementType
    public let shape: [Int]
    public var byteCount: Int { shape.reduce(elementType.byteCount, *) }

    public init(name: String, elementType: ElementType, shape: [Int]) {
      self.name = name
      self.elementType = elementType
      self.shape = shape
    }
  }

  private let file: OutputFile
  private let reserved: Int
  private var declared: [Declaration] = []
  private let metadata: [String: String]

  /// - Parameter headerByteCount: room for the header, which is known only at the end; see `headerByteCount(for:)`
  public init(path: String, headerByteCount: Int, metadata: [String: String] = ["format": "pt"]) throws {
    let output = try OutputFile(path: path)
    // The data starts at a multiple of 64.
    reserved = (headerByteCount + 8 + 63) / 64 * 64
    try output.append(repeating: 0x20, count: reserved)
    file = output
    self.metadata = metadata
  }

  /// Room that the header of `count` tensors with names of at most `longestName` bytes takes at most.
  public static func headerByteCount(tensors count: Int, longestName: Int) -> Int { 256 + count * (longestName + 160) }

  /// Starts a tensor; the one before must be complete.
  public func begin(_ declaration: Declaration) throws {
    checkBytes()
    declared.append(declaration)
  }

  public func append(_ bytes: UnsafeRawBufferPointer) throws { try file.append(bytes) }

  public func append<T: BitwiseCopyable>(_ values: [T]) throws { try values.withUnsafeBytes { try file.append($0) } }

  /// A whole small tensor.
  public func write<T: BitwiseCopyable>(_ name: String, _ type: ElementType, shape: [Int], _ values: [T]) throws {
    try begin(Declaration(name: name, elementType: type, shape: shape))
    try append(values)
  }

  /// A whole file of F32 tensors that are in memory, in alphabetical order as PEFT has them.
  public static func write(_ tensors: [(name: String, shape: [Int], values: [Float])], to path: String) throws {
    let writer = try SafetensorsWriter(
      path: path,
      headerByteCount: headerByteCount(
        tensors: tensors.count, longestName: tensors.map(\.name.utf8.count).max() ?? 0))
    for (name, shape, values) in tensors.sorted(by: { $0.name < $1.name }) {
      try writer.write(name, .f32, shape: shape, values)
    }
    try writer.finish()
  }

  private func checkBytes() {
    let expected = reserved + declared.reduce(0) { $0 + $1.byteCount }
    precondition(file.byteCount == expected, "\(file.path): \(file.byteCount) bytes, declared \(expected)")
  }

  /// Writes the header and puts the file on the disk.
  public func finish() throws {
    checkBytes()
    var header = JSONObject()
    header["__metadata__"] = .object(
      JSONObject(metadata.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
    var offset = 0
    for tensor in declared {
      header[tensor.name] = .object(
        JSONObject([
          ("dtype", .string(tensor.elementType.rawValue)),
          ("shape", .array(tensor.shape.map { .integer($0) })),
          ("data_offsets", .array([.integer(offset), .integer(offset + tensor.byteCount)])),
        ]))
      offset += tensor.byteCount
    }
    let text = Array(JSONValue.object(header).serialized().utf8)
    precondition(text.count + 8 <= reserved, "\(file.path): header of \(text.count) bytes, reserved \(reserved)")
    let length = withUnsafeBytes(of: UInt64(reserved - 8).littleEndian) { Array($0) }
    try file.overwriteStart(with: length + text)
    try file.finish()
  }
}
