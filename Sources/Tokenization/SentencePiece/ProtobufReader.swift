/// Goes through the fields of a message in protocol buffers' wire format, without taking memory for it.
///
/// Source: "Encoding" in the protocol buffers documentation.
struct ProtobufReader {
  enum Value {
    case integer(UInt64)
    case fixed64(UInt64)
    case fixed32(UInt32)
    case bytes(UnsafeRawBufferPointer)
  }

  private let bytes: UnsafeRawBufferPointer
  private let file: String
  private var position = 0

  init(_ bytes: UnsafeRawBufferPointer, file: String) {
    self.bytes = bytes
    self.file = file
  }

  private func failure(_ reason: String) -> TokenizerError {
    TokenizerError(file: file, reason: "\(reason); the file is damaged or no SentencePiece model")
  }

  /// The next field; `nil` at the end.
  mutating func next() throws -> (number: UInt64, value: Value)? {
    if position == bytes.count { return nil }
    let key = try integer()
    guard key >> 3 > 0 else { throw failure("a field has number 0") }
    switch key & 7 {
    case 0: return (key >> 3, .integer(try integer()))
    case 1: return (key >> 3, .fixed64(try fixed(UInt64.self)))
    case 2:
      let count = try integer()
      guard count <= UInt64(bytes.count - position) else { throw failure("a field reaches beyond the end") }
      defer { position += Int(count) }
      return (key >> 3, .bytes(UnsafeRawBufferPointer(rebasing: bytes[position..<position + Int(count)])))
    case 5: return (key >> 3, .fixed32(try fixed(UInt32.self)))
    default: throw failure("a field has an unknown form")
    }
  }

  private mutating func fixed<Number: FixedWidthInteger>(_: Number.Type) throws -> Number {
    let size = MemoryLayout<Number>.size
    guard size <= bytes.count - position else { throw failure("a field reaches beyond the end") }
    defer { position += size }
    return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Number.self))
  }

  private mutating func integer() throws -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: 0, to: 64, by: 7) {
      guard position < bytes.count else { throw failure("a number reaches beyond the end") }
      let byte = bytes[position]
      position += 1
      value |= UInt64(byte & 0x7F) << UInt64(shift)
      if byte < 0x80 { return value }
    }
    throw failure("a number has more than 64 bits")
  }
}
