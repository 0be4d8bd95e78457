import Deployment
import Formats
import Synchronization

/// The two forms that answers have in OpenAI's API.
enum AnswerShape: Sendable {
  case chat, completion

  var prefix: String { self == .chat ? "chatcmpl" : "cmpl" }
}

/// Makes JSON of what an engine says.
struct AnswerWriter: Sendable {
  let shape: AnswerShape
  let id: String
  let model: String
  let created: Int
  let wantsUsage: Bool

  private func envelope(_ choices: [JSONValue], isPart: Bool, usage: AnswerEnd? = nil) -> JSONValue {
    let kind = shape == .chat ? (isPart ? "chat.completion.chunk" : "chat.completion") : "text_completion"
    var object = JSONObject([
      ("id", .string(id)), ("object", .string(kind)), ("created", .integer(created)), ("model", .string(model)),
      ("choices", .array(choices)),
    ])
    if let usage {
      object["usage"] = .object(
        JSONObject([
          ("prompt_tokens", .integer(usage.promptTokens)), ("completion_tokens", .integer(usage.answerTokens)),
          ("total_tokens", .integer(usage.promptTokens + usage.answerTokens)),
          ("prompt_tokens_details", .object(JSONObject([("cached_tokens", .integer(usage.cachedTokens))]))),
        ]))
    }
    return .object(object)
  }

  private func choice(_ entries: [(String, JSONValue)], reason: TextGenerator.Ending?) -> JSONValue {
    .object(
      JSONObject(
        [("index", .integer(0))] + entries + [("finish_reason", reason.map { .string($0.rawValue) } ?? .null)]))
  }

  /// Waits for the whole answer.
  ///
  /// - Parameter isGone: asked about every second; an answer that nobody waits for any more is broken off
  func whole(_ stream: AnswerStream, isGone: () -> Bool) throws(APIError) -> JSONValue {
    var text = ""
    var probabilities: [TokenProbability] = []
    var lastLook = ContinuousClock.now
    while true {
      let event = stream.next(within: 1)
      if event == nil || ContinuousClock.now - lastLook > .seconds(1) {
        if isGone() {
          stream.close()
          throw APIError(status: 499, "the client is gone")
        }
        lastLook = .now
      }
      guard let event else { continue }
      switch event {
      case .text(let piece, let probability):
        text += piece
        if let probability { probabilities.append(probability) }
      case .failed(let error): throw error
      case .end(let end):
        var entries: [(String, JSONValue)] =
          shape == .chat
          ? [("message", .object(JSONObject([("role", .string("assistant")), ("content", .string(text))])))]
          : [("text", .string(text))]
        entries.append(("logprobs", probabilities.isEmpty ? .null : logprobs(probabilities)))
        return envelope([choice(entries, reason: end.reason)], isPart: false, usage: end)
      }
    }
  }

  /// The events that one of the engine makes, as server-sent events.
  func events(_ event: AnswerEvent, isFirst: Bool) -> String {
    func line(_ json: JSONValue) -> String { "data: \(json.serialized())\n\n" }
    let start =
      isFirst && shape == .chat
      ? line(
        envelope(
          [
            choice(
              [("delta", .object(JSONObject([("role", .string("assistant")), ("content", .string(""))])))], reason: nil)
          ], isPart: true)) : ""
    switch event {
    case .text(let text, let probability):
      var entries: [(String, JSONValue)] =
        shape == .chat ? [("delta", .object(JSONObject([("content", .string(text))])))] : [("text", .string(text))]
      entries.append(("logprobs", probability.map { logprobs([$0]) } ?? .null))
      return start + line(envelope([choice(entries, reason: nil)], isPart: true))
    case .failed(let error): return start + line(error.json) + "data: [DONE]\n\n"
    case .end(let end):
      let entries: [(String, JSONValue)] =
        shape == .chat ? [("delta", .object(JSONObject([])))] : [("text", .string(""))]
      return start + line(envelope([choice(entries, reason: end.reason)], isPart: true))
        + (wantsUsage ? line(envelope([], isPart: true, usage: end)) : "") + "data: [DONE]\n\n"
    }
  }

  private func logprobs(_ tokens: [TokenProbability]) -> JSONValue {
    func text(_ bytes: [UInt8]) -> JSONValue { .string(String(decoding: bytes, as: UTF8.self)) }
    if shape == .completion {
      /// Parts of characters differ, as keys must.
      func name(_ bytes: [UInt8]) -> String {
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        return "bytes:" + bytes.map { "\\x\($0 < 16 ? "0" : "")" + String($0, radix: 16) }.joined()
      }
      return .object(
        JSONObject([
          ("tokens", .array(tokens.map { .string(name($0.text)) })),
          ("token_logprobs", .array(tokens.map { .number($0.logProbability) })),
          (
            "top_logprobs",
            .array(
              tokens.map { token in
                .object(
                  JSONObject(
                    token.alternatives.map { (name($0.text), .number($0.logProbability)) }))
              })
          ),
        ]))
    }
    func entry(_ bytes: [UInt8], _ value: Double) -> [(String, JSONValue)] {
      [
        ("token", text(bytes)), ("logprob", .number(value)),
        ("bytes", .array(bytes.map { .integer(Int($0)) })),
      ]
    }
    return .object(
      JSONObject([
        (
          "content",
          .array(
            tokens.map { token in
              .object(
                JSONObject(
                  entry(token.text, token.logProbability) + [
                    (
                      "top_logprobs",
                      .array(
                        token.alternatives.map { .object(JSONObject(entry($0.text, $0.logProbability))) })
                    )
                  ]))
            })
        )
      ]))
  }
}

/// An answer as server-sent events. Source: "Server-sent events" of the HTML standard.
final class EventSource: ByteSource {
  private struct State {
    var bytes: [UInt8] = []
    var isFirst = true
    var isDone = false
  }

  private let stream: AnswerStream
  private let writer: AnswerWriter
  private let state = Mutex(State())

  init(_ stream: AnswerStream, _ writer: AnswerWriter) {
    self.stream = stream
    self.writer = writer
  }

  func next(atMost count: Int) -> [UInt8]? {
    state.withLock { state in
      while state.bytes.isEmpty {
        if state.isDone { return nil }
        let event = stream.next()
        if case .text = event {} else { state.isDone = true }
        state.bytes = Array(writer.events(event, isFirst: state.isFirst).utf8)
        state.isFirst = false
      }
      let part = Array(state.bytes.prefix(count))
      state.bytes.removeFirst(part.count)
      return part
    }
  }

  func close() { stream.close() }
}
