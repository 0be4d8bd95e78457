/// How the fields of a table are set apart.
public struct DelimitedFormat: Sendable, Equatable {
  public var separator: UInt8
  /// Whether the first row names the columns.
  public var hasHeader: Bool
  /// Whether a field may stand in quotes (RFC 4180), in which separators and line ends are part of it.
  public var allowsQuotes: Bool

  public init(separator: UInt8, hasHeader: Bool = true, allowsQuotes: Bool = true) {
    self.separator = separator
    self.hasHeader = hasHeader
    self.allowsQuotes = allowsQuotes
  }

  /// Comma-separated values, RFC 4180; with semicolons where the header has those and no commas, as spreadsheets write them
  /// in countries where the comma is decimal.
  public static let csv = DelimitedFormat(separator: UInt8(ascii: ","))
  /// Tab-separated values; quotes as programs that export tables write them, where they close at the end of a field.
  public static let tsv = DelimitedFormat(separator: UInt8(ascii: "\t"))

  /// The format that a file's name says it has; `nil` for what is no table.
  public static func of(_ file: String) -> DelimitedFormat? {
    let name = file.lowercased()
    return name.hasSuffix(".csv") ? .csv : name.hasSuffix(".tsv") ? .tsv : nil
  }
}

/// Reads a table row by row; holds one row at a time, of 16 MB and 65,536 fields at most.
///
/// Lines end with LF, CRLF or CR. Empty lines are passed over. All rows have as many fields as the first. A quote inside
/// an unquoted field is text. Several columns may lack a name, as spreadsheets leave them at the end.
public final class DelimitedReader {
  public struct Row: Sendable, Equatable {
    /// Where it begins, from 1.
    public let line: Int
    public let fields: [String]
  }

  public let file: String
  public let format: DelimitedFormat
  /// Names of the columns, when the format has them and the file is not empty.
  public private(set) var header: [String]?
  private var stream: ByteStream
  private var line = 1
  private var columnCount: Int?
  /// Whether nothing of the line has been read.
  private var isAtLineStart = true
  private static let longestRow = 1 << 24
  private static let mostFields = 1 << 16

  public convenience init(path: String, format: DelimitedFormat) throws {
    try self.init(stream: try ByteStream(path: path), format: format)
  }

  /// - Parameters:
  ///   - descriptor: an open file, such as 0 for standard input; the reader leaves it open
  ///   - name: what errors call it
  public convenience init(descriptor: Int32, name: String, format: DelimitedFormat) throws {
    try self.init(stream: try ByteStream(descriptor: descriptor, name: name), format: format)
  }

  private init(stream: ByteStream, format: DelimitedFormat) throws {
    file = stream.file
    self.stream = stream
    var format = format
    if format == .csv, Self.hasSemicolons(try self.stream.restOfLine()) { format.separator = UInt8(ascii: ";") }
    self.format = format
    guard format.hasHeader, let first = try next() else { return }
    header = first.fields
    var seen: Set<String> = []
    for name in first.fields where !name.isEmpty && !seen.insert(name).inserted {
      throw TableError(file: file, line: first.line, reason: "two columns are named \"\(name.prefix(60))\"")
    }
  }

  /// Whether semicolons stand outside of quotes, and no commas.
  private static func hasSemicolons(_ header: ArraySlice<UInt8>) -> Bool {
    let outside = header.split(separator: UInt8(ascii: "\""), omittingEmptySubsequences: false).enumerated()
      .filter { $0.offset % 2 == 0 }.flatMap(\.element)
    return outside.contains(UInt8(ascii: ";")) && !outside.contains(UInt8(ascii: ","))
  }

  /// Bytes of the file that were read.
  public var byteCount: Int { stream.byteCount }

  deinit { stream.close() }

  private func failure(_ reason: String, line: Int? = nil) -> TableError {
    TableError(file: file, line: line ?? self.line, reason: reason)
  }

  /// The next row, or `nil` at the end.
  /// - Throws: `TableError` for a row that cannot be used; the next call goes on behind it
  public func next() throws -> Row? {
    do {
      return try nextRow()
    } catch let error as TableError {
      // A row of the wrong length has been read to its end.
      if !isAtLineStart { try skipLine() }
      throw error
    }
  }

