import Deployment
import Foundation
import Serving
import Testing

/// What is answered, over HTTP.
struct AnswersTests {
  private static let prompts = ["the cup is in the", "what is the opposite of", "one two three", "she went to the"]

  /// Texts of three adapters at once, more than there are places: each is what `generate` says of it.
  @Test func manyAtOnceAreAnsweredAsByTheCommandLine() throws {
    let server = try TestServer()
    let jobs = ["tiny", "one", "two"].flatMap { model in Self.prompts.map { (model, $0) } }
    let connections = try jobs.map { model, prompt in
      let connection = try Connection(server.server)
      connection.send("POST", "/v1/completions", TestServer.body(prompt, model: model))
      return connection
    }
    var texts: Set<String> = []
    for ((model, prompt), connection) in zip(jobs, connections) {
      let text = try #require(connection.receive().text)
      let expected = try server.expected(prompt, adapter: model)
      #expect(text == expected, "\(model): \(prompt)")
      texts.insert(text)
    }
    #expect(texts.count > Self.prompts.count, "adapters change the answers")
  }

  @Test func eventsAddUpToTheAnswer() throws {
    let server = try TestServer()
    let answer = try server.complete(
      Self.prompts[0], #", "stream": true, "stream_options": {"include_usage": true}"#)
    let events = answer.events
    let text = events.compactMap { $0["choices"]?.arrayValue?.first?["text"]?.stringValue }.joined()
    #expect(try text == server.expected(Self.prompts[0]))
    #expect(answer.head.contains("text/event-stream") && answer.body.hasSuffix("data: [DONE]\n\n"))
    let usage = try #require(server.complete(Self.prompts[0]).json?["usage"])
    #expect(try #require(usage["completion_tokens"]?.intValue) > 0)
    for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
      #expect(events.last?["usage"]?[name]?.intValue == usage[name]?.intValue)
    }
  }

