import Formats
import Foundation
import Tokenization
import Transformer

/// One tokenised sample.
public struct Sample: Sendable, Equatable {
  public var tokens: [Int32]
  /// `labels[i]` says whether token `i` is to be learnt: the token itself, or `LanguageModelHead.ignoredLabel`.
  public var labels: [Int32]

  public init(tokens: [Int32], labels: [Int32]) {
    self.tokens = tokens
    self.labels = labels
  }
}

/// A question whose answer is known.
public struct PromptAnswer: Sendable {
  /// What generation is fed with, tokenised.
  public let promptTokens: [Int32]
  public let prompt: String
  public let answer: String
}

/// What is wrong with the data.
public enum DataError: Error, CustomStringConvertible {
  case badLine(file: String, line: Int, reason: String)
  case empty(files: [String])
  case unknownKind(file: String)

  public var description: String {
    switch self {
    case .badLine(let file, let line, let reason):
      "\(file):\(line): \(reason)\n       --skip-bad-lines counts such lines and goes on"
    case .empty(let files): "\(files.joined(separator: ", ")): no sample with a token to learn"
    case .unknownKind(let file): "\(file): expected a .txt, .jsonl or .json file"
    }
  }
}

/// Tokenised data, read once.
public struct TrainingData: Sendable {
  public internal(set) var samples: [Sample] = []
  /// The questions among them, for exact-match evaluation.
  public internal(set) var questions: [PromptAnswer] = []
  /// Samples that were cut at the maximum length.
  public internal(set) var truncatedCount = 0
  public internal(set) var skippedLines = 0
  /// Whether every sample stands in a row of its own, as `input_ids` lines do.
  public internal(set) var isOnePerRow = false

  /// The data split deterministically.
  /// - Parameter share: of the samples that go to the second part, between 0 and 1
  public func split(_ share: Double, seed: UInt64) -> (train: TrainingData, evaluation: TrainingData) {
    let order = Shuffle.permutation(samples.count, seed: seed ^ 0x5EED)
    let count = min(max(Int((Double(samples.count) * share).rounded()), 1), max(samples.count - 1, 0))
    var train = self
    var evaluation = self
    evaluation.samples = order.prefix(count).sorted().map { samples[$0] }
    train.samples = order.dropFirst(count).sorted().map { samples[$0] }
    evaluation.questions = []
    return (train, evaluation)
  }
}

/// Reads data files into samples.
public struct DataReader {
  let tokenizer: Tokenizer
  let maximumLength: Int
  let trainOnPrompt: Bool
  let skipBadLines: Bool
  let vocabularySize: Int

  public init(
    tokenizer: Tokenizer, maximumLength: Int, trainOnPrompt: Bool, skipBadLines: Bool, vocabularySize: Int
  ) {
    self.tokenizer = tokenizer
    self.maximumLength = maximumLength
    self.trainOnPrompt = trainOnPrompt
    self.skipBadLines = skipBadLines
    self.vocabularySize = vocabularySize
  }

  /// - Parameter files: paths, or `-` for JSON lines from standard input
  public func read(_ files: [String]) throws -> TrainingData {
    var data = TrainingData()
    for file in files {
      if file == "-" {
        var number = 0
        while let line = readLine(strippingNewline: true) {
          number += 1
          try add(line: line, number: number, file: "standard input", to: &data)
        }
      } else if file.hasSuffix(".txt") {
        try addText(file, to: &data)
      } else if file.hasSuffix(".jsonl") || file.hasSuffix(".json") {
        try addLines(file, to: &data)
      } else {
        throw DataError.unknownKind(file: file)
      }
    }
    guard data.samples.contains(where: { $0.labels.dropFirst().contains { $0 >= 0 } }) else {
      throw DataError.empty(files: files)
    }
    return data
  }

