import Formats
import Tokenization

/// A prompt that a model is asked again and again while it learns.
public struct SamplePrompt: Sendable {
  /// As people read it: of a conversation the last thing that was said.
  public let text: String
  /// The answer that the file has, if it has one.
  public let wanted: String?
  /// What generation is fed with.
  public let tokens: [Int32]
}

extension SamplePrompt {
  /// A file that holds no prompts.
  public struct Invalid: Error, CustomStringConvertible {
    let file: String
    let line: Int?
    let reason: String
    public var description: String { "--sample-prompts \(file)\(line.map { ":\($0)" } ?? ""): \(reason)" }
  }

  /// Each is answered at every evaluation, so more would be training that waits for them.
  private static let most = 100
  private static let mostBytes = 16 << 20

  /// Reads a prompt a line, or JSON lines with `messages` or `conversations`, `prompt`, `question`, or `instruction` and
  /// `input`: answers that stand beside them are not shown to the model, so that a file of data will do.
  ///
  /// - Throws: `Invalid`, or what a chat template says
  public static func read(_ path: String, tokenizer: Tokenizer) throws -> [SamplePrompt] {
    let file = try MappedFile(path: path)
    defer { withExtendedLifetime(file) {} }
    func invalid(_ reason: String, line: Int? = nil) -> Invalid { Invalid(file: path, line: line, reason: reason) }
    let bytes = DataReader.withoutMark(file.bytes)
    guard file.byteCount <= mostBytes, let text = String(validating: bytes, as: UTF8.self) else {
      throw invalid(file.byteCount > mostBytes ? "is too large for a few prompts" : "is no UTF-8 text")
    }
    // By scalars: for Swift, the line end of Windows is one character and no "\n".
    let lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
      .map { (number: $0 + 1, text: String($1).trimmed) }.filter { !$0.text.isEmpty }
    guard !lines.isEmpty, lines.count <= most else {
      throw invalid(
        lines.isEmpty
          ? "holds no prompt"
          : "holds \(lines.count) prompts; all are answered at every evaluation: give "
            + "\(most) at most")
    }
    let name = path.lowercased()
    let isJSON =
      name.hasSuffix(".jsonl") || name.hasSuffix(".json") || (try? JSONValue.parse(lines[0].text, file: path)) != nil
    let format = PromptFormat(tokenizer: tokenizer)
    return try lines.map { line in
      guard isJSON else {
        return SamplePrompt(text: line.text, wanted: nil, tokens: try format.promptTokens(line.text))
      }
      do {
        guard let row = try JSONValue.parse(line.text, file: path).objectValue else {
          throw LineError(reason: "expected an object with prompt or messages")
        }
        return try SamplePrompt(row: JSONObject(row.entries.filter { $0.value != .null }), format: format)
      } catch let error as LineError {
        throw invalid(error.reason, line: line.number)
      } catch let error as JSONError {
        throw invalid(
          "not JSON: \(error.reason); a line is an object, or each is a prompt as it stands", line: line.number)
      }
    }
  }

  private init(row: JSONObject, format: PromptFormat) throws {
    if row["messages"] != nil || row["conversations"] != nil || row["prompt"]?.arrayValue != nil {
      self = try SamplePrompt(
        conversation: row["prompt"]?.arrayValue == nil ? Conversation(row: row) : Conversation(promptRow: row),
        format: format)
      return
    }
    func text(_ key: String) -> String? { row[key]?.stringValue }
    var question: String
    if let instruction = text("instruction") {
      let input = text("input") ?? ""
      question = input.isEmpty ? instruction : "\(instruction)\n\n\(input)"
    } else if let found = text("prompt") ?? text("question") {
      question = found
    } else {
      throw LineError(
        reason: "none of prompt, messages, question or instruction among the keys "
          + row.keys.prefix(8).joined(separator: ", "))
    }
    if let context = text("context"), !context.isEmpty { question += "\n\n\(context)" }
    let answer = text("completion") ?? text("answer") ?? text("output")
    if let conversation = try Conversation(question: question, answer: answer ?? "", row: row) {
      self = try SamplePrompt(conversation: conversation, format: format)
    } else {
      (self.text, wanted, tokens) = (question, answer, try format.promptTokens(question))
    }
  }

  /// - Parameter conversation: if it ends with an answer, that is what is asked for
  private init(conversation: Conversation, format: PromptFormat) throws {
    guard let template = format.tokenizer.chatTemplate else {
      throw LineError(reason: "messages need a chat template, which this tokenizer has not")
    }
    var messages = conversation.messages
    var answer: String?
    if messages.last?["role"]?.stringValue == "assistant" {
      answer = messages.removeLast()["content"]?.stringValue
    }
    guard let last = messages.last else { throw LineError(reason: "there is no message to answer") }
    let rendered = try template.render(
      messages: [], addGenerationPrompt: true,
      variables: ["messages": .array(messages), "tools": conversation.tools])
    text = last["content"]?.stringValue ?? ""
    wanted = answer.flatMap { $0.isEmpty ? nil : $0 }
    tokens = format.tokenizer.encode(rendered, addSpecialTokens: false)
  }
}
