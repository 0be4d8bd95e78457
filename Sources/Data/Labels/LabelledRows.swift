import Formats
import FoundationEssentials
import Glibc
import Tokenization

/// Reads rows of labelled data one after another: JSON lines, CSV, TSV and CoNLL files, `-` for JSON lines from standard
/// input.
public final class LabelledRows {
  private enum Source {
    case lines(UnsafeMutablePointer<FILE>)
    case table(DelimitedReader, columns: [String])
    case sentences(CoNLLReader)
    case array(MappedFile)
  }

  private let file: String
  private let columns: LabelledColumns
  private let takesText: Bool
  private let readsLabels: Bool
  private let source: Source
  private var line = 0
  private var elements: JSONArrayElements?
  private var lineBytes = 0
  private var droppedBytes = 0
  private var text: UnsafeMutablePointer<CChar>?
  private var capacity = 0

  private static func isCoNLL(_ file: String) -> Bool {
    [".conll", ".bio", ".iob"].contains { file.lowercased().hasSuffix($0) }
  }

  /// Whether a file is of a kind that only labelled data has: words with tags, or a table that has no prompts and answers.
  static func hasLabels(_ file: String, columns: LabelledColumns) -> Bool {
    guard let format = DelimitedFormat.of(file) else { return isCoNLL(file) }
    guard columns.names == nil, columns.text == nil, columns.label == nil,
      let header = try? DelimitedReader(path: file, format: format).header
    else { return true }
    return columns.find(nil, LabelledColumns.labels, in: header) != nil || !DataReader.takesTable(header)
  }

  /// - Parameters:
  ///   - file: a path, or `-`
  ///   - takesText: whether a line of standard input or of a `.txt` file that is no object is a text without a label
  ///   - readsLabels: whether rows have labels; who asks a model wants none, whatever stands in their place
  public convenience init(
    _ file: String, columns: LabelledColumns, takesText: Bool = false, readsLabels: Bool = true
  ) throws {
    try self.init(file, at: file, columns: columns, takesText: takesText, readsLabels: readsLabels)
  }

  /// - Parameters:
  ///   - given: the name that the user gave, which says of what kind the file is
  ///   - file: where its bytes are
  init(
    _ given: String, at file: String, columns: LabelledColumns, takesText: Bool = false, readsLabels: Bool = true
  ) throws {
    self.readsLabels = readsLabels
    self.file = given == "-" ? "standard input" : given
    self.columns = columns
    let name = given.lowercased()
    self.takesText = takesText && (given == "-" || name.hasSuffix(".txt"))
    if var format = DelimitedFormat.of(given) {
      format.hasHeader = columns.names == nil
      let reader = try DelimitedReader(path: file, format: format)
      source = .table(reader, columns: columns.names ?? reader.header ?? [])
    } else if Self.isCoNLL(given) || name.hasSuffix(".txt") && !takesText {
      source = .sentences(try CoNLLReader(path: file))
    } else if name.hasSuffix(".json"), let array = try Self.array(file) {
      source = .array(array)
      elements = JSONArrayElements(array.bytes, file: given)
    } else {
      if [".gz", ".zip", ".parquet", ".arrow", ".xlsx"].contains(where: name.hasSuffix) {
        throw DataError.unknownKind(file: given)
      }
      if file != "-", case .directory = try PathKind(file) { throw FileError.isDirectory(file: file) }
      guard let stream = file == "-" ? fdopen(dup(0), "r") : fopen(file, "r") else {
        throw FileError.cannotOpen(file: file, reason: .system)
      }
      source = .lines(stream)
    }
  }

  deinit {
    free(text)
    if case .lines(let stream) = source { fclose(stream) }
  }

  private func failure(_ reason: String, line: Int? = nil) -> DataError {
    .badLine(file: file, line: line ?? self.line, reason: reason)
  }

