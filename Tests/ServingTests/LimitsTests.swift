import Deployment
import Foundation
import Serving
import Testing

/// What is refused, and what ends.
struct LimitsTests {
  /// A text that is written until it is stopped: 400 tokens take the tiny model a moment.
  private static let long = #"{"prompt": "the cup is in the", "temperature": 2, "max_tokens": 400, "seed": 5}"#

  @Test(arguments: [
    ("", "JSON"), ("{", "JSON"), ("[]", "object"), ("{}", "prompt"), (#"{"prompt": 5}"#, "prompt"),
    (#"{"prompt": ["a", "b"]}"#, "prompt"), (#"{"prompt": ""}"#, "prompt"),
    (#"{"prompt": "a", "max_tokens": 0}"#, "max_tokens"),
    (#"{"prompt": "a", "temperature": -1}"#, "temperature"), (#"{"prompt": "a", "temperature": "hot"}"#, "temperature"),
    (#"{"prompt": "a", "top_p": 2}"#, "top_p"), (#"{"prompt": "a", "top_k": 1.5}"#, "top_k"),
    (#"{"prompt": "a", "stop": [5]}"#, "stop"), (#"{"prompt": "a", "n": 2}"#, "n "),
    (#"{"prompt": "a", "stream": "yes"}"#, "stream"), (#"{"prompt": "a", "lora": [{"id": 7, "scale": 1}]}"#, "7"),
    (#"{"prompt": "a", "lora": [{"id": 0, "scale": 0.5}]}"#, "scale"),
    (#"{"prompt": "a", "best_of": 3}"#, "best_of"), (#"{"prompt": "a", "echo": true}"#, "echo"),
    (#"{"prompt": "a", "suffix": "b"}"#, "suffix"), (#"{"prompt": "a", "logit_bias": {"5": -100}}"#, "logit_bias"),
    (#"{"prompt": "a", "presence_penalty": 0.5}"#, "presence_penalty"),
    (#"{"prompt": "a", "frequency_penalty": -1}"#, "frequency_penalty"), (#"{"prompt": "a", "min_p": 0.1}"#, "min_p"),
    (#"{"prompt": "a", "response_format": {"type": "json_object"}}"#, "response_format"),
    (#"{"prompt": "a", "tool_choice": "required"}"#, "tool_choice"), (#"{"prompt": "a", "grammar": "x"}"#, "grammar"),
  ])
  func whatIsWrongIsNamed(body: String, name: String) throws {
    let answer = try TestServer().ask("POST", "/v1/completions", body)
    #expect(answer.status == 400 || (body.contains(#""prompt": """#) && answer.status == 200))
    if answer.status == 400 { #expect(answer.message?.contains(name) == true, "\(answer.body)") }
  }

  @Test(arguments: [
    #""n_predict": 5"#, #""add_generation_prompt": false"#, #""chat_template": "x""#, #""guided_choice": ["a", "b"]"#,
    #""guided_json": {"type": "object"}"#, #""guided_regex": "a""#, #""guided_grammar": "a""#,
    #""structured_outputs": {"regex": "a"}"#,
  ])
  func whatWouldChangeTheAnswerIsRefused(field: String) throws {
    let answer = try TestServer().ask("POST", "/v1/completions", #"{"prompt": "a", "max_tokens": 2, \#(field)}"#)
    let name = String(field.split(separator: "\"")[0])
    #expect(answer.status == 400 && answer.message?.contains(name) == true, "\(answer.body)")
  }

  @Test func anAdapterIsNotCalledAsTheModelIs() throws {
    try withTemporaryFolder { folder in
      try writeAdapter(to: folder, seed: 0)
      let adapters = [(name: "tiny", path: folder)]
      let loaded = try LoadedModel(directory: tinyLlama, adapters: adapters, precision: .int8, threads: 1)
      var options = ModelServer.Options()
      options.port = 0
      #expect(throws: ServerError.self) {
        try ModelServer(loaded, name: "tiny", adapters: adapters, options: options)
      }
    }
  }

  /// The template of the tiny model knows none.
  @Test func toolsThatTheTemplateLeavesOutAreRefused() throws {
    let server = try TestServer()
    func ask(_ tools: String) throws -> (status: Int, message: String?) {
      let messages = #"[{"role": "user", "content": "a"}]"#
      let answer = try server.ask(
        "POST", "/v1/chat/completions", #"{"messages": \#(messages), "max_tokens": 2, "tools": \#(tools)}"#)
      return (answer.status, answer.message)
    }
    #expect(try ask("[]").status == 200)
    let refused = try ask(#"[{"type": "function", "function": {"name": "f"}}]"#)
    #expect(refused.status == 400 && refused.message?.contains("tools") == true)
    #expect(try ask(#"{"type": "function"}"#).message == "tools is no list")
  }

  /// Clients send defaults along, and fields that change nothing.
  @Test func wishesThatAreMetAnywayAreNoReasonToRefuse() throws {
    let fields = #""n": 1, "best_of": 1, "echo": false, "suffix": null, "logit_bias": {}, "presence_penalty": 0.0"#
    let more = #""frequency_penalty": 0, "response_format": {"type": "text"}, "tool_choice": "auto", "user": "me""#
    let body = #"{"prompt": "the cup", "max_tokens": 2, \#(fields), \#(more)}"#
    let answer = try TestServer().ask("POST", "/v1/completions", body)
    #expect(answer.status == 200, "\(answer.body)")
  }

  @Test func pathsMethodsAndModelsAreKnownOrRefused() throws {
    let server = try TestServer()
    #expect(try server.ask("GET", "/nothing").status == 404)
    #expect(try server.ask("GET", "/v1/models/one").body.contains("\"id\": \"one\""))
    let three = try server.ask("GET", "/v1/models/three")
    #expect(three.status == 404 && three.message?.contains("one, two") == true)
    #expect(try server.ask("PUT", "/v1/models", "x").status == 405)
    #expect(try server.ask("GET", "/v1/completions").status == 405)
    let unknown = try server.complete("a", model: "three")
    #expect(unknown.status == 404 && unknown.message?.contains("one, two") == true)
    #expect(try server.ask("POST", "/v1/classify", #"{"input": "a"}"#).status == 404)
    let tooLong = try server.complete(String(repeating: "cup ", count: 2000))
    #expect(tooLong.status == 400 && tooLong.message?.contains("512") == true)
    #expect(try server.ask("POST", "/v1/completions", String(repeating: "a", count: 5 << 20)).status == 413)
    #expect(try server.ask("GET", "/health").status == 200)
    let head = try server.ask("HEAD", "/health")
    #expect(head.status == 200 && head.body.isEmpty && head.head.contains("Content-Length: 1"), "\(head.head)")
    #expect(try server.ask("HEAD", "/v1/completions").status == 405)
  }

  @Test func aKeyIsNeededWhereThereAreKeys() throws {
    let server = try TestServer { $0.keys = ["secret", "other"] }
    for headers in [[], ["Authorization: Bearer wrong"], ["Authorization: secret"], ["Authorization: Bearer secretx"]] {
      #expect(try server.ask("GET", "/v1/models", headers: headers).status == 401)
    }
    #expect(try server.ask("GET", "/v1/models", headers: ["Authorization: Bearer secret"]).status == 200)
    #expect(try server.ask("GET", "/health").status == 200)
  }

  /// With no room to wait an idle server still answers, and of many long texts at once some are refused.
  @Test func moreThanMayWaitAreRefused() throws {
    let server = try TestServer {
      $0.parallel = 1
      $0.queueLimit = 0
    }
    let many = try (0..<16).map { _ in try Connection(server.server) }
    for connection in many { connection.send("POST", "/v1/completions", Self.long) }
    let answers = many.map { $0.receive() }
    #expect(answers.contains { $0.status == 200 })
    let refused = answers.filter { $0.status != 200 }
    #expect(!refused.isEmpty && refused.allSatisfy { $0.status == 429 && $0.head.contains("Retry-After") })
    try waitUntil { try server.metric("requests_active") == 0 }
    #expect(try server.complete("one two").status == 200)
  }

  @Test func theProgramDoesNotWriteForNobody() throws {
    let server = try TestServer { $0.contextLength = 512 }
    for more in ["", #", "stream": true"#] {
      let before = try server.metric("generated_tokens_total")
      var connection: Connection? = try Connection(server.server)
      connection?.send("POST", "/v1/completions", Self.endless(more))
      try waitUntil { try server.metric("generated_tokens_total") > before }
      connection = nil
      try waitUntil { try server.metric("requests_active") == 0 }
    }
  }

  /// Also where tokens come without a pause: of many long texts whose readers are gone, most is never written.
  @Test func readersThatAreGoneAreMissedWhileTokensCome() throws {
    let server = try TestServer {
      $0.contextLength = 512
      $0.parallel = 64
    }
    var connections = try (0..<64).map { _ in try Connection(server.server) }
    for connection in connections { connection.send("POST", "/v1/completions", Self.endless("")) }
    try waitUntil { try server.metric("requests_active") == 64 }
    connections = []
    try waitUntil { try server.metric("requests_active") == 0 }
    #expect(try server.metric("generated_tokens_total") < 24_000)
  }

  /// A text that goes on for as long as there is room, with probabilities, which take their time.
  private static func endless(_ more: String) -> String {
    #"{"prompt": "the cup is in the", "temperature": 100, "max_tokens": 500, "seed": 7, "logprobs": 20\#(more)}"#
  }

  @Test func anAnswerIsCutWhenItsTimeIsOver() throws {
    let server = try TestServer { $0.timeLimit = 0 }
    let answer = try server.complete("one two three")
    // Either it came too late to begin, or it has one token.
    #expect(answer.status == 503 || answer.json?["usage"]?["completion_tokens"]?.intValue == 1)
  }

  @Test func aBudgetShortensTheContextOrIsRefused() throws {
    let loaded = try LoadedModel(directory: tinyLlama, adapter: nil, precision: .int8, threads: 1)
    var options = ModelServer.Options()
    options.port = 0
    options.parallel = 64
    func length() throws -> Int? {
      let server = try ModelServer(loaded, name: "tiny", adapters: [], options: options)
      defer { server.stop() }
      return server.contextLength
    }
    #expect(try length() == 512)
    let most = loaded.processByteCount(working: try loaded.servingByteCount(slots: 64, contextLength: 512, chunk: 512))
    options.maximumMemory = most - (8 << 20)
    #expect(try length() == 256)
    options.contextLength = 512
    #expect(throws: BudgetTooSmall.self) { try length() }
    #expect(throws: BudgetTooSmall.self) { try TextGenerator(loaded, capacity: 512, budget: 1 << 20) }
  }

  /// Its engine's thread may begin only after the refusal.
  @Test func aServerWithoutAPortLeavesNothingBehind() throws {
    let first = try TestServer()
    for _ in 0..<20 {
      weak var model: LoadedModel?
      do {
        let loaded = try LoadedModel(directory: tinyLlama, adapter: nil, precision: .int8, threads: 1)
        model = loaded
        var options = ModelServer.Options()
        options.port = first.server.port
        #expect(throws: ServerError.self) {
          try ModelServer(loaded, name: "tiny", adapters: [], options: options)
        }
      }
      #expect(model == nil)
    }
  }

  /// A stop refuses what waits and lets an answer that has begun end.
  @Test func aStopLetsAnswersEnd() throws {
    let server = try TestServer { $0.parallel = 1 }
    let (begun, waiting) = try (Connection(server.server), Connection(server.server))
    begun.send("POST", "/v1/completions", Self.long)
    waiting.send("POST", "/v1/completions", Self.long)
    try waitUntil { try server.metric("generated_tokens_total") > 0 }
    server.server.stop()
    let statuses = [begun.receive().status, waiting.receive().status]
    #expect(statuses.contains(200) && statuses.allSatisfy { [200, 503].contains($0) }, "\(statuses)")
  }

  /// Only for what stays true once it is.
  private func waitUntil(_ isOver: () throws -> Bool) throws {
    while try !isOver() { usleep(1000) }
  }
}

extension TestServer {
  fileprivate func metric(_ name: String) throws -> Int {
    let lines = try ask("GET", "/metrics").body.split(separator: "\n")
    return lines.first { $0.hasPrefix("edgelora_\(name) ") }?.split(separator: " ").last.flatMap { Int($0) } ?? -1
  }
}
