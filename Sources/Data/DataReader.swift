import Architectures
import Formats
import FoundationEssentials
import Glibc
import Tokenization

/// Reads data files into samples.
public struct DataReader {
  let tokenizerSource: TokenizerSource
  let maximumLength: Int
  let trainOnPrompt: Bool
  let skipBadLines: Bool
  let vocabularySize: Int
  let keepsQuestions: Bool

  /// - Parameters:
  ///   - tokenizer: asked for when the first text comes: data that consists of ids needs none
  ///   - maximumLength: tokens of a sample; what is longer is cut
  ///   - vocabularySize: of the model; ids beyond it are refused
  ///   - keepsQuestions: whether prompts and answers are kept apart as well, to ask them
  public init(
    tokenizer: TokenizerSource, maximumLength: Int, trainOnPrompt: Bool, skipBadLines: Bool, vocabularySize: Int,
    keepsQuestions: Bool = false
  ) {
    tokenizerSource = tokenizer
    self.maximumLength = maximumLength
    self.trainOnPrompt = trainOnPrompt
    self.skipBadLines = skipBadLines
    self.vocabularySize = vocabularySize
    self.keepsQuestions = keepsQuestions
  }

  /// Gets bytes that are read, and all that are known of, now and then.
  public var progress: ((_ done: Int, _ all: Int) -> Void)?

  /// - Parameters:
  ///   - files: paths, or `-` for JSON lines from standard input
  ///   - place: for samples that memory does not take
  public func read(
    _ files: [String], into place: SamplePlace = .unnamed(directory: TrainingData.temporary)
  ) throws -> TrainingData {
    var data = TrainingData(place)
    for file in files {
      if file == "-" {
        try addStandardInput(to: &data)
        continue
      }
      let name = file.lowercased()
      if let format = DelimitedFormat.of(file) {
        try addTable(file, format, to: &data)
        continue
      }
      guard name.hasSuffix(".txt") || name.hasSuffix(".jsonl") || name.hasSuffix(".json") else {
        throw try PathKind(file) == .directory ? DataError.folder(file) : DataError.unknownKind(file: file)
      }
      let text = MappedText(try MappedFile(path: file))
      try withExtendedLifetime(text) {
        if name.hasSuffix(".txt") {
          try addText(text, to: &data)
        } else if JSONArrayText.isArray(text.bytes) {
          try addArray(text, to: &data)
        } else {
          try addLines(text, to: &data)
        }
      }
    }
    try data.samples.seal()
    guard data.hasLabel else {
      throw DataError.empty(files: files, skippedLines: data.skippedLines, uselessSamples: data.uselessCount)
    }
    return data
  }

  /// A file that is read from its beginning to its end.
  private struct MappedText {
    let file: MappedFile
    let bytes: UnsafeRawBufferPointer

    init(_ file: MappedFile) {
      self.file = file
      bytes = DataReader.withoutMark(file.bytes)
    }
  }

  /// Without the mark that some editors put before UTF-8.
  static func withoutMark(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? UnsafeRawBufferPointer(rebasing: bytes[3...]) : bytes
  }

  /// Bytes between two times that pages are given back.
  private static let step = 1 << 20

  /// Gives back the pages of a file that have been read.
  private func leave(_ place: Int, of text: MappedText) {
    progress?(place, text.bytes.count)
    text.file.dropPages(offset: 0, count: place)
  }

  // MARK: text