  private func addText(_ path: String, to data: inout TrainingData) throws {
    let file = try MappedFile(path: path)
    defer { withExtendedLifetime(file) {} }
    guard let text = String(validating: file.bytes, as: UTF8.self) else {
      throw DataError.badLine(file: path, line: 1, reason: "not UTF-8 text")
    }
    let tokens = tokenizer.encode(text)
    guard tokens.allSatisfy({ Int($0) < vocabularySize }) else {
      throw DataError.badLine(file: path, line: 1, reason: "the tokenizer gives ids beyond the model's vocabulary")
    }
    for start in stride(from: 0, to: tokens.count, by: maximumLength) {
      let part = Array(tokens[start..<min(start + maximumLength, tokens.count)])
      if part.count > 1 { data.samples.append(Sample(tokens: part, labels: part)) }
    }
  }

  private func addLines(_ path: String, to data: inout TrainingData) throws {
    let file = try MappedFile(path: path)
    defer { withExtendedLifetime(file) {} }
    let newline = UInt8(ascii: "\n")
    var start = 0
    var number = 0
    while start < file.byteCount {
      let end = file.bytes[start...].firstIndex(of: newline) ?? file.byteCount
      number += 1
      let line = String(decoding: file.bytes[start..<end], as: UTF8.self)
      try add(line: line, number: number, file: path, to: &data)
      start = end + 1
    }
  }

