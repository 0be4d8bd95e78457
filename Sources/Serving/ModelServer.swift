import Data
import Deployment
import Formats
import FoundationEssentials
import Glibc
import Kernels
import Memory
import Synchronization
import Tokenization

/// A model behind HTTP, as OpenAI's API and llama.cpp's server have it.
public final class ModelServer: @unchecked Sendable {
  // @unchecked: the tokenizer and the names are only read; what changes is behind mutexes.

  /// How a server is started.
  public struct Options: Sendable {
    public var address = "127.0.0.1"
    public var port = 8080
    /// Requests that are answered at once.
    public var parallel = 4
    /// Tokens of prompt and answer together.
    public var contextLength: Int?
    /// Requests that may wait.
    public var queueLimit = 64
    /// Seconds that an answer may take, waiting included.
    public var timeLimit = 600.0
    public var keys: Set<String> = []
    /// Bytes of the whole process.
    public var maximumMemory: Int?
    public init() {}
  }

  private static let mostConnections = 4096
  private let options: Options
  private let modelName: String
  private let adapters: [(name: String, path: String)]
  private let tokenizer: Tokenizer
  private let engine: Engine?
  private let classifier: Classifier?
  private let started = time(nil)
  /// Place of the adapter that requests get which name none.
  private let usual: Mutex<Int?>
  private let serial = Mutex(0)
  private var http: HTTPServer?

  /// Loads nothing more than it is given, plans the memory and listens.
  ///
  /// - Parameters:
  ///   - name: what the model is called
  ///   - adapters: of `loaded`, in the order of their numbers
  /// - Throws: `ServerError`
  public init(_ loaded: LoadedModel, name: String, adapters: [(name: String, path: String)], options: Options) throws {
    self.options = options
    modelName = name
    self.adapters = adapters
    tokenizer = loaded.tokenizer
    // Its head may be the only one.
    usual = Mutex(loaded.model.description.labelling != nil && !adapters.isEmpty ? 0 : nil)
    if let same = adapters.first(where: { $0.name == name }) {
      throw ServerError(
        description: "the adapter in \(same.path) is called \(name), as the model is; name it as in --adapter "
          + "other=\(same.path)")
    }
    if loaded.model.description.labelling != nil {
      engine = nil
      loaded.select(adapters.first?.name)
      classifier = try Classifier(loaded)
    } else {
      guard !loaded.model.description.isEncoder else {
        throw ServerError(description: "an encoder without labels answers nothing; name an adapter with a head")
      }
      let length = try Self.contextLength(loaded, options)
      engine = try Engine(loaded, slots: options.parallel, contextLength: length, queueLimit: options.queueLimit)
      classifier = nil
    }
    do {
      http = try HTTPServer(
        HTTPServer.Options(
          address: options.address, port: options.port,
          // All that may be answered or wait, and some that are refused or ask for something else.
          connections: min(options.parallel + options.queueLimit + 32, Self.mostConnections),
          timeoutSeconds: max(600, Int(options.timeLimit) + 60)),
        answer: { [unowned self] request in answer(request) })
    } catch {
      engine?.stop()
      throw error
    }
  }

  /// The port that it listens on.
  public var port: Int { http?.port ?? 0 }
  /// Tokens of prompt and answer together; `nil` for a model with labels.
  public var contextLength: Int? { engine?.contextLength }

  /// The longest context that was asked for and fits.
  private static func contextLength(_ loaded: LoadedModel, _ options: Options) throws -> Int {
    let most = loaded.maximumPositions
    var length = min(options.contextLength ?? 4096, most)
    guard let budget = options.maximumMemory else { return length }
    func working(_ length: Int) throws -> Int {
      try Engine.byteCount(loaded, slots: options.parallel, contextLength: length)
    }
    let rest = loaded.processByteCount(working: 0)
    while length > 128, options.contextLength == nil, ByteCount.sum(rest, try working(length)) > budget { length /= 2 }
    try loaded.requireMemory(
      try working(length), within: budget, for: "the caches of \(options.parallel) x \(length) tokens",
      instead: "fewer --parallel or a smaller --ctx-size")
    return length
  }

  /// Takes no more requests, answers those that have begun, and ends.
  public func stop() {
    engine?.stop()
    http?.stop()
  }

  // MARK: Routes

