/// Where and why a text is not JSON.
public struct JSONError: Error, CustomStringConvertible {
  public let file: String
  public let line: Int
  public let column: Int
  public let reason: String
  public var description: String { "\(file):\(line):\(column): not JSON: \(reason)" }
}

/// What a document may hold beyond what RFC 8259 asks.
public struct JSONRules: Sendable {
  /// Whether an object may name a key twice, in which case the last one counts.
  var allowsRepeatedKeys: Bool
  /// A value takes some fifty bytes of memory for as little as two of text: this bound, and that of `values(bytes:)`, keep
  /// a damaged file from filling the memory.
  var mostValues: Int

  /// Any document. The largest tokenizers have two million values.
  public static let document = JSONRules(allowsRepeatedKeys: true, mostValues: 1 << 22)
  /// A table of tensors: one that occurs twice is a mistake, and the largest models have some ten thousand.
  public static let tensorTable = JSONRules(allowsRepeatedKeys: false, mostValues: 1 << 20)

  /// Values that a text of so many bytes may have: real documents have names and words in them, and some ten bytes a
  /// value.
  func values(bytes: Int) -> Int { min(mostValues, mostValues / 8 + bytes / 16) }
}

extension JSONValue {
  /// Parses a whole document (RFC 8259).
  ///
  /// - Parameter file: the name that errors carry
  public static func parse(
    _ bytes: UnsafeRawBufferPointer, file: String, rules: JSONRules = .document
  ) throws -> JSONValue {
    var parser = JSONParser(bytes: bytes, file: file, rules: rules)
    return try parser.document()
  }

  /// Parses the document in a file.
  public static func parse(contentsOf path: String, rules: JSONRules = .document) throws -> JSONValue {
    let file = try MappedFile(path: path)
    return try withExtendedLifetime(file) {
      try parse(file.bytes, file: path, rules: rules)
    }
  }

  /// Parses a whole document (RFC 8259).
  public static func parse(_ text: String, file: String) throws -> JSONValue {
    var text = text
    return try text.withUTF8 { try parse(UnsafeRawBufferPointer($0), file: file) }
  }
}

private struct JSONParser {
  let bytes: UnsafeRawBufferPointer
  let file: String
  let rules: JSONRules
  let mostValues: Int
  var position = 0
  var depth = 0
  var valueCount = 0
  static let deepest = 256

  init(bytes: UnsafeRawBufferPointer, file: String, rules: JSONRules) {
    self.bytes = bytes
    self.file = file
    self.rules = rules
    mostValues = rules.values(bytes: bytes.count)
  }

  mutating func document() throws -> JSONValue {
    if let encoding = TextEncoding.foreign(bytes) { throw failure("the text is \(encoding), expected UTF-8") }
    position = TextEncoding.markLength(bytes)
    let result = try value()
    skipSpace()
    if position < bytes.count { throw failure("text after the end of the document") }
    return result
  }

  func failure(_ reason: String) -> JSONError {
    var line = 1
    var column = 1
    for byte in bytes[0..<min(position, bytes.count)] {
      if byte == UInt8(ascii: "\n") {
        line += 1
        column = 1
      } else {
        column += 1
      }
    }
    return JSONError(file: file, line: line, column: column, reason: reason)
  }

