import Formats

/// The messages of a row as a chat template takes them, whichever of the field's spellings the row has.
///
/// Sources: `messages` of Hugging Face and OpenAI; prompts and completions that are lists, of TRL; `conversations` with `from`
/// and `value` (ShareGPT), `system`, `history` and `tools`, of LLaMA-Factory and axolotl.
struct Conversation {
  private(set) var messages: [JSONValue] = []
  private(set) var tools: JSONValue = .null
  /// Messages that carry no loss, whatever their role.
  private var silent: Set<Int> = []

  /// Whether the answer at an index carries loss.
  func isLearnt(_ index: Int) -> Bool { !silent.contains(index) }

  /// Whether no answer that carries loss says anything.
  var isEmpty: Bool {
    !messages.indices.contains { index in
      let message = messages[index]
      guard isLearnt(index), message["role"]?.stringValue == "assistant" else { return false }
      return message["tool_calls"] != nil || message["content"]?.stringValue?.isEmpty != true
    }
  }

  /// - Parameter row: has `messages` or `conversations`
  init(row: JSONObject) throws {
    let key = row["messages"] != nil ? "messages" : "conversations"
    for message in try Self.list(row[key], key) { try append(try Self.message(message, key), from: message) }
    if let system = row["system"] {
      guard let text = system.stringValue else { throw LineError(reason: "system is not a string") }
      if messages.first?["role"]?.stringValue == "system" {
        throw LineError(reason: "system stands beside a system message in \(key); which one is meant?")
      }
      if !text.isEmpty {
        messages.insert(Self.message("system", text), at: 0)
        silent = Set(silent.map { $0 + 1 })
      }
    }
    tools = try Self.tools(row["tools"])
  }

  /// - Parameter row: has a `prompt` that is a list of messages, and a `completion`, of which alone is learnt
  init(promptRow row: JSONObject) throws {
    let prompt = try Self.list(row["prompt"], "prompt")
    guard let completion = row["completion"] else { throw LineError(reason: "completion is missing") }
    for message in prompt { try append(try Self.message(message, "prompt"), from: message) }
    silent.formUnion(messages.indices)
    if let text = completion.stringValue {
      messages.append(Self.message("assistant", text))
    } else {
      for message in try Self.list(completion, "completion") {
        try append(try Self.message(message, "completion"), from: message)
      }
    }
    tools = try Self.tools(row["tools"])
  }

  /// A question with a system prompt or earlier turns, whose answers are learnt as well; `nil` where it has neither.
  init?(question: String, answer: String, row: JSONObject) throws {
    if let system = row["system"] {
      guard let text = system.stringValue else { throw LineError(reason: "system is not a string") }
      if !text.isEmpty { messages.append(Self.message("system", text)) }
    }
    if let history = row["history"] {
      guard let turns = history.arrayValue else { throw LineError(reason: "history is not a list of pairs") }
      for turn in turns {
        guard let pair = turn.arrayValue?.compactMap(\.stringValue), pair.count == 2 else {
          throw LineError(reason: "history holds something that is no pair of question and answer")
        }
        messages += [Self.message("user", pair[0]), Self.message("assistant", pair[1])]
      }
    }
    if messages.isEmpty { return nil }
    messages += [Self.message("user", question), Self.message("assistant", answer)]
  }

  // MARK: Messages

  private static func message(_ role: String, _ content: String) -> JSONValue {
    .object(JSONObject([("role", .string(role)), ("content", .string(content))]))
  }

  /// - Parameter source: the message as it stands in the row; its weight may silence it
  private mutating func append(_ message: JSONValue, from source: JSONValue) throws {
    for key in ["weight", "train"] {
      switch source[key] {
      case nil, .null, .bool(true), .integer(1), .number(1): continue
      case .bool(false), .integer(0), .number(0): silent.insert(messages.count)
      case .some(let other):
        throw LineError(reason: "\(key) \(other.serialized()) of a message: only 0 and 1 are taken")
      }
    }
    messages.append(message)
  }

  /// A list of messages, or its text.
  private static func list(_ value: JSONValue?, _ key: String) throws -> [JSONValue] {
    let list = try value.map { try parsed($0, key) }?.arrayValue ?? []
    guard !list.isEmpty else { throw LineError(reason: "\(key) is not a list of messages") }
    return list
  }

  /// What a text holds, where exports have written JSON as one.
  private static func parsed(_ value: JSONValue, _ key: String) throws -> JSONValue {
    guard let text = value.stringValue else { return value }
    guard let json = try? JSONValue.parse(text, file: key) else {
      throw LineError(reason: "\(key) is a text that is not JSON")
    }
    return json
  }

  private static func tools(_ value: JSONValue?) throws -> JSONValue {
    guard let value, value != .string("") else { return .null }
    let tools = try parsed(value, "tools")
    guard let list = tools.arrayValue else { throw LineError(reason: "tools is not a list") }
    return list.isEmpty ? .null : withoutNulls(tools)
  }

  private static let roles = [
    "human": "user", "gpt": "assistant", "observation": "tool", "function_response": "tool",
  ]

  /// One message with `role` and `content`, from one that may have `from` and `value`.
  private static func message(_ value: JSONValue, _ key: String) throws -> JSONValue {
    guard var object = withoutNulls(value).objectValue else {
      throw LineError(reason: "\(key) holds something that is no message")
    }
    if let from = object["from"]?.stringValue, object["role"] == nil {
      let value = object["value"]
      object["from"] = nil
      object["value"] = nil
      if from == "function_call" {
        let call = try value.map { try parsed($0, "function_call") } ?? .null
        guard call["name"]?.stringValue != nil else { throw LineError(reason: "function_call names no function") }
        object["role"] = .string("assistant")
        object["tool_calls"] = .array([
          .object(JSONObject([("type", .string("function")), ("function", call)]))
        ])
      } else {
        object["role"] = .string(roles[from] ?? from)
        object["content"] = value
      }
    }
    object.nameThoughts()
    guard object["role"]?.stringValue != nil, object["content"] != nil || object["tool_calls"] != nil else {
      throw LineError(reason: "a message lacks role or content")
    }
    return .object(object)
  }

  /// Without the keys that are null: tables give every row the keys of all others.
  private static func withoutNulls(_ value: JSONValue) -> JSONValue {
    switch value {
    case .array(let values): .array(values.map(withoutNulls))
    case .object(let object):
      .object(JSONObject(object.entries.filter { $0.value != .null }.map { ($0.key, withoutNulls($0.value)) }))
    default: value
    }
  }
}

extension JSONObject {
  /// Gives what a message has of thoughts both names: templates know one of them, and transformers gives them both.
  package mutating func nameThoughts() {
    guard let thought = self["reasoning_content"] ?? self["thinking"] ?? self["reasoning"] else { return }
    self["reasoning_content"] = thought
    if self["thinking"] == nil { self["thinking"] = thought }
  }
}
