import Formats

/// A place in JSON text: goes over values without building them.
struct JSONCursor {
  private let bytes: Bytes
  private let file: String
  var position: Int
  /// Where the values of the object that was read last start, by key.
  private(set) var places: [String: Int] = [:]

  init(_ bytes: Bytes, file: String, at position: Int = 0) {
    self.bytes = bytes
    self.file = file
    self.position = position
  }

  func failure(_ reason: String) -> TokenizerError {
    let line = bytes.prefix(position).reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
    return TokenizerError(file: file, reason: "line \(line): \(reason)")
  }

  /// The next byte that is not white space.
  var current: UInt8? {
    mutating get {
      while position < bytes.count, Self.isSpace(bytes[position]) { position += 1 }
      return position < bytes.count ? bytes[position] : nil
    }
  }

  mutating func expect(_ character: Unicode.Scalar) throws {
    guard current == UInt8(ascii: character) else { throw failure("not JSON: expected '\(character)'") }
    position += 1
  }

  mutating func end() throws {
    if current != nil { throw failure("not JSON: text after the end") }
  }

  /// Calls `body` at each element of a list or object.
  mutating func list(closing end: Unicode.Scalar, _ body: (inout JSONCursor) throws -> Void) throws {
    position += 1
    if current == UInt8(ascii: end) {
      position += 1
      return
    }
    while true {
      try body(&self)
      if current == UInt8(ascii: end) {
        position += 1
        return
      }
      try expect(",")
    }
  }

  /// The members of an object as parts of the text.
  mutating func members() throws -> [(key: String, value: Range<Int>)] {
    guard current == UInt8(ascii: "{") else { throw failure("not JSON: expected an object") }
    var result: [(key: String, value: Range<Int>)] = []
    places = [:]
    var found: [String: Int] = [:]
    try list(closing: "}") { cursor in
      let key = try cursor.withString { text, _ in String(decoding: text, as: UTF8.self) }
      try cursor.expect(":")
      guard cursor.current != nil else { throw cursor.failure("not JSON: unexpected end") }
      let start = cursor.position
      try cursor.skipValue()
      found[key] = start
      result.append((key, start..<cursor.position))
    }
    places = found
    return result
  }

  /// Goes past a value; whether it is JSON inside shows when it is parsed.
  private mutating func skipValue() throws {
    var depth = 0
    repeat {
      guard let byte = current else { throw failure("not JSON: unexpected end") }
      switch byte {
      case UInt8(ascii: "\""): try skipString()
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        depth += 1
        position += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        depth -= 1
        position += 1
        if depth < 0 { throw failure("not JSON: expected a value") }
      case UInt8(ascii: ","), UInt8(ascii: ":"):
        if depth == 0 { throw failure("not JSON: expected a value") }
        position += 1
      default:
        while position < bytes.count, !Self.endsWord(bytes[position]) { position += 1 }
      }
    } while depth > 0
  }

  private static func isSpace(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
  }

  private static func endsWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: ","), UInt8(ascii: ":"), UInt8(ascii: "}"), UInt8(ascii: "]"), UInt8(ascii: "{"),
      UInt8(ascii: "["), UInt8(ascii: "\""):
      true
    default: isSpace(byte)
    }
  }

  private mutating func skipString() throws {
    position += 1
    while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
      position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
    }
    guard position < bytes.count else { throw failure("not JSON: a string without end") }
    position += 1
  }

  /// Reads a string and hands it on as UTF-8; the text is known to be that, so only escapes make a copy.
  mutating func withString<Result>(_ body: (Bytes, inout JSONCursor) throws -> Result) throws -> Result {
    guard current == UInt8(ascii: "\"") else { throw failure("not JSON: expected a string") }
    let start = position
    try skipString()
    let inside = bytes.part(start + 1..<position - 1)
    if !inside.contains(where: { $0 == UInt8(ascii: "\\") || $0 < 0x20 }) { return try body(inside, &self) }
    let value = try JSONValue.parse(UnsafeRawBufferPointer(bytes.part(start..<position)), file: file)
    guard var text = value.stringValue else { throw failure("not JSON: expected a string") }
    return try text.withUTF8 { try body($0, &self) }
  }

  /// A number that is finite.
  ///
  /// Rounded as `serde_json` rounds, which `tokenizers` reads with: once for the digits, once for the power of ten. Sums of
  /// scores that are equal but for such a bit decide between tokens.
  mutating func number() throws -> Double {
    let isNegative = current == UInt8(ascii: "-")
    if isNegative { position += 1 }
    guard position < bytes.count, isDigit else { throw failure("expected a number") }
    var digits: UInt64 = 0
    var power = 0
    var isInFraction = false
    var isFull = false
    while position < bytes.count {
      if isDigit {
        let (product, isTooGreat) = digits.multipliedReportingOverflow(by: 10)
        let (sum, isStillTooGreat) = product.addingReportingOverflow(UInt64(bytes[position] - 0x30))
        isFull = isFull || isTooGreat || isStillTooGreat
        if !isFull { digits = sum }
        if isInFraction != isFull { power += isInFraction ? -1 : 1 }
      } else if bytes[position] == UInt8(ascii: "."), !isInFraction {
        isInFraction = true
      } else {
        break
      }
      position += 1
    }
    if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") { power += try exponent() }
    var value = Double(digits)
    if power < -308 {
      value /= Self.powersOfTen[308]
      power += 308
    }
    guard power <= 308 else { throw failure("the number is too great") }
    value = power < -308 ? 0 : power < 0 ? value / Self.powersOfTen[-power] : value * Self.powersOfTen[power]
    guard value.isFinite else { throw failure("the number is too great") }
    return isNegative ? -value : value
  }

  private static let powersOfTen = (0...308).map { Double("1e\($0)") ?? .infinity }

  private var isDigit: Bool { (0x30...0x39).contains(bytes[position]) }

  private mutating func exponent() throws -> Int {
    position += 1
    var sign = 1
    if position < bytes.count, bytes[position] == UInt8(ascii: "-") || bytes[position] == UInt8(ascii: "+") {
      sign = bytes[position] == UInt8(ascii: "-") ? -1 : 1
      position += 1
    }
    guard position < bytes.count, isDigit else { throw failure("expected a number") }
    var value = 0
    while position < bytes.count, isDigit {
      value = min(value * 10 + Int(bytes[position] - 0x30), 100_000)
      position += 1
    }
    return sign * value
  }

  mutating func integer() throws -> Int {
    guard let first = current, first >= 0x30, first <= 0x39 else { throw failure("expected a number") }
    var value = 0
    while position < bytes.count, bytes[position] >= 0x30, bytes[position] <= 0x39 {
      value = value * 10 + Int(bytes[position] - 0x30)
      if value > Vocabulary.largestID { throw failure("an id is greater than \(Vocabulary.largestID)") }
      position += 1
    }
    return value
  }
}
