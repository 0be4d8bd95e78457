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
    var elements = JSONArrayElements(bytes, file: file)
    while let (element, line) = try elements.next() { try body(element, line) }
  }

  static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }
}

/// Goes through the elements of a JSON array.
struct JSONArrayElements {
  private let bytes: UnsafeRawBufferPointer
  private let file: String
  /// Where the search goes on; behind the end once the array has ended, well or not.
  private(set) var position = 0
  private var line = 1
  private var count = 0

  /// - Parameter bytes: text whose first character is `[`
  init(_ bytes: UnsafeRawBufferPointer, file: String) {
    self.bytes = bytes
    self.file = file
    while position < bytes.count, bytes[position] != UInt8(ascii: "[") {
      if bytes[position] == UInt8(ascii: "\n") { line += 1 }
      position += 1
    }
    position += 1
  }

  private mutating func end(_ reason: String) -> DataError {
    position = bytes.count + 1
    return .badLine(file: file, line: line, reason: "not JSON: \(reason)")
  }

  /// The next element and the line that it starts on; `nil` behind the last one.
  mutating func next() throws -> (element: UnsafeRawBufferPointer, line: Int)? {
    if position > bytes.count { return nil }
    var start: (position: Int, line: Int)?
    var depth = 0
    while position < bytes.count {
      let byte = bytes[position]
      let isClosing = byte == UInt8(ascii: "]")
      if depth == 0, isClosing || byte == UInt8(ascii: ",") {
        if isClosing, !bytes[(position + 1)...].allSatisfy(JSONArrayText.isSpace) {
          throw end("text after the end of the array")
        }
        guard let start else {
          if count > 0 || !isClosing { throw end("expected a value") }
          position = bytes.count + 1
          return nil
        }
        let element = UnsafeRawBufferPointer(rebasing: bytes[start.position..<position])
        count += 1
        position = isClosing ? bytes.count + 1 : position + 1
        return (element, start.line)
      } else if !JSONArrayText.isSpace(byte) {
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
    throw end("the array does not end")
  }
}
