import Formats

/// One turn of a conversation.
public struct ChatMessage: Sendable, Equatable {
  public let role: String
  public let content: String

  public init(role: String, content: String) {
    self.role = role
    self.content = content
  }
}

/// A model's way to write a conversation: a Jinja template.
///
/// Format: the `chat_template` of Hugging Face tokenizers, with `trim_blocks` and `lstrip_blocks` set as they set them.
public struct ChatTemplate: Sendable {
  private let program: [TemplateNode]
  /// What writes conversations with tools, of models that have a template of its own for them.
  private let toolProgram: [TemplateNode]?
  private let file: String
  private let tokens: [String: String]

  /// Bytes of a template: published ones have some ten thousand, and what is made of it takes many times as much.
  static let longestSource = 1 << 20

  /// - Parameters:
  ///   - toolSource: the template for conversations with tools, if that is another one
  ///   - file: the name that errors carry
  ///   - tokens: `bos_token` and its like, for the template
  /// - Throws: `TemplateError`
  public init(
    source: String, toolSource: String? = nil, file: String = "chat template", tokens: [String: String] = [:]
  ) throws {
    func program(_ source: String) throws -> [TemplateNode] {
      guard source.utf8.count <= Self.longestSource else { throw Self.tooLong(file) }
      return try TemplateParser.parse(source, file: file)
    }
    self.file = file
    self.tokens = tokens
    self.program = try program(source)
    toolProgram = try toolSource.map(program)
  }

  static func tooLong(_ file: String) -> TemplateError {
    TemplateError(file: file, line: 1, reason: "a template of more than \(longestSource >> 20) MB is not believed")
  }

  /// The conversation as text.
  /// - Parameter addGenerationPrompt: whether the start of the assistant's turn follows
  public func render(
    messages: [ChatMessage], addGenerationPrompt: Bool, variables: [String: JSONValue] = [:]
  ) throws -> String {
    var globals: [String: TemplateValue] = [
      "messages": .list(
        messages.map { .map([("role", .string($0.role)), ("content", .string($0.content))]) }),
      "add_generation_prompt": .bool(addGenerationPrompt), "tools": .none, "documents": .none,
    ]
    for (name, token) in tokens { globals[name] = .string(token) }
    for (name, value) in variables { globals[name] = TemplateValue(value) }
    let evaluator = TemplateEvaluator(file: file, globals: globals)
    if case .list? = globals["tools"], let toolProgram { return try evaluator.run(toolProgram) }
    return try evaluator.run(program)
  }
}
