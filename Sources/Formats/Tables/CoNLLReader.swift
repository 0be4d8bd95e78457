/// Reads sentences of labelled words: a word a line with its columns, an empty line between sentences (CoNLL-2003, and
/// the like); holds one sentence at a time.
///
/// Columns stand apart by one tab, or by spaces in a file without tabs. `-DOCSTART-` lines are passed over and end a
/// sentence. Lines end with LF, CRLF or CR.
public final class CoNLLReader {
  public struct Sentence: Sendable, Equatable {
    /// Where it begins, from 1.
    public let line: Int
    /// The columns of each word.
    public let rows: [[String]]
  }

  public let file: String
  private let skipsComments: Bool
  private var stream: ByteStream
  private var line = 0
  private var columnCount: Int?
  private var usesTabs: Bool?
  /// Whether a line has been begun and not ended.
  private var isInLine = false
  private static let longestLine = 1 << 16
  private static let longestSentence = 1 << 22
  private static let mostWords = 1 << 16

  /// - Parameter skipsComments: passes over all lines that begin with `# `, as CoNLL-U has them; in other files that may be
  ///   a word, unless it stands before a sentence and says `key = value`
  public convenience init(path: String, skipsComments: Bool = false) throws {
    self.init(stream: try ByteStream(path: path), skipsComments: skipsComments)
  }

  /// - Parameters:
  ///   - descriptor: an open file, such as 0 for standard input; the reader leaves it open
  ///   - name: what errors call it
  public convenience init(descriptor: Int32, name: String, skipsComments: Bool = false) throws {
    self.init(stream: try ByteStream(descriptor: descriptor, name: name), skipsComments: skipsComments)
  }

  private init(stream: ByteStream, skipsComments: Bool) {
    file = stream.file
    self.stream = stream
    self.skipsComments = skipsComments
  }

  /// Bytes of the file that were read.
  public var byteCount: Int { stream.byteCount }

  deinit { stream.close() }

  private func failure(_ reason: String) -> TableError { TableError(file: file, line: line, reason: reason) }

  /// The next sentence, or `nil` at the end.
  /// - Throws: `TableError` for a sentence that cannot be used; the next call goes on behind it
  public func next() throws -> Sentence? {
    do {
      return try nextSentence()
    } catch let error as TableError {
      try skipSentence()
      throw error
    }
  }

  /// Goes past the next empty line.
  private func skipSentence() throws {
    while true {
      do {
        if isInLine {
          while let byte = try stream.peek(), !Self.isLineEnd(byte) { stream.take() }
          try takeLineEnd()
        }
        guard let text = try nextLine(), !text.allSatisfy(Self.isBlank) else { return }
      } catch is TableError {
        continue
      }
    }
  }

  private func nextSentence() throws -> Sentence? {
    var rows: [[String]] = []
    var start = 0
    var byteCount = 0
    while let text = try nextLine() {
      if text.starts(with: "# ".utf8), skipsComments || (rows.isEmpty && text.contains(UInt8(ascii: "="))) { continue }
      let columns = text.starts(with: "-DOCSTART-".utf8) ? [] : try columns(of: text)
      if columns.isEmpty {
        if rows.isEmpty { continue }
        break
      }
      let expected = columnCount ?? columns.count
      columnCount = expected
      guard columns.count == expected else {
        throw failure("\(columns.count) columns, but the first word has \(expected)")
      }
      byteCount += text.count
      guard rows.count < Self.mostWords, byteCount <= Self.longestSentence else {
        throw failure(
          "a sentence of more than \(rows.count) words or \(byteCount - text.count) bytes; are the empty lines missing?"
        )
      }
      if rows.isEmpty { start = line }
      rows.append(columns)
    }
    return rows.isEmpty ? nil : Sentence(line: start, rows: rows)
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

  private static func isLineEnd(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") }

  private func columns(of text: [UInt8]) throws -> [String] {
    if text.allSatisfy(Self.isBlank) { return [] }
    let tabs = usesTabs ?? text.contains(UInt8(ascii: "\t"))
    usesTabs = tabs
    let parts =
      tabs
      ? text.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
      : text.split(whereSeparator: Self.isBlank)
    return try parts.enumerated().map { index, part in
      var part = part
      // The tag.
      if index == parts.count - 1, index > 0 {
        while let last = part.last, Self.isBlank(last) { part.removeLast() }
      }
      guard let string = String(validating: part, as: UTF8.self) else { throw failure("the text is not UTF-8") }
      return string
    }
  }

  private func nextLine() throws -> [UInt8]? {
    guard try stream.peek() != nil else { return nil }
    line += 1
    isInLine = true
    var text: [UInt8] = []
    while let byte = try stream.peek(), !Self.isLineEnd(byte) {
      stream.take()
      guard byte != 0 else { throw failure("a zero byte, which no text has") }
      guard text.count < Self.longestLine else { throw failure("a line of more than \(Self.longestLine) bytes") }
      text.append(byte)
    }
    try takeLineEnd()
    return text
  }

  /// Takes LF, CRLF or CR, if there is one.
  private func takeLineEnd() throws {
    isInLine = false
    let isReturn = try stream.peek() == UInt8(ascii: "\r")
    if isReturn { stream.take() }
    if try stream.peek() == UInt8(ascii: "\n") { stream.take() }
  }
}