  /// Bytes of the file that were read.
  var byteCount: Int {
    switch source {
    case .lines: lineBytes
    case .table(let reader, _): reader.byteCount
    case .sentences(let reader): reader.byteCount
    case .array: elements?.position ?? 0
    }
  }

  /// The next row, or `nil` at the end.
  public func nextRow() throws -> LabelledRow? {
    switch source {
    case .lines(let stream): return try nextLine(stream)
    case .table(let reader, let names):
      guard let row = try readable({ try reader.next() }) else { return nil }
      line = row.line
      guard row.fields.count == names.count else {
        throw failure("\(row.fields.count) fields, but \(names.count) names of columns")
      }
      return try fromTable(row.fields, names)
    case .sentences(let reader):
      guard let sentence = try readable({ try reader.next() }) else { return nil }
      let tags = sentence.rows.compactMap { $0.count > 1 ? RowLabel.word($0[$0.count - 1]) : nil }
      return LabelledRow(
        .words(sentence.rows.map { $0[0] }), label: tags.count == sentence.rows.count ? .list(tags) : nil, file: file,
        line: sentence.line)
    case .array(let array): return try nextElement(array)
    }
  }

  /// - Throws: `DataError` for what is wrong in a table
  private func readable<Row>(_ read: () throws -> Row?) throws -> Row? {
    do {
      return try read()
    } catch let error as TableError {
      throw failure(error.reason, line: error.line)
    }
  }