  var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
  }

  mutating func value() throws -> JSONValue {
    skipSpace()
    guard let byte = current else { throw failure("unexpected end") }
    valueCount += 1
    if valueCount > mostValues { throw failure("more than \(mostValues) values") }
    switch byte {
    case UInt8(ascii: "{"): return .object(try nested { try $0.object() })
    case UInt8(ascii: "["): return .array(try nested { try $0.array() })
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return try number()
    }
  }

  mutating func nested<T>(_ body: (inout JSONParser) throws -> T) throws -> T {
    depth += 1
    if depth > Self.deepest { throw failure("nested deeper than \(Self.deepest) levels") }
    position += 1
    let result = try body(&self)
    depth -= 1
    return result
  }

  mutating func object() throws -> JSONObject {
    var result = JSONObject()
    skipSpace()
    if current == UInt8(ascii: "}") {
      position += 1
      return result
    }
    while true {
      skipSpace()
      guard current == UInt8(ascii: "\"") else { throw failure("expected a key in quotes") }
      let key = try string()
      skipSpace()
      guard current == UInt8(ascii: ":") else { throw failure("expected ':' after key \(key.prefix(40))") }
      position += 1
      if !rules.allowsRepeatedKeys, result[key] != nil { throw failure("key \(key.prefix(80)) occurs twice") }
      result[key] = try value()
      skipSpace()
      if current == UInt8(ascii: ",") {
        position += 1
      } else if current == UInt8(ascii: "}") {
        position += 1
        return result
      } else {
        throw failure("expected ',' or '}'")
      }
    }
  }

  mutating func array() throws -> [JSONValue] {
    var result: [JSONValue] = []
    skipSpace()
    if current == UInt8(ascii: "]") {
      position += 1
      return result
    }
    while true {
      result.append(try value())
      skipSpace()
      if current == UInt8(ascii: ",") {
        position += 1
      } else if current == UInt8(ascii: "]") {
        position += 1
        return result
      } else {
        throw failure("expected ',' or ']'")
      }
    }
  }

  mutating func word(_ text: StaticString, _ value: JSONValue) throws -> JSONValue {
    let count = text.utf8CodeUnitCount
    guard position + count <= bytes.count,
      (0..<count).allSatisfy({ bytes[position + $0] == text.utf8Start[$0] })
    else { throw failure("expected a value") }
    position += count
    return value
  }

  mutating func number() throws -> JSONValue {
    let start = position
    var isWhole = true
    func isDigit(_ byte: UInt8?) -> Bool { byte.map { $0 >= 0x30 && $0 <= 0x39 } ?? false }
    if current == UInt8(ascii: "-") { position += 1 }
    guard isDigit(current) else { throw failure("expected a value") }
    if current == UInt8(ascii: "0") {
      position += 1
    } else {
      while isDigit(current) { position += 1 }
    }
    if current == UInt8(ascii: ".") {
      isWhole = false
      position += 1
      guard isDigit(current) else { throw failure("expected a digit after the point") }
      while isDigit(current) { position += 1 }
    }
    if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
      isWhole = false
      position += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
      guard isDigit(current) else { throw failure("expected a digit in the exponent") }
      while isDigit(current) { position += 1 }
    }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if isWhole, let value = Int(text) { return .integer(value) }
    // Infinity could not be written again, and no computation wants it.
    guard let value = Double(text), value.isFinite else { throw failure("a number beyond all bounds") }
    return isWhole ? .longInteger(text) : .number(value)
  }

  mutating func string() throws -> String {
    position += 1
    let start = position
    while let byte = current, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 { position += 1 }
    if current == UInt8(ascii: "\"") {
      defer { position += 1 }
      return try text(start..<position)
    }
    var collected = Array(bytes[start..<position])
    while true {
      guard let byte = current else { throw failure("string without end") }
      if byte == UInt8(ascii: "\"") { break }
      if byte < 0x20 { throw failure("control character in a string") }
      position += 1
      if byte == UInt8(ascii: "\\") { try escape(into: &collected) } else { collected.append(byte) }
    }
    position += 1
    guard let result = String(validating: collected, as: UTF8.self) else { throw failure("a string is not UTF-8") }
    return result
  }

  private func text(_ range: Range<Int>) throws -> String {
    guard let result = String(validating: UnsafeRawBufferPointer(rebasing: bytes[range]), as: UTF8.self) else {
      throw failure("a string is not UTF-8")
    }
    return result
  }

  private mutating func escape(into collected: inout [UInt8]) throws {
    guard let byte = current else { throw failure("string without end") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): collected.append(byte)
    case UInt8(ascii: "n"): collected.append(0x0A)
    case UInt8(ascii: "t"): collected.append(0x09)
    case UInt8(ascii: "r"): collected.append(0x0D)
    case UInt8(ascii: "b"): collected.append(0x08)
    case UInt8(ascii: "f"): collected.append(0x0C)
    case UInt8(ascii: "u"):
      var code = try hexadecimal()
      if (0xD800..<0xDC00).contains(code), current == UInt8(ascii: "\\"), position + 1 < bytes.count,
        bytes[position + 1] == UInt8(ascii: "u")
      {
        position += 2
        let low = try hexadecimal()
        guard (0xDC00..<0xE000).contains(low) else { throw failure("half of a surrogate pair") }
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw failure("half of a surrogate pair") }
      collected.append(contentsOf: Array(String(Character(scalar)).utf8))
    default: throw failure("unknown escape")
    }
  }

  private mutating func hexadecimal() throws -> UInt32 {
    var code: UInt32 = 0
    guard position + 4 <= bytes.count else { throw failure("expected four hexadecimal digits") }
    for byte in bytes[position..<position + 4] {
      // `UInt32(_:radix:)` would take a sign.
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw failure("expected four hexadecimal digits")
      }
      code = code << 4 | UInt32(digit)
    }
    position += 4
    return code
  }
}