  private func skipLine() throws {
    while let byte = try stream.peek() {
      if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") { return try takeLineEnd() }
      stream.take()
    }
  }

  private func nextRow() throws -> Row? {
    while let byte = try stream.peek(), byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") { try takeLineEnd() }
    guard try stream.peek() != nil else { return nil }
    let start = line
    var fields: [String] = []
    var bytes = 0
    isAtLineStart = false
    while true {
      let field = try nextField(used: &bytes, rowStart: start)
      guard fields.count < Self.mostFields else { throw failure("a row of more than \(Self.mostFields) fields") }
      fields.append(field)
      guard let byte = try stream.peek() else { break }
      if byte == format.separator {
        stream.take()
      } else {
        try takeLineEnd()
        break
      }
    }
    isAtLineStart = true
    let expected = columnCount ?? fields.count
    columnCount = expected
    guard fields.count == expected else {
      throw failure(
        "\(fields.count) fields, but the \(header == nil ? "first row" : "header") has \(expected)", line: start)
    }
    return Row(line: start, fields: fields)
  }

  /// Takes LF, CRLF or CR.
  private func takeLineEnd() throws {
    if try stream.peek() == UInt8(ascii: "\r") {
      stream.take()
    } else {
      stream.take()
      line += 1
      return
    }
    if try stream.peek() == UInt8(ascii: "\n") { stream.take() }
    line += 1
  }

  /// Whether the quote that comes next opens a quoted field.
  ///
  /// Between commas it does. Many files with tabs know no quotes (GLUE's, and the format as IANA has it), so there one that
  /// is not closed before the end of a field is text, and so is one whose field would hold both tabs and line ends.
  private func isQuoted() throws -> Bool {
    let (quote, tab) = (UInt8(ascii: "\""), UInt8(ascii: "\t"))
    guard format.separator == tab else { return true }
    let ahead = try stream.ahead(1 << 16)
    var (hasTab, hasLineEnd) = (false, false)
    var place = ahead.startIndex + 1
    while place < ahead.endIndex, !(hasTab && hasLineEnd) {
      let byte = ahead[place]
      place += 1
      if byte == quote {
        guard place < ahead.endIndex else { return true }
        guard ahead[place] == quote else {
          return [tab, UInt8(ascii: "\n"), UInt8(ascii: "\r")].contains(ahead[place])
        }
        place += 1
      } else if byte == tab {
        hasTab = true
      } else if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") {
        hasLineEnd = true
      }
    }
    return false
  }

  /// A field up to, and without, what ends it.
  private func nextField(used: inout Int, rowStart: Int) throws -> String {
    var text: [UInt8] = []
    func keep(_ byte: UInt8) throws {
      used += 1
      guard used <= Self.longestRow else {
        throw failure("a row of more than \(Self.longestRow) bytes; is a quote missing?", line: rowStart)
      }
      guard byte != 0 else { throw failure("a zero byte, which no text has") }
      text.append(byte)
    }
    func isEnd(_ byte: UInt8) -> Bool {
      byte == format.separator || byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r")
    }
    if format.allowsQuotes, try stream.peek() == UInt8(ascii: "\""), try isQuoted() {
      let start = line
      stream.take()
      while true {
        guard let byte = try stream.peek() else { throw failure("a quote that is never closed", line: start) }
        if byte == UInt8(ascii: "\"") {
          stream.take()
          // Two stand for one.
          guard try stream.peek() == UInt8(ascii: "\"") else { break }
        } else if byte == UInt8(ascii: "\n") {
          line += 1
        }
        try keep(byte)
        stream.take()
      }
      if let byte = try stream.peek(), !isEnd(byte) {
        throw failure("text after a closing quote; a quote inside a quoted field is written twice")
      }
    } else {
      while let byte = try stream.peek(), !isEnd(byte) {
        try keep(byte)
        stream.take()
      }
    }
    guard let string = String(validating: text, as: UTF8.self) else { throw failure("the text is not UTF-8") }
    return string
  }
}