  private func addText(_ text: MappedText, to data: inout TrainingData) throws {
    let (bytes, file) = (text.bytes, text.file.path)
    var tokens: [Int32] = []
    func add(_ part: ArraySlice<Int32>) throws {
      guard part.count > 1 else { return }
      data.hasLabel = true
      try data.samples.append(Sample(tokens: Array(part), labels: Array(part)))
    }
    for part in Self.parts(of: bytes) {
      let piece = UnsafeRawBufferPointer(rebasing: bytes[part])
      let valid = try String(validating: piece, as: UTF8.self) ?? validLines(of: part, in: bytes, file: file, &data)
      let found = try encoded(valid, isFirst: part.lowerBound == 0, isLast: part.upperBound == bytes.count)
      guard found.allSatisfy({ Int($0) < vocabularySize }) else {
        throw DataError.badLine(file: file, line: 1, reason: "the tokenizer gives ids beyond the model's vocabulary")
      }
      tokens += found
      var start = 0
      while tokens.count - start > maximumLength {
        try add(tokens[start..<start + maximumLength])
        start += maximumLength
      }
      // Once for a part: what follows moves to the front.
      tokens.removeFirst(start)
      leave(part.upperBound, of: text)
    }
    try add(tokens[...])
  }

  /// The tokens of a part of a text: what the tokenizer puts around texts stands around the whole.
  private func encoded(_ part: String, isFirst: Bool, isLast: Bool) throws -> [Int32] {
    let tokenizer = try tokenizerSource.tokenizer()
    if isLast { return tokenizer.encode(part, continuing: !isFirst) }
    return isFirst ? tokenizer.encodeStart(part) : tokenizer.encode(part, addSpecialTokens: false, continuing: true)
  }

  /// A long text in parts that end with a line: only they are in memory as tokens.
  private static func parts(of bytes: UnsafeRawBufferPointer) -> [Range<Int>] {
    var parts: [Range<Int>] = []
    var start = 0
    while bytes.count - start > textPart {
      var end = bytes[start..<start + textPart].lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? start + textPart
      // Not inside of a character.
      while end > start + textPart - 4, bytes[end] & 0xC0 == 0x80 { end -= 1 }
      parts.append(start..<end)
      start = end
    }
    return parts + [start..<bytes.count]
  }

  private static let textPart = 8 << 20

  private func validLines(
    of part: Range<Int>, in bytes: UnsafeRawBufferPointer, file: String, _ data: inout TrainingData
  ) throws -> String {
    let lineEnd = UInt8(ascii: "\n")
    let before = bytes[..<part.lowerBound].count { $0 == lineEnd }
    var text = ""
    for (index, line) in bytes[part].split(separator: lineEnd, omittingEmptySubsequences: false).enumerated() {
      if let valid = String(validating: line, as: UTF8.self) {
        text += index == 0 ? valid : "\n" + valid
      } else if skipBadLines {
        data.skippedLines += 1
      } else {
        throw DataError.badLine(file: file, line: before + index + 1, reason: "not UTF-8 text")
      }
    }
    return text
  }

  // MARK: tables

  /// Columns that name each other's kind of row: of one of these all, or texts without labels.
  private static let questions = [["prompt", "completion"], ["instruction", "output"], ["question", "answer"]]

  /// Whether a table with these columns has texts to go on with.
  static func takesTable(_ columns: [String]) -> Bool {
    questions.contains { $0.allSatisfy(columns.contains) } || columns.contains("text")
  }

  /// Each row is an object of the header's keys. What is empty is not there, but for an answer.
  private func addTable(_ file: String, _ format: DelimitedFormat, to data: inout TrainingData) throws {
    let reader = try DelimitedReader(path: file, format: format)
    let byteCount = try FilePieces.byteCount(of: file)
    let header = reader.header ?? []
    let answers = Set(Self.questions.map { $0[1] })
    var left = 0
    while true {
      let found: DelimitedReader.Row?
      do {
        found = try reader.next()
      } catch let error as TableError {
        guard skipBadLines else { throw DataError.badLine(file: file, line: error.line, reason: error.reason) }
        data.skippedLines += 1
        continue
      }
      guard let row = found else { break }
      let fields = zip(header, row.fields).filter { !$0.isEmpty && (!$1.isEmpty || answers.contains($0)) }
      try addRow(number: row.line, file: file, to: &data) { data in
        try add(.object(JSONObject(fields.map { ($0, .string($1)) })), to: &data)
      }
      if reader.byteCount - left >= Self.step {
        left = reader.byteCount
        progress?(left, max(left, byteCount))
      }
    }
  }

