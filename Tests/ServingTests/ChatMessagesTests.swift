import Formats
import Serving
import Testing

/// What chat templates get of the messages of a request.
struct ChatMessagesTests {
  private func messages(_ text: String) throws -> [JSONValue] {
    try #require(try JSONValue.parse(text, file: "messages").arrayValue)
  }

  @Test func fieldsThatAreNullAreNotThere() throws {
    let sent = try messages(
      #"[{"role": "assistant", "content": "b", "tool_calls": null, "function_call": null, "name": null}]"#)
    #expect(try ChatMessages.plain(sent) == messages(#"[{"role": "assistant", "content": "b"}]"#))
    let call = try messages(#"[{"role": "assistant", "content": null, "tool_calls": []}]"#)
    #expect(try ChatMessages.plain(call) == call, "some templates know a call by that")
  }

  @Test(arguments: [
    #"[{"role": "user", "content": null}]"#, #"[{"role": "assistant", "content": null, "tool_calls": null}]"#,
    #"[{"content": "a"}]"#, #"["a"]"#,
  ])
  func aMessageWithoutRoleOrContentIsRefused(text: String) throws {
    let sent = try messages(text)
    #expect {
      try ChatMessages.plain(sent)
    } throws: { ($0 as? APIError)?.message == "a message needs role and content" }
  }

  @Test func whatWasThoughtHasBothNames() throws {
    let sent = try messages(#"[{"role": "assistant", "content": "b", "reasoning": "a"}]"#)
    let message = try #require(ChatMessages.plain(sent).first)
    #expect(message["reasoning_content"] == .string("a") && message["thinking"] == .string("a"))
  }

  /// OpenAI's API has them as a text; `tojson` of a template would put that into quotes.
  @Test func argumentsOfCallsAreObjects() throws {
    func call(_ arguments: String) throws -> [JSONValue] {
      let function = #"{"name": "f", "arguments": \#(arguments)}"#
      return try messages(#"[{"role": "assistant", "tool_calls": [{"id": "1", "function": \#(function)}]}]"#)
    }
    let object = #"{"room": "kitchen", "on": true}"#
    let text = #""{\"room\": \"kitchen\", \"on\": true}""#
    #expect(try ChatMessages.withArgumentsAsObjects(call(text)) == call(object))
    for other in [object, #""lights on""#, #""[1]""#, "{}"] {
      #expect(try ChatMessages.withArgumentsAsObjects(call(other)) == call(other))
    }
  }
}