  private func nextLine(_ stream: UnsafeMutablePointer<FILE>) throws -> LabelledRow? {
    while true {
      let count = getline(&text, &capacity, stream)
      if count < 0 { return nil }
      line += 1
      lineBytes += count
      var bytes = UnsafeRawBufferPointer(start: text, count: count)
      if line == 1, bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes = UnsafeRawBufferPointer(rebasing: bytes[3...]) }
      if bytes.allSatisfy({ $0 == 0x20 || ($0 >= 0x09 && $0 <= 0x0D) }) { continue }
      if takesText, bytes.first(where: { $0 > 0x20 }) != UInt8(ascii: "{") {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw failure("not UTF-8 text") }
        return LabelledRow(.text(text.trimmed, pair: nil), file: file, line: line)
      }
      do {
        return try row(try JSONValue.parse(bytes, file: file))
      } catch let error as JSONError {
        throw failure("not JSON: \(error.reason) (column \(error.column))")
      }
    }
  }

  /// The file, if it is a JSON array.
  private static func array(_ file: String) throws -> MappedFile? {
    let mapped = try MappedFile(path: file)
    return withExtendedLifetime(mapped) { JSONArrayText.isArray(mapped.bytes) } ? mapped : nil
  }

  private func nextElement(_ array: MappedFile) throws -> LabelledRow? {
    try withExtendedLifetime(array) {
      guard let (element, place) = try elements?.next() else { return nil }
      line = place
      if byteCount - droppedBytes > 1 << 20 {
        droppedBytes = byteCount
        array.dropPages(offset: 0, count: min(droppedBytes, array.byteCount))
      }
      do {
        return try row(try JSONValue.parse(element, file: file))
      } catch let error as JSONError {
        throw failure("not JSON: \(error.reason) (column \(error.column))")
      }
    }
  }

  /// The labels that hold, where each of several columns says whether one does.
  private static func label(
    _ names: [String], value: (String) -> RowLabel?, failure: (String) -> DataError
  ) throws -> RowLabel? {
    let values = names.map { ($0, value($0)) }
    if values.allSatisfy({ $0.1 == nil }) { return nil }
    let holding = try values.filter { name, value in
      switch value {
      case .number(let number) where number == 0 || number == 1: return number == 1
      case .word(let word) where ["true", "false"].contains(word.lowercased()): return word.lowercased() == "true"
      case let other: throw failure("column \(name) is \(other?.text ?? "missing"), expected 0 or 1")
      }
    }
    return .list(holding.map { .word($0.0) })
  }

  /// A row of JSON.
  private func row(_ json: JSONValue) throws -> LabelledRow {
    guard let object = json.objectValue else { throw failure("expected an object") }
    let keys = Array(object.keys)
    let labelKey = columns.find(columns.label, LabelledColumns.labels, in: keys)
    var label: RowLabel?
    if !readsLabels {
      label = nil
    } else if labelKey == nil, let names = columns.labelNames {
      label = try Self.label(
        names, value: { json[$0].flatMap { $0 == .null ? nil : RowLabel($0) } }, failure: { failure($0) })
    } else if let labelKey, let value = json[labelKey], value != .null {
      guard let found = RowLabel(value) else { throw failure("\(labelKey) is no text, number or list of them") }
      label = found
    }
    let names = labelKey.map { [$0] } ?? columns.labelNames ?? []
    let isLabelNull = label == nil && names.contains { json[$0] == .null }
    if let key = columns.find(columns.text, LabelledColumns.words, in: keys), let list = json[key]?.arrayValue {
      let words = list.compactMap(\.stringValue)
      guard words.count == list.count else { throw failure("\(key) is not a list of words") }
      guard !words.isEmpty else { throw failure("\(key) has no words") }
      return LabelledRow(.words(words), label: label, isLabelNull: isLabelNull, file: file, line: line)
    }
    let (textKey, pairKey) = columns.texts(in: keys)
    guard let key = textKey else { throw failure(Self.missing(columns, keys)) }
    guard let text = json[key]?.stringValue else { throw failure("\(key) is not a text") }
    if let wanted = columns.pair, pairKey == nil { throw failure(Self.absent(wanted, keys)) }
    var pair: String?
    if let pairKey, let value = json[pairKey], value != .null {
      guard let found = value.stringValue else { throw failure("\(pairKey) is not a text") }
      pair = found
    }
    return LabelledRow(.text(text, pair: pair), label: label, isLabelNull: isLabelNull, file: file, line: line)
  }

  private static func missing(_ columns: LabelledColumns, _ keys: [String]) -> String {
    let wanted = columns.text.map { "no column \($0)" } ?? "none of \(LabelledColumns.texts.joined(separator: ", "))"
    return "\(wanted) among \(keys.prefix(8).joined(separator: ", ")); name it with --text-column"
      + ", or the columns of a file without a header with --columns text,label"
  }

  private static func absent(_ column: String, _ keys: [String]) -> String {
    "no column \(column) among \(keys.prefix(8).joined(separator: ", "))"
  }

  private func fromTable(_ fields: [String], _ names: [String]) throws -> LabelledRow {
    let (textKey, pairKey) = columns.texts(in: names)
    guard let key = textKey ?? columns.find(columns.text, LabelledColumns.words, in: names),
      let text = names.firstIndex(of: key)
    else { throw failure(Self.missing(columns, names), line: 1) }
    func field(_ name: String?) -> String? { name.flatMap { names.firstIndex(of: $0) }.map { fields[$0] } }
    var label = field(columns.find(columns.label, LabelledColumns.labels, in: names)).map { RowLabel(field: $0) }
    if readsLabels, let wanted = columns.label, label == nil {
      let several = columns.labelNames ?? [wanted]
      if let gone = several.first(where: { !names.contains($0) }) {
        throw failure(Self.absent(gone, names), line: 1)
      }
      label = try Self.label(several, value: { field($0).map { RowLabel(field: $0) } }, failure: { failure($0) })
    }
    if LabelledColumns.words.contains(key) {
      guard let words = ListField.words(fields[text]) else {
        throw failure("\(key) is no list of words, such as ['New', 'York']")
      }
      return LabelledRow(.words(words), label: label, file: file, line: line)
    }
    if let wanted = columns.pair, pairKey == nil { throw failure(Self.absent(wanted, names), line: 1) }
    return LabelledRow(.text(fields[text], pair: field(pairKey)), label: label, file: file, line: line)
  }
}