  private func add(line: String, number: Int, file: String, to data: inout TrainingData) throws {
    if line.allSatisfy(\.isWhitespace) { return }
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

  private struct LineError: Error { let reason: String }

  private func add(_ json: JSONValue, to data: inout TrainingData) throws {
    func text(_ key: String) throws -> String {
      guard let value = json[key]?.stringValue else { throw LineError(reason: "\(key) is not a string") }
      return value
    }
    if json["input_ids"] != nil {
      try addTokens(json, to: &data)
    } else if json["messages"] != nil {
      try addMessages(json, to: &data)
    } else if json["prompt"] != nil {
      try addQuestion(try text("prompt"), try text("completion"), to: &data)
    } else if json["instruction"] != nil {
      let input = json["input"]?.stringValue ?? ""
      let instruction = try text("instruction")
      try addQuestion(input.isEmpty ? instruction : "\(instruction)\n\n\(input)", try text("output"), to: &data)
    } else if json["question"] != nil {
      try addQuestion(try text("question"), try text("answer"), to: &data)
    } else if json["text"] != nil {
      var tokens = tokenizer.encode(try text("text"))
      if let end = tokenizer.eosTokenID, tokens.last != end { tokens.append(end) }
      try append(Sample(tokens: tokens, labels: tokens), to: &data)
    } else {
      throw LineError(
        reason: "none of text, prompt, messages, instruction, question or input_ids among the keys "
          + (json.objectValue?.keys.prefix(8).joined(separator: ", ") ?? "(no object)"))
    }
  }

  private func append(_ sample: Sample, to data: inout TrainingData) throws {
    guard sample.tokens.allSatisfy({ $0 >= 0 && Int($0) < vocabularySize }) else {
      throw LineError(reason: "a token id is not in the vocabulary of \(vocabularySize)")
    }
    guard sample.tokens.count > 1 else { throw LineError(reason: "fewer than two tokens") }
    var sample = sample
    if sample.tokens.count > maximumLength {
      data.truncatedCount += 1
      sample.tokens.removeLast(sample.tokens.count - maximumLength)
      sample.labels.removeLast(sample.labels.count - maximumLength)
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
    let labels = try ids("labels") ?? tokens
    guard labels.count == tokens.count else {
      throw LineError(reason: "\(labels.count) labels for \(tokens.count) input_ids")
    }
    guard labels.allSatisfy({ $0 == LanguageModelHead.ignoredLabel || ($0 >= 0 && Int($0) < vocabularySize) }) else {
      throw LineError(reason: "a label is neither -100 nor in the vocabulary of \(vocabularySize)")
    }
    data.isOnePerRow = true
    try append(Sample(tokens: tokens, labels: labels), to: &data)
  }

  /// Prompt and answer are tokenised apart, exactly as generation will see the prompt and should continue.
  private func addQuestion(_ prompt: String, _ answer: String, to data: inout TrainingData) throws {
    let parts = try PromptFormat(tokenizer: tokenizer).parts(prompt: prompt, answer: answer)
    let ignored = [Int32](repeating: LanguageModelHead.ignoredLabel, count: parts.prompt.count)
    try append(
      Sample(
        tokens: parts.prompt + parts.answer, labels: (trainOnPrompt ? parts.prompt : ignored) + parts.answer),
      to: &data)
    data.questions.append(PromptAnswer(promptTokens: parts.prompt, prompt: prompt, answer: answer))
  }

  private func addMessages(_ json: JSONValue, to data: inout TrainingData) throws {
    guard let list = json["messages"]?.arrayValue, !list.isEmpty else {
      throw LineError(reason: "messages is not a list of messages")
    }
    let messages = try list.map { entry in
      guard let role = entry["role"]?.stringValue, let content = entry["content"]?.stringValue else {
        throw LineError(reason: "a message lacks role or content")
      }
      return ChatMessage(role: role, content: content)
    }
    guard let template = tokenizer.chatTemplate else {
      throw LineError(reason: "messages need a chat template, which this tokenizer has not")
    }
    var sample = Sample(tokens: [], labels: [])
    var written = ""
    func append(_ text: String, learnt: Bool) {
      let tokens = tokenizer.encode(text, addSpecialTokens: false)
      sample.tokens += tokens
      sample.labels +=
        learnt ? tokens : [Int32](repeating: LanguageModelHead.ignoredLabel, count: tokens.count)
    }
    for (index, message) in messages.enumerated() where message.role == "assistant" {
      let before = try template.render(messages: Array(messages[..<index]), addGenerationPrompt: true)
      let after = try template.render(messages: Array(messages[...index]), addGenerationPrompt: false)
      guard before.hasPrefix(written), after.hasPrefix(before) else {
        throw LineError(reason: "the chat template changes earlier turns, so answers cannot be told from prompts")
      }
      append(String(before.dropFirst(written.count)), learnt: trainOnPrompt)
      append(String(after.dropFirst(before.count)), learnt: true)
      written = after
    }
    guard !written.isEmpty else { throw LineError(reason: "messages have no assistant turn to learn") }
    try self.append(sample, to: &data)
  }
}

/// How a prompt and its answer become tokens: by the chat template if there is one, else one after the other.
public struct PromptFormat {
  let tokenizer: Tokenizer

  public init(tokenizer: Tokenizer) { self.tokenizer = tokenizer }

  /// What generation is fed with.
  public func promptTokens(_ prompt: String) throws -> [Int32] {
    guard let template = tokenizer.chatTemplate else { return tokenizer.encode(prompt) }
    let text = try template.render(messages: [ChatMessage(role: "user", content: prompt)], addGenerationPrompt: true)
    return tokenizer.encode(text, addSpecialTokens: false)
  }

  func parts(prompt: String, answer: String) throws -> (prompt: [Int32], answer: [Int32]) {
    guard let template = tokenizer.chatTemplate else {
      var tokens = tokenizer.encode(answer, addSpecialTokens: false)
      if let end = tokenizer.eosTokenID { tokens.append(end) }
      return (tokenizer.encode(prompt), tokens)
    }
    let user = ChatMessage(role: "user", content: prompt)
    let before = try template.render(messages: [user], addGenerationPrompt: true)
    let after = try template.render(
      messages: [user, ChatMessage(role: "assistant", content: answer)], addGenerationPrompt: false)
    let rest = after.hasPrefix(before) ? String(after.dropFirst(before.count)) : answer
    return (
      tokenizer.encode(before, addSpecialTokens: false), tokenizer.encode(rest, addSpecialTokens: false)
    )
  }
}