  // MARK: JSON

  private func addLines(_ text: MappedText, to data: inout TrainingData) throws {
    let (bytes, file) = (text.bytes, text.file.path)
    var start = 0
    var number = 0
    while start < bytes.count {
      let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
      number += 1
      try add(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), number: number, file: file, to: &data)
      if (end + 1) / Self.step != start / Self.step { leave(end, of: text) }
      start = end + 1
    }
  }

  private func addStandardInput(to data: inout TrainingData) throws {
    guard let input = fdopen(dup(0), "r") else { throw FileError.cannotOpen(file: "standard input", reason: "closed") }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer {
      free(line)
      fclose(input)
    }
    var number = 0
    while true {
      let count = getline(&line, &capacity, input)
      if count < 0 { return }
      number += 1
      var bytes = UnsafeRawBufferPointer(start: line, count: count)
      if number == 1 { bytes = Self.withoutMark(bytes) }
      try add(bytes, number: number, file: "standard input", to: &data)
    }
  }

  private func addArray(_ text: MappedText, to data: inout TrainingData) throws {
    let (bytes, file) = (text.bytes, text.file.path)
    var left = 0
    try JSONArrayText.forEachElement(of: bytes, file: file) { element, line in
      try add(element, number: line, file: file, to: &data)
      guard let place = element.baseAddress.flatMap({ bytes.baseAddress?.distance(to: $0) }) else { return }
      if place - left >= Self.step {
        left = place
        leave(place, of: text)
      }
    }
  }

  /// What to do with a line that is not JSON, where it shows what it is.
  private static func advice(_ line: UnsafeRawBufferPointer, _ reason: String) -> String? {
    if reason.contains("UTF-16") { return "\(reason): iconv -f UTF-16 -t UTF-8 FILE makes it" }
    let text = line.filter { $0 > 0x20 }
    return text.elementsEqual([UInt8(ascii: "{")])
      ? "an object over several lines, but JSON lines are one each: jq -c . FILE makes them" : nil
  }

  private func add(_ line: UnsafeRawBufferPointer, number: Int, file: String, to data: inout TrainingData) throws {
    if line.allSatisfy({ $0 == 0x20 || ($0 >= 0x09 && $0 <= 0x0D) }) { return }
    try addRow(number: number, file: file, to: &data) { data in
      do {
        return try add(try JSONValue.parse(line, file: file), to: &data)
      } catch let error as JSONError {
        throw LineError(
          reason: Self.advice(line, error.reason) ?? "not JSON: \(error.reason) (column \(error.column))")
      }
    }
  }

  /// - Parameter body: adds the row; `false` if nothing of it is to be learnt
  private func addRow(
    number: Int, file: String, to data: inout TrainingData, _ body: (inout TrainingData) throws -> Bool
  ) throws {
    do {
      if try !body(&data) { data.leaveOut("\(file):\(number)") }
    } catch let error as LineError {
      if !skipBadLines { throw DataError.badLine(file: file, line: number, reason: error.reason) }
      data.skippedLines += 1
    } catch let error as TemplateError {
      if !skipBadLines { throw DataError.badLine(file: file, line: number, reason: "\(error)") }
      data.skippedLines += 1
    }
  }
}

/// Why a line cannot be used.
struct LineError: Error { let reason: String }

/// Where a tokenizer comes from, once it is needed.
public final class TokenizerSource {
  private var loaded: Tokenizer?
  private let directory: String

  /// - Parameter directory: of the model, which has a `tokenizer.json`
  public init(directory: String) { self.directory = directory }

  public init(_ tokenizer: Tokenizer) {
    loaded = tokenizer
    directory = ""
  }

  func tokenizer() throws -> Tokenizer {
    if let loaded { return loaded }
    let tokenizer = try Tokenizer.load(directory: directory)
    loaded = tokenizer
    return tokenizer
  }
}
