import Foundation

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
  private let expectedByteCount: Int

  public init(path: String, tensors: [Declaration], metadata: [String: String] = ["format": "pt"]) throws {
    var header = JSONObject()
    if !metadata.isEmpty {
      header["__metadata__"] = .object(
        JSONObject(metadata.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
    }
    var offset = 0
    for tensor in tensors {
      header[tensor.name] = .object(
        JSONObject([
          ("dtype", .string(tensor.elementType.rawValue)),
          ("shape", .array(tensor.shape.map { .integer($0) })),
          ("data_offsets", .array([.integer(offset), .integer(offset + tensor.byteCount)])),
        ]))
      offset += tensor.byteCount
    }
    var bytes = Array(JSONValue.object(header).serialized().utf8)
    // Spaces, so that the data starts at a multiple of 64.
    bytes.append(contentsOf: [UInt8](repeating: 0x20, count: (64 - (bytes.count + 8) % 64) % 64))
    let output = try OutputFile(path: path)
    try withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { try output.append($0) }
    try bytes.withUnsafeBytes { try output.append($0) }
    file = output
    expectedByteCount = output.byteCount + offset
  }

  public func append(_ bytes: UnsafeRawBufferPointer) throws { try file.append(bytes) }

  public func append<T: BitwiseCopyable>(_ values: [T]) throws { try values.withUnsafeBytes { try file.append($0) } }

  /// Checks that every declared byte was written and puts the file on the disk.
  public func finish() throws {
    precondition(file.byteCount == expectedByteCount, "\(file.path): \(file.byteCount) of \(expectedByteCount) bytes")
    try file.finish()
  }
}
