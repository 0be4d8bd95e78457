import Data
import Formats

/// The messages of a request as chat templates read them.
package enum ChatMessages {
  /// Messages without fields that are null, which a template takes for set, and with one text where some clients send a
  /// list of them.
  package static func plain(_ messages: [JSONValue]) throws(APIError) -> [JSONValue] {
    var result: [JSONValue] = []
    for message in messages {
      // A message that only calls has a content that is null, and some templates ask for that.
      let sent = message.objectValue?.entries.filter { $0.key == "content" || $0.value != .null }
      var object = JSONObject(sent ?? [])
      let says = object["content"] ?? .null != .null || object["tool_calls"] != nil
      guard object["role"]?.stringValue != nil, says else {
        throw APIError("a message needs role and content")
      }
      if let parts = object["content"]?.arrayValue {
        var text = ""
        for part in parts {
          guard part["type"]?.stringValue ?? "text" == "text", let piece = part["text"]?.stringValue else {
            throw APIError("only texts can be read, no other kinds of content")
          }
          text += piece
        }
        object["content"] = .string(text)
      }
      object.nameThoughts()
      result.append(.object(object))
    }
    return result
  }

  /// The same with the arguments of calls as objects: OpenAI's API has them as JSON in a text, which a template would put
  /// into quotes once more.
  package static func withArgumentsAsObjects(_ messages: [JSONValue]) -> [JSONValue] {
    messages.map { message in
      guard var object = message.objectValue, let calls = object["tool_calls"]?.arrayValue else { return message }
      object["tool_calls"] = .array(calls.map(withArgumentsAsObject))
      return .object(object)
    }
  }

  private static func withArgumentsAsObject(_ call: JSONValue) -> JSONValue {
    guard var object = call.objectValue, var function = object["function"]?.objectValue,
      let text = function["arguments"]?.stringValue,
      let arguments = try? JSONValue.parse(text, file: "arguments"), arguments.objectValue != nil
    else { return call }
    function["arguments"] = arguments
    object["function"] = .object(function)
    return .object(object)
  }
}