  @Test func aChatIsWhatItsTemplateMakesOfIt() throws {
    let server = try TestServer()
    let question = "what is the opposite of warm"
    let template = try #require(server.loaded.tokenizer.chatTemplate)
    let text = try template.render(messages: [.init(role: "user", content: question)], addGenerationPrompt: true)
    let ids = server.loaded.tokenizer.encode(text, addSpecialTokens: false)
    let alone = try LoadedModel(directory: tinyLlama, adapter: nil, precision: .int8, threads: 1)
    let expected = try TextGenerator(alone, capacity: 100).generate(
      prompt: ids, maximumTokens: 16, sampling: SamplingOptions())
    for content in [#""\#(question)""#, #"[{"type": "text", "text": "\#(question)"}]"#] {
      let answer = try server.ask(
        "POST", "/v1/chat/completions",
        #"{"messages": [{"role": "user", "content": \#(content)}], "temperature": 0, "max_tokens": 16}"#)
      let choice = try #require(answer.json?["choices"]?.arrayValue?.first)
      #expect(choice["message"]?["content"]?.stringValue == expected.text)
      #expect(choice["finish_reason"]?.stringValue == expected.ending.rawValue)
      #expect(answer.json?["usage"]?["prompt_tokens"]?.intValue == ids.count)
    }
  }

  @Test func aTextThatEndsAnAnswerIsNotPartOfIt() throws {
    let server = try TestServer()
    let whole = try server.expected(Self.prompts[0])
    let stop = String(whole.dropFirst(4).prefix(3))
    let answer = try server.complete(Self.prompts[0], #", "stop": ["never said", "\#(stop)"]"#)
    let expected = try #require(whole.range(of: stop)).lowerBound
    #expect(answer.text == String(whole[..<expected]))
    #expect(answer.json?["choices"]?.arrayValue?.first?["finish_reason"]?.stringValue == "stop")
  }

  @Test func probabilitiesStandBesideTheirTokens() throws {
    let server = try TestServer()
    let answer = try server.complete(Self.prompts[0], #", "logprobs": 3"#)
    let found = try #require(answer.json?["choices"]?.arrayValue?.first?["logprobs"])
    let tokens = try #require(found["tokens"]?.arrayValue).compactMap(\.stringValue)
    let values = try #require(found["token_logprobs"]?.arrayValue).compactMap(\.doubleValue)
    let likeliest = try #require(found["top_logprobs"]?.arrayValue)
    let count = try #require(answer.json?["usage"]?["completion_tokens"]?.intValue)
    #expect(count > 0 && tokens.count == count && values.count == count && likeliest.count == count)
    for (value, others) in zip(values, likeliest) {
      let all = try #require(others.objectValue).entries.compactMap { $0.1.doubleValue }
      #expect(all.count <= 3 && all.max() == value, "without chance the likeliest token comes")
      #expect(all.reduce(0) { $0 + exp($1) } <= 1.000_001)
    }
  }

  /// Of tokens that are chosen by chance alone many are a part of a character.
  @Test func partsOfCharactersAreToldByTheirBytes() throws {
    let answer = try TestServer().ask(
      "POST", "/v1/completions", #"{"prompt": "a", "temperature": 100, "seed": 5, "max_tokens": 100, "logprobs": 1}"#)
    let found = try #require(answer.json?["choices"]?.arrayValue?.first?["logprobs"])
    let tokens = try #require(found["tokens"]?.arrayValue).compactMap(\.stringValue)
    #expect(tokens.contains { $0.hasPrefix(#"bytes:\x"#) } && !tokens.contains { $0.contains("\u{FFFD}") })
  }

  @Test func theSeedDecidesWhatIsDrawn() throws {
    let server = try TestServer()
    func text(_ seed: Int) throws -> String? {
      try server.ask(
        "POST", "/v1/completions",
        #"{"prompt": "the cup is", "temperature": 1.5, "seed": \#(seed), "max_tokens": 16}"#
      ).text
    }
    let first = try text(1)
    #expect(try first == text(1))
    #expect(try first != text(2))
  }

  /// By its number for a request, or for all that name none.
  @Test func adaptersAreChosenByNumberToo() throws {
    let server = try TestServer()
    let (plain, one) = try (server.expected(Self.prompts[1]), server.expected(Self.prompts[1], adapter: "one"))
    let body = #"{"prompt": "\#(Self.prompts[1])", "temperature": 0, "max_tokens": 16"#
    let chosen = try server.ask("POST", "/v1/completions", body + #", "lora": [{"id": 0, "scale": 1}]}"#)
    #expect(chosen.text == one)
    #expect(try server.ask("POST", "/v1/completions", body + "}").text == plain)
    #expect(try server.ask("POST", "/lora-adapters", #"[{"id": 0, "scale": 1}, {"id": 1, "scale": 0}]"#).status == 200)
    #expect(try server.ask("POST", "/v1/completions", body + "}").text == one)
    let scales = try #require(server.ask("GET", "/lora-adapters").json?.arrayValue).compactMap { $0["scale"]?.intValue }
    #expect(scales == [1, 0])
    let names = try #require(server.ask("GET", "/v1/models").json?["data"]?.arrayValue)
    #expect(names.compactMap { $0["id"]?.stringValue } == ["tiny", "one", "two"])
  }

  /// Heads of opposite signs say opposite labels.
  @Test func labelsAreThoseOfTheAdapterThatIsNamed() throws {
    try withTemporaryFolder { folder in
      let adapters = [("one", Float(1)), ("two", -1)].map { (name: $0.0, path: "\(folder)/\($0.0)", head: $0.1) }
      for adapter in adapters { try writeAdapter(to: adapter.path, seed: 0, head: adapter.head) }
      let named = adapters.map { (name: $0.name, path: $0.path) }
      let loaded = try LoadedModel(directory: tinyLlama, adapters: named, precision: .int8, threads: 1)
      var options = ModelServer.Options()
      options.port = 0
      let server = try ModelServer(loaded, name: "tiny", adapters: named, options: options)
      defer { server.stop() }
      func ask(_ more: String) throws -> Answer {
        let connection = try Connection(server)
        connection.send("POST", "/v1/classify", #"{"input": "the cup is in the"\#(more)}"#)
        return connection.receive()
      }
      func label(_ more: String) throws -> String? {
        try ask(more).json?["data"]?.arrayValue?.first?["label"]?.stringValue
      }
      let (one, two) = (try label(#", "model": "one""#), try label(#", "model": "two""#))
      #expect(one != nil && two != nil && one != two)
      // Where none is named it is the first, whose head the model has.
      #expect(try label("") == one)
      #expect(try label(#", "model": "tiny""#) == one)
      #expect(try ask(#", "model": "three""#).status == 404)
      #expect(try ask(#", "lora": []"#).message?.contains("head") == true)
    }
  }
}
