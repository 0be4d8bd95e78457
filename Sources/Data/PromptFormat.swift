import Architectures
import Formats
import FoundationEssentials
import Glibc
import Tokenization

/// How a prompt and its answer become tokens: by the chat template if there is one, else one after the other.
public struct PromptFormat {
  let tokenizer: Tokenizer

  public init(tokenizer: Tokenizer) { self.tokenizer = tokenizer }

  /// What generation is fed with.
  public func promptTokens(_ prompt: String) throws -> [Int32] {
    guard let template = tokenizer.chatTemplate else { return tokenizer.encodeStart(prompt) }
    let text = try template.render(messages: [ChatMessage(role: "user", content: prompt)], addGenerationPrompt: true)
    return tokenizer.encode(text, addSpecialTokens: false)
  }

  /// A text that grows from turn to turn, and its tokens.
  ///
  /// The tokens are those of the whole text as long as the tokens of each stage begin those of the next; where a token
  /// would reach across the end of a stage, the rest is tokenised apart, so that it still continues what generation is
  /// fed with.
  struct RenderedTurns {
    private let tokenizer: Tokenizer
    private let addsSpecialTokens: Bool
    private(set) var text = ""
    private(set) var tokens: [Int32] = []
    private(set) var labels: [Int32] = []
    private var whole: GrowingText

    init(_ tokenizer: Tokenizer, addsSpecialTokens: Bool) {
      self.tokenizer = tokenizer
      self.addsSpecialTokens = addsSpecialTokens
      whole = GrowingText(tokenizer, addsSpecialTokens: addsSpecialTokens)
    }

    /// Adds text at the end.
    /// - Parameter learnt: whether its tokens carry loss
    mutating func append(_ rest: String, learnt: Bool) {
      text += rest
      let found = whole.append(rest)
      if found.starts(with: tokens) {
        tokens = found
      } else {
        tokens += tokenizer.encode(rest, addSpecialTokens: false, continuing: true)
      }
      for index in labels.count..<tokens.count {
        labels.append(learnt ? tokens[index] : Label.ignored)
      }
    }

    mutating func appendEndOfText() {
      guard let end = tokenizer.eosTokenID, tokens.last != end else { return }
      tokens.append(end)
      labels.append(end)
    }

    mutating func removeAll() { self = RenderedTurns(tokenizer, addsSpecialTokens: addsSpecialTokens) }
  }

  /// What is to be learnt of a conversation, and where its last answer starts.
  struct Parts {
    var conversation: RenderedTurns
    /// What generation of the last answer is fed with.
    var prompt: [Int32]
  }

  func parts(prompt: String, answer: String, trainOnPrompt: Bool) throws -> Parts {
    if tokenizer.chatTemplate != nil {
      func message(_ role: String, _ content: String) -> JSONValue {
        .object(JSONObject([("role", .string(role)), ("content", .string(content))]))
      }
      return try parts(
        messages: [message("user", prompt), message("assistant", answer)], tools: .null, trainOnPrompt: trainOnPrompt)
    }
    var conversation = RenderedTurns(tokenizer, addsSpecialTokens: true)
    conversation.append(prompt, learnt: trainOnPrompt)
    let start = conversation.tokens
    conversation.append(answer, learnt: true)
    conversation.appendEndOfText()
    return Parts(conversation: conversation, prompt: start)
  }

  /// - Parameters:
  ///   - messages: as the template wants them
  ///   - isLearnt: whether the answer at an index carries loss
  func parts(
    messages: [JSONValue], tools: JSONValue, trainOnPrompt: Bool, isLearnt: (Int) -> Bool = { _ in true }
  ) throws -> Parts {
    guard let template = tokenizer.chatTemplate else {
      throw LineError(reason: "messages need a chat template, which this tokenizer has not")
    }
    func render(_ count: Int, prompt: Bool) throws -> String {
      try template.render(
        messages: [], addGenerationPrompt: prompt,
        variables: ["messages": .array(Array(messages.prefix(count))), "tools": tools])
    }
    var conversation = RenderedTurns(tokenizer, addsSpecialTokens: false)
    var prompt: [Int32] = []
    for (index, message) in messages.enumerated() where message["role"]?.stringValue == "assistant" {
      let before: String
      do {
        before = try render(index, prompt: true)
      } catch is TemplateError where index == 0 {
        // What nothing asks for is context, where the template needs something to ask with.
        continue
      }
      // Some templates write earlier turns in another way once a new one follows: those are not learnt.
      if !before.begins(with: conversation.text) { conversation.removeAll() }
      conversation.append(before.dropping(conversation.text.utf8.count), learnt: trainOnPrompt)
      prompt = conversation.tokens
      let after = try render(index + 1, prompt: false)
      let common = before.commonStart(with: after)
      let rest = after.dropping(common)
      // Some open a thought in the prompt that a known answer lacks; the answer follows all the same.
      if common < before.utf8.count {
        let answer = (message["content"]?.stringValue ?? "").trimmed
        guard !answer.isEmpty, rest.trimmed.begins(with: answer) else {
          throw LineError(reason: "the chat template does not write an answer after the prompt that it asks with")
        }
      }
      conversation.append(rest, learnt: isLearnt(index))
    }
    if trainOnPrompt {
      let all = try render(messages.count, prompt: false)
      if all.begins(with: conversation.text) {
        conversation.append(all.dropping(conversation.text.utf8.count), learnt: true)
      }
    } else if conversation.text.isEmpty {
      throw LineError(reason: "messages have no assistant turn to learn")
    }
    return Parts(conversation: conversation, prompt: prompt)
  }
}

extension String {
  /// Whether the text starts with another one, scalar by scalar.
  fileprivate func begins(with start: String) -> Bool { utf8.starts(with: start.utf8) }

  /// Bytes of the scalars that both texts start with.
  fileprivate func commonStart(with other: String) -> Int {
    let same = zip(utf8, other.utf8).prefix { $0 == $1 }.count
    var place = utf8.index(utf8.startIndex, offsetBy: same)
    // Two scalars that differ may begin alike.
    while place < utf8.endIndex, utf8[place] & 0xC0 == 0x80 { place = utf8.index(before: place) }
    return utf8.distance(from: utf8.startIndex, to: place)
  }

  /// The text without its first bytes, which are whole scalars.
  fileprivate func dropping(_ byteCount: Int) -> String { String(decoding: utf8.dropFirst(byteCount), as: UTF8.self) }
  /// The text without white space at both ends.
  public var trimmed: String {
    let scalars = unicodeScalars.drop { $0.properties.isWhitespace }
    guard let last = scalars.lastIndex(where: { !$0.properties.isWhitespace }) else { return "" }
    return String(scalars[...last])
  }
}