  private func answer(_ request: HTTPRequest) -> HTTPResponse {
    do throws(APIError) {
      let path = request.path.hasSuffix("/") ? String(request.path.dropLast()) : request.path
      let isOpen = path == "/health" || path == "/v1/health"
      if !isOpen, !options.keys.isEmpty { try authorize(request) }
      // What HEAD asks for is GET's answer without its body, which the library leaves out.
      switch (request.method == "HEAD" ? "GET" : request.method, path) {
      case ("GET", "/health"), ("GET", "/v1/health"): return Self.json(.object(JSONObject([("status", .string("ok"))])))
      case ("GET", "/v1/models"): return Self.json(models)
      case ("GET", let one) where one.hasPrefix("/v1/models/"):
        return Self.json(try model(named: String(one.dropFirst("/v1/models/".count))))
      case ("GET", "/metrics"):
        let text = (engine?.counters ?? classifier?.counters)?.text(residentBytes: ProcessMemory.residentBytes) ?? ""
        return .whole(status: 200, contentType: "text/plain; version=0.0.4", body: Array(text.utf8))
      case ("GET", "/lora-adapters"): return Self.json(adapterList)
      case ("POST", "/lora-adapters"):
        try setUsualAdapter(request.body)
        return Self.json(adapterList)
      case ("POST", "/v1/chat/completions"): return try chat(RequestReader(request.body), of: request)
      case ("POST", "/v1/completions"): return try complete(RequestReader(request.body), of: request)
      case ("POST", "/v1/classify"):
        guard let classifier else { throw APIError(status: 404, "this model says no labels") }
        let reader = try RequestReader(request.body)
        return Self.json(
          try classifier.answer(
            reader, adapter: try adapter(of: reader), name: try reader.text("model") ?? modelName))
      default:
        let known = [
          "/health", "/v1/models", "/metrics", "/lora-adapters", "/v1/chat/completions", "/v1/completions",
          "/v1/classify",
        ]
        throw known.contains(path)
          ? APIError(status: 405, "\(request.method) is no method of \(path)")
          : APIError(status: 404, "there is no \(path.prefix(100)); there are \(known.joined(separator: ", "))")
      }
    } catch {
      (engine?.counters ?? classifier?.counters)?.add(refused: 1)
      return error.response
    }
  }

  private func authorize(_ request: HTTPRequest) throws(APIError) {
    let words = request.authorization?.split(separator: " ") ?? []
    guard words.count == 2, words[0].lowercased() == "bearer",
      options.keys.contains(where: { Self.isSame($0, String(words[1])) })
    else { throw APIError(status: 401, "a key is needed: Authorization: Bearer KEY") }
  }

  /// Takes as long wherever two keys differ.
  private static func isSame(_ a: String, _ b: String) -> Bool {
    let (a, b) = (Array(a.utf8), Array(b.utf8))
    return a.count == b.count && zip(a, b).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }

  static func json(_ value: JSONValue) -> HTTPResponse {
    .whole(status: 200, contentType: "application/json", body: Array(value.serialized().utf8))
  }

  private var modelNames: [String] { [modelName] + adapters.map(\.name) }

  private var models: JSONValue {
    .object(JSONObject([("object", .string("list")), ("data", .array(modelNames.map(about)))]))
  }

  private func about(_ name: String) -> JSONValue {
    .object(
      JSONObject([
        ("id", .string(name)), ("object", .string("model")), ("created", .integer(started)),
        ("owned_by", .string("edge-lora")),
      ]))
  }

  private func model(named name: String) throws(APIError) -> JSONValue {
    guard modelNames.contains(name) else { throw unknown(name) }
    return about(name)
  }

  private func unknown(_ name: String) -> APIError {
    APIError(
      status: 404, "there is no model \(name.prefix(100)); there are \(modelNames.joined(separator: ", "))")
  }

  // MARK: Adapters

  private var adapterList: JSONValue {
    let chosen = usual.withLock { $0 }
    return .array(
      adapters.enumerated().map { index, adapter in
        .object(
          JSONObject([
            ("id", .integer(index)), ("path", .string(adapter.path)), ("name", .string(adapter.name)),
            ("scale", .number(index == chosen ? 1 : 0)),
          ]))
      })
  }

  private func setUsualAdapter(_ body: [UInt8]) throws(APIError) {
    let json: JSONValue
    do { json = try body.withUnsafeBytes { try JSONValue.parse($0, file: "request") } } catch {
      throw APIError("the body is not JSON: \(error)")
    }
    let chosen = try adapter(scales: json)
    usual.withLock { $0 = chosen }
  }

  /// The adapter that a list of scales chooses: one at 1, all others at 0.
  private func adapter(scales json: JSONValue) throws(APIError) -> Int? {
    guard let list = json.arrayValue else { throw APIError("expected a list of adapters with id and scale") }
    var chosen: Int?
    for entry in list {
      guard let id = entry["id"]?.intValue, let scale = entry["scale"]?.doubleValue else {
        throw APIError("an adapter needs id and scale")
      }
      guard adapters.indices.contains(id) else { throw APIError("there is no adapter \(id)") }
      if scale == 0 { continue }
      guard scale == 1, chosen == nil else { throw APIError("one adapter at a time, with a scale of 1") }
      chosen = id
    }
    return chosen
  }

  /// The adapter of a request: by `lora`, by the name of a model, or the usual one.
  private func adapter(of request: RequestReader) throws(APIError) -> String? {
    if let scales = request["lora"] { return try adapter(scales: scales).map { adapters[$0].name } }
    if let model = try request.text("model") {
      if adapters.contains(where: { $0.name == model }) { return model }
      let isBase = model == modelName || model.isEmpty || model == "default"
      guard isBase else { throw unknown(model) }
      if model == modelName, !adapters.isEmpty, usual.withLock({ $0 }) == nil { return nil }
    }
    return usual.withLock { $0 }.map { adapters[$0].name }
  }

