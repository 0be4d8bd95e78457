import Formats

/// `tokenizer.json` with its two large tables left as they stand.
///
/// A vocabulary of 150,000 entries as a JSON tree would take a hundred megabytes for a moment; so the tables are read
/// from the bytes of the file, entry by entry, and only the rest becomes a tree. Texts are compared byte by byte (the
/// equality of Swift's strings would make one of two tokens that are canonically equivalent).
struct TokenizerDocument {
  let file: String
  private let bytes: Bytes
  /// Everything outside `model`.
  private(set) var settings = JSONObject()
  /// `model` without its tables.
  private(set) var model = JSONObject()
  private var vocabulary: Range<Int>?
  private var merges: Range<Int>?

  init(_ bytes: Bytes, file: String) throws {
    self.file = file
    self.bytes = bytes
    var cursor = JSONCursor(bytes, file: file)
    for (key, range) in try cursor.members() where key != "model" { settings[key] = try Self.parse(bytes, range, file) }
    try cursor.end()
    guard let modelStart = cursor.places["model"] else { throw cursor.failure("there is no model") }
    cursor.position = modelStart
    for (key, range) in try cursor.members() {
      switch key {
      case "vocab": vocabulary = range
      case "merges": merges = range
      default: model[key] = try Self.parse(bytes, range, file)
      }
    }
  }

  private static func parse(_ bytes: Bytes, _ range: Range<Int>, _ file: String) throws -> JSONValue {
    try JSONValue.parse(UnsafeRawBufferPointer(bytes.part(range)), file: file)
  }

  /// Goes through the vocabulary; a token's text is valid only during the call.
  func forEachToken(_ body: (Bytes, Int) throws -> Void) throws {
    guard let vocabulary else { throw TokenizerError(file: file, reason: "the model has no vocabulary") }
    var cursor = JSONCursor(bytes, file: file, at: vocabulary.lowerBound)
    guard cursor.current == UInt8(ascii: "{") else { throw cursor.failure("the vocabulary is not an object") }
    try cursor.list(closing: "}") { cursor in
      try cursor.withString { token, cursor in
        try cursor.expect(":")
        try body(token, try cursor.integer())
      }
    }
  }

  /// Goes through the merges, given as `"left right"` or `["left", "right"]`.
  func forEachMerge(_ body: (Bytes, Bytes) throws -> Void) throws {
    guard let merges else { return }
    var cursor = JSONCursor(bytes, file: file, at: merges.lowerBound)
    if cursor.current == UInt8(ascii: "n") { return }
    guard cursor.current == UInt8(ascii: "[") else { throw cursor.failure("the merges are not a list") }
    try cursor.list(closing: "]") { cursor in
      if cursor.current == UInt8(ascii: "[") {
        cursor.position += 1
        try cursor.withString { left, cursor in
          try cursor.expect(",")
          try cursor.withString { right, cursor in
            guard cursor.current == UInt8(ascii: "]") else { throw cursor.failure("a merge is not a pair") }
            cursor.position += 1
            try body(left, right)
          }
        }
      } else {
        try cursor.withString { text, cursor in
          guard let space = text.firstIndex(of: 0x20), !text.part(space + 1..<text.count).contains(0x20) else {
            throw cursor.failure("a merge is not two texts with a space between")
          }
          try body(text.part(0..<space), text.part(space + 1..<text.count))
        }
      }
    }
  }
}

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
