import Architectures
import Formats
import FoundationEssentials
import Glibc
import Tokenization

/// Reads data files into samples.
public struct DataReader {
  private let tokenizerSource: TokenizerSource
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

  /// - Parameter files: paths, or `-` for JSON lines from standard input
  public func read(_ files: [String]) throws -> TrainingData {
    var data = TrainingData()
    for file in files {
      if file == "-" {
        try addStandardInput(to: &data)
        continue
      }
      let name = file.lowercased()
      guard name.hasSuffix(".txt") || name.hasSuffix(".jsonl") || name.hasSuffix(".json") else {
        throw DataError.unknownKind(file: file)
      }
      let mapped = try MappedFile(path: file)
      try withExtendedLifetime(mapped) {
        let bytes = Self.withoutMark(mapped.bytes)
        if name.hasSuffix(".txt") {
          try addText(bytes, file: file, to: &data)
        } else if name.hasSuffix(".json"), JSONArrayText.isArray(bytes) {
          try addArray(bytes, file: file, to: &data)
        } else {
          try addLines(bytes, file: file, to: &data)
        }
      }
    }
    guard data.samples.contains(where: { $0.labels.dropFirst().contains { $0 >= 0 } }) else {
      throw DataError.empty(files: files, skippedLines: data.skippedLines)
    }
    return data
  }

  /// Without the mark that some editors put before UTF-8.
  private static func withoutMark(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? UnsafeRawBufferPointer(rebasing: bytes[3...]) : bytes
  }

  // MARK: text

  private func addText(_ bytes: UnsafeRawBufferPointer, file: String, to data: inout TrainingData) throws {
    let text = try String(validating: bytes, as: UTF8.self) ?? validLines(of: bytes, file: file, &data)
    let tokens = try tokenizerSource.tokenizer().encode(text)
    guard tokens.allSatisfy({ Int($0) < vocabularySize }) else {
      throw DataError.badLine(file: file, line: 1, reason: "the tokenizer gives ids beyond the model's vocabulary")
    }
    for start in stride(from: 0, to: tokens.count, by: maximumLength) {
      let part = Array(tokens[start..<min(start + maximumLength, tokens.count)])
      if part.count > 1 { data.samples.append(Sample(tokens: part, labels: part)) }
    }
  }