  // MARK: Answers

  private func complete(_ reader: RequestReader, of request: HTTPRequest) throws(APIError) -> HTTPResponse {
    guard let prompts = try reader.texts("prompt", most: 1), let prompt = prompts.first else {
      throw APIError("prompt is missing: one text")
    }
    return try respond(
      reader, of: request, prompt: tokenizer.encodeStart(prompt), shape: .completion,
      alternatives: try reader.integer("logprobs", in: 0...20))
  }

  private func chat(_ reader: RequestReader, of request: HTTPRequest) throws(APIError) -> HTTPResponse {
    guard let messages = reader["messages"]?.arrayValue, !messages.isEmpty else {
      throw APIError("messages is missing: a list of role and content")
    }
    guard let template = tokenizer.chatTemplate else {
      throw APIError("this model has no chat template; /v1/completions continues a text")
    }
    let plain = try ChatMessages.plain(messages)
    let withObjects = ChatMessages.withArgumentsAsObjects(plain)
    var variables: [String: JSONValue] = [:]
    if let more = reader["chat_template_kwargs"] {
      guard let object = more.objectValue else { throw APIError("chat_template_kwargs is no object") }
      for (name, value) in object.entries { variables[name] = value }
    }
    if let tools = reader["tools"], tools.arrayValue == nil { throw APIError("tools is no list") }
    variables["tools"] = reader["tools"] ?? .null
    let text: String
    var ignoresTools = false
    /// Some templates put arguments down as the texts that they are, and refuse objects.
    func render() throws -> String {
      func render(_ messages: [JSONValue]) throws -> String {
        variables["messages"] = .array(messages)
        return try template.render(messages: [], addGenerationPrompt: true, variables: variables)
      }
      guard withObjects != plain else { return try render(plain) }
      do { return try render(withObjects) } catch { return try render(plain) }
    }
    do {
      text = try render()
      if reader["tools"]?.arrayValue?.isEmpty == false {
        variables["tools"] = .null
        ignoresTools = text == (try render())
      }
    } catch { throw APIError("the chat template refuses this: \(error)") }
    if ignoresTools { throw APIError("the chat template of this model has no place for tools") }
    let wantsProbabilities = try reader.flag("logprobs")
    let count = try reader.integer("top_logprobs", in: 0...20)
    guard count == nil || wantsProbabilities else { throw APIError("top_logprobs needs logprobs") }
    return try respond(
      reader, of: request, prompt: tokenizer.encode(text, addSpecialTokens: false), shape: .chat,
      alternatives: wantsProbabilities ? count ?? 0 : nil)
  }

  private func respond(
    _ reader: RequestReader, of request: HTTPRequest, prompt: [Int32], shape: AnswerShape, alternatives: Int?
  ) throws(APIError) -> HTTPResponse {
    guard let engine else { throw APIError(status: 404, "this model says labels: /v1/classify") }
    try UnmetWishes.refuse(in: reader)
    let number = serial.withLock {
      $0 += 1
      return $0
    }
    let wanted = try reader.integer("max_completion_tokens", in: 1...1_000_000)
    let older = try reader.integer("max_tokens", in: 1...1_000_000)
    let most = wanted ?? older ?? engine.contextLength
    let wantedAnswer = AnswerRequest(
      prompt: prompt, adapter: try adapter(of: reader), maximumTokens: most,
      sampling: try reader.sampling(seed: UInt64(number) &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(started)),
      stops: try reader.texts("stop", most: 16) ?? [], continuesText: shape == .completion, alternatives: alternatives,
      deadline: .now + .seconds(options.timeLimit))
    let wantsUsage = reader["stream_options"]?["include_usage"]?.boolValue ?? false
    let writer = AnswerWriter(
      shape: shape, id: "\(shape.prefix)-\(started)-\(number)", model: try reader.text("model") ?? modelName,
      created: time(nil), wantsUsage: wantsUsage)
    let isStream = try reader.flag("stream")
    let stream = try engine.submit(wantedAnswer)
    if isStream { return .stream(contentType: "text/event-stream", EventSource(stream, writer)) }
    return Self.json(try writer.whole(stream, isGone: request.isGone))
  }
}

extension RequestReader {
  /// How tokens are drawn.
  fileprivate func sampling(seed: UInt64) throws(APIError) -> SamplingOptions {
    SamplingOptions(
      temperature: try number("temperature", in: 0...100) ?? 1, topP: try number("top_p", in: 0...1) ?? 1,
      topK: try integer("top_k", in: 0...1_000_000) ?? 0,
      seed: try integer("seed", in: Int.min...Int.max).map { UInt64(bitPattern: Int64($0)) } ?? seed)
  }
}
