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

  /// Adds tokens that another file names to `added_tokens`; of those without an id the ones that are in the vocabulary.
  mutating func add(_ tokens: [JSONValue]) throws {
    let own = settings["added_tokens"]?.arrayValue ?? []
    var known = Set(own.compactMap { $0["content"]?.stringValue.map { Array($0.utf8) } })
    var more: [JSONObject] = []
    var unplaced: [[UInt8]: Int] = [:]
    for case .object(let token) in tokens {
      guard let text = token["content"]?.stringValue, known.insert(Array(text.utf8)).inserted else { continue }
      if token["id"] == nil { unplaced[Array(text.utf8)] = more.count }
      more.append(token)
    }
    if !unplaced.isEmpty {
      try forEachID { text, id in if let place = unplaced[Array(text)] { more[place]["id"] = .integer(id) } }
    }
    more.removeAll { $0["id"] == nil }
    if !more.isEmpty { settings["added_tokens"] = .array(own + more.map { .object($0) }) }
  }

  /// Goes through a vocabulary of either kind.
  private func forEachID(_ body: (Bytes, Int) throws -> Void) throws {
    guard let vocabulary, bytes[vocabulary.lowerBound] == UInt8(ascii: "[") else { return try forEachToken(body) }
    var id = 0
    try forEachScoredToken { text, _ in
      try body(text, id)
      id += 1
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

  /// Goes through a vocabulary that is a list of tokens with their scores.
  func forEachScoredToken(_ body: (Bytes, Double) throws -> Void) throws {
    guard let vocabulary else { throw TokenizerError(file: file, reason: "the model has no vocabulary") }
    var cursor = JSONCursor(bytes, file: file, at: vocabulary.lowerBound)
    guard cursor.current == UInt8(ascii: "[") else { throw cursor.failure("the vocabulary is not a list") }
    try cursor.list(closing: "]") { cursor in
      try cursor.expect("[")
      try cursor.withString { token, cursor in
        try cursor.expect(",")
        try body(token, try cursor.number())
        try cursor.expect("]")
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
