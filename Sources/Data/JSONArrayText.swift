/// The elements of a JSON array as text, one by one: a large file never becomes one tree.
enum JSONArrayText {
  static func isArray(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.first { !isSpace($0) } == UInt8(ascii: "[")
  }

  /// Calls `body` with each element and the line that it starts on.
  /// - Parameter bytes: text whose first character is `[`
  static func forEachElement(
    of bytes: UnsafeRawBufferPointer, file: String, _ body: (UnsafeRawBufferPointer, Int) throws -> Void
  ) throws {
    var line = 1
    func failure(_ reason: String) -> DataError { .badLine(file: file, line: line, reason: "not JSON: \(reason)") }
    var position = 0
    while bytes[position] != UInt8(ascii: "[") {
      if bytes[position] == UInt8(ascii: "\n") { line += 1 }
      position += 1
    }
    position += 1
    var start: (position: Int, line: Int)?
    var depth = 0
    var count = 0
    while position < bytes.count {
      let byte = bytes[position]
      let isClosing = byte == UInt8(ascii: "]")
      if depth == 0, isClosing || byte == UInt8(ascii: ",") {
        if let start {
          try body(UnsafeRawBufferPointer(rebasing: bytes[start.position..<position]), start.line)
          count += 1
        } else if count > 0 || !isClosing {
          throw failure("expected a value")
        }
        start = nil
        if isClosing {
          guard bytes[(position + 1)...].allSatisfy(isSpace) else { throw failure("text after the end of the array") }
          return
        }
      } else if !isSpace(byte) {
        if start == nil { start = (position, line) }
        switch byte {
        case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
        case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
        case UInt8(ascii: "\""):
          position += 1
          while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
            position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
          }
        default: break
        }
      } else if byte == UInt8(ascii: "\n") {
        line += 1
      }
      position += 1
    }
    throw failure("the array does not end")
  }

  static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }
}