  private func validLines(of bytes: UnsafeRawBufferPointer, file: String, _ data: inout TrainingData) throws -> String {
    var text = ""
    for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
      if let valid = String(validating: line, as: UTF8.self) {
        text += index == 0 ? valid : "\n" + valid
      } else if skipBadLines {
        data.skippedLines += 1
      } else {
        throw DataError.badLine(file: file, line: index + 1, reason: "not UTF-8 text")
      }
    }
    return text
  }

  // MARK: JSON

  private func addLines(_ bytes: UnsafeRawBufferPointer, file: String, to data: inout TrainingData) throws {
    var start = 0
    var number = 0
    while start < bytes.count {
      let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
      number += 1
      try add(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), number: number, file: file, to: &data)
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

  private func addArray(_ bytes: UnsafeRawBufferPointer, file: String, to data: inout TrainingData) throws {
    try JSONArrayText.forEachElement(of: bytes, file: file) { element, line in
      try add(element, number: line, file: file, to: &data)
    }
  }

  private func add(_ line: UnsafeRawBufferPointer, number: Int, file: String, to data: inout TrainingData) throws {
    if line.allSatisfy({ $0 == 0x20 || ($0 >= 0x09 && $0 <= 0x0D) }) { return }
    do {
      let json: JSONValue
      do {
        json = try JSONValue.parse(line, file: file)
      } catch let error as JSONError {
        throw LineError(reason: "not JSON: \(error.reason) (column \(error.column))")
      }
      try add(json, to: &data)
    } catch let error as LineError {
      if !skipBadLines { throw DataError.badLine(file: file, line: number, reason: error.reason) }
      data.skippedLines += 1
    } catch let error as TemplateError {
      if !skipBadLines { throw DataError.badLine(file: file, line: number, reason: "\(error)") }
      data.skippedLines += 1
    }
  }

  /// The kind of a line shows in its keys; the first of these that it has counts.
  private func add(_ json: JSONValue, to data: inout TrainingData) throws {
    guard json.objectValue != nil else { throw LineError(reason: "expected an object") }
    func text(_ key: String) throws -> String {
      guard let value = json[key] else { throw LineError(reason: "\(key) is missing") }
      guard let text = value.stringValue else { throw LineError(reason: "\(key) is not a string") }
      return text
    }
    if json["input_ids"] != nil {
      try addTokens(json, to: &data)
    } else if json["messages"] != nil {
      try addMessages(json, to: &data)
    } else if json["prompt"] != nil {
      try addQuestion(try text("prompt"), try text("completion"), to: &data)
    } else if json["instruction"] != nil {
      let input = json["input"] ?? .null
      let context = input == .null ? "" : try text("input")
      let instruction = try text("instruction")
      try addQuestion(context.isEmpty ? instruction : "\(instruction)\n\n\(context)", try text("output"), to: &data)
    } else if json["question"] != nil {
      try addQuestion(try text("question"), try text("answer"), to: &data)
    } else if json["text"] != nil {
      let tokenizer = try tokenizerSource.tokenizer()
      var tokens = tokenizer.encode(try text("text"))
      if let end = tokenizer.eosTokenID, tokens.last != end { tokens.append(end) }
      try append(Sample(tokens: tokens, labels: tokens), to: &data)
    } else {
      throw LineError(
        reason: "none of text, prompt, messages, instruction, question or input_ids among the keys "
          + (json.objectValue?.keys.prefix(8).joined(separator: ", ") ?? ""))
    }
  }

  private var notInVocabulary: LineError {
    LineError(reason: "a token id is not in the vocabulary of \(vocabularySize)")
  }

  private func append(_ sample: Sample, to data: inout TrainingData) throws {
    guard sample.tokens.allSatisfy({ $0 >= 0 && Int($0) < vocabularySize }) else { throw notInVocabulary }
    guard sample.tokens.count > 1 else { throw LineError(reason: "fewer than two tokens") }
    var sample = sample
    if sample.tokens.count > maximumLength {
      data.truncatedCount += 1
      sample.tokens = Array(sample.tokens.prefix(maximumLength))
      sample.labels = Array(sample.labels.prefix(maximumLength))
    }
    data.samples.append(sample)
  }

  private func addTokens(_ json: JSONValue, to data: inout TrainingData) throws {
    func ids(_ key: String) throws -> [Int32]? {
      guard let value = json[key], value != .null else { return nil }
      guard let values = value.arrayValue else { throw LineError(reason: "\(key) is not a list") }
      return try values.map {
        guard let id = $0.intValue, let exact = Int32(exactly: id) else {
          throw LineError(reason: "\(key) holds something that is no id")
        }
        return exact
      }
    }
    let tokens = try ids("input_ids") ?? []
    guard tokens.allSatisfy({ $0 >= 0 && Int($0) < vocabularySize }) else { throw notInVocabulary }
    let labels = try ids("labels") ?? tokens
    guard labels.count == tokens.count else {
      throw LineError(reason: "\(labels.count) labels for \(tokens.count) input_ids")
    }
    guard labels.allSatisfy({ $0 == Label.ignored || ($0 >= 0 && Int($0) < vocabularySize) }) else {
      throw LineError(reason: "a label is neither -100 nor in the vocabulary of \(vocabularySize)")
    }
    try append(Sample(tokens: tokens, labels: labels), to: &data)
    data.isOnePerRow = true
  }

  private func addQuestion(_ prompt: String, _ answer: String, to data: inout TrainingData) throws {
    let parts = try PromptFormat(tokenizer: try tokenizerSource.tokenizer()).parts(
      prompt: prompt, answer: answer, trainOnPrompt: trainOnPrompt)
    try append(Sample(tokens: parts.conversation.tokens, labels: parts.conversation.labels), to: &data)
    if keepsQuestions {
      data.questions.append(PromptAnswer(promptTokens: parts.prompt, prompt: prompt, answer: answer))
    }
  }

  private func addMessages(_ json: JSONValue, to data: inout TrainingData) throws {
    guard let messages = json["messages"]?.arrayValue, !messages.isEmpty else {
      throw LineError(reason: "messages is not a list of messages")
    }
    for message in messages {
      guard message["role"]?.stringValue != nil, message["content"] != nil || message["tool_calls"] != nil else {
        throw LineError(reason: "a message lacks role or content")
      }
    }
    let parts = try PromptFormat(tokenizer: try tokenizerSource.tokenizer()).parts(
      messages: messages, tools: json["tools"] ?? .null, trainOnPrompt: trainOnPrompt)
    try append(Sample(tokens: parts.conversation.tokens, labels: parts.conversation.labels), to: &data)
    if keepsQuestions, messages.last?["role"]?.stringValue == "assistant",
      let answer = messages.last?["content"]?.stringValue
    {
      let prompt = messages.dropLast().last?["content"]?.stringValue ?? ""
      data.questions.append(PromptAnswer(promptTokens: parts.prompt, prompt: prompt, answer: answer))
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
