/// Writes a GGUF file of version 3 in one stream: metadata and tensors are announced first, then the data of every
/// tensor follows in the announced order. Holds a buffer of 1 MB, whatever the model.
public final class GGUFWriter {
  /// A tensor that will be written.
  public struct Declaration: Sendable, Equatable {
    public let name: String
    public let type: GGMLType
    /// Outermost dimension first; one to four.
    public let shape: [Int]

    public var byteCount: Int { type.byteCount(elements: shape.reduce(1, *)) }

    public init(name: String, type: GGMLType, shape: [Int]) {
      self.name = name
      self.type = type
      self.shape = shape
    }
  }

  private let file: OutputFile
  private let tensors: [Declaration]
  private let alignment: Int
  private var next = 0
  /// Bytes that the begun tensor still lacks.
  private var left = 0

  /// - Parameters:
  ///   - metadata: `general.architecture` and the rest, in this order. `general.alignment` is not among them
  ///   - alignment: of each tensor's data; a power of two, at least 8
  /// - Throws: `FileError`, or `GGUFError.badValue` for a tensor that GGUF cannot hold
  public init(path: String, metadata: [(key: String, value: GGUFField)], tensors: [Declaration], alignment: Int = 32)
    throws
  {
    precondition(alignment >= 8 && alignment & (alignment - 1) == 0, "a power of two")
    for tensor in tensors {
      func refuse(_ reason: String) -> GGUFError {
        .badValue(file: path, place: "tensor \(tensor.name)", reason: reason)
      }
      guard (1...4).contains(tensor.shape.count), tensor.shape.allSatisfy({ $0 >= 1 && $0 <= Int(Int32.max) }) else {
        throw refuse("GGUF cannot hold shape \(tensor.shape)")
      }
      guard tensor.shape[tensor.shape.count - 1] % tensor.type.blockSize == 0 else {
        throw refuse(
          "rows of \(tensor.shape[tensor.shape.count - 1]) are no multiple of the \(tensor.type.blockSize) that "
            + "\(tensor.type.name) takes together; write it as F16")
      }
      // GGML's own limit is 64 bytes with the zero at the end.
      guard tensor.name.utf8.count < 64 else { throw refuse("its name is longer than 63 bytes") }
    }
    guard Set(tensors.map(\.name)).count == tensors.count, Set(metadata.map(\.key)).count == metadata.count else {
      throw GGUFError.badValue(file: path, place: "header", reason: "a name occurs twice")
    }
    self.tensors = tensors
    self.alignment = alignment
    file = try OutputFile(path: path)
    var metadata = metadata
    if alignment != 32 { metadata.append(("general.alignment", .uint32(UInt32(alignment)))) }
    try file.append(Array("GGUF".utf8))
    try file.append(number: 3 as UInt32)
    try file.append(number: UInt64(tensors.count))
    try file.append(number: UInt64(metadata.count))
    for (key, value) in metadata {
      try file.append(text: key)
      try file.append(number: value.type)
      try value.write(to: file)
    }
    var offset = 0
    for tensor in tensors {
      try file.append(text: tensor.name)
      try file.append(number: UInt32(tensor.shape.count))
      for size in tensor.shape.reversed() { try file.append(number: UInt64(size)) }
      try file.append(number: tensor.type.rawValue)
      try file.append(number: UInt64(offset))
      offset += (tensor.byteCount + alignment - 1) / alignment * alignment
    }
    try pad()
  }

  private func pad() throws {
    try file.append(repeating: 0, count: (alignment - file.byteCount % alignment) % alignment)
  }

  /// The tensor whose data is due; `nil` when all is written.
  public var expected: Declaration? { next < tensors.count ? tensors[next] : nil }

  /// Data of the tensor that is due, in as many pieces as wanted.
  public func append(_ bytes: UnsafeRawBufferPointer) throws {
    precondition(next < tensors.count, "all tensors are written")
    if left == 0 { left = tensors[next].byteCount }
    precondition(bytes.count <= left, "\(tensors[next].name): more bytes than announced")
    try file.append(bytes)
    left -= bytes.count
    if left == 0, bytes.count > 0 {
      next += 1
      try pad()
    }
  }

  /// Encodes whole rows of the tensor that is due.
  ///
  /// - Parameters:
  ///   - rows: `[n, columns]`
  ///   - scratch: kept from call to call, so that nothing is allocated for every row
  public func append(rows: UnsafeBufferPointer<Float>, scratch: inout [UInt8]) throws {
    precondition(next < tensors.count, "all tensors are written")
    let type = tensors[next].type
    let count = type.byteCount(elements: rows.count)
    if scratch.count < count { scratch = [UInt8](repeating: 0, count: count) }
    try scratch.withUnsafeMutableBytes { buffer in
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count])
      type.encode(rows, into: part)
      try append(UnsafeRawBufferPointer(part))
    }
  }

  /// Puts the file on the disk.
  public func finish() throws {
    precondition(next == tensors.count, "\(file.path): \(next) tensors of \(tensors.count) are written")
    try file.finish()
  }
}
