import Formats

/// `tokenizer.json` and `tokenizer_config.json` rebuilt from a GGUF file's metadata.
public enum TokenizerFromGGUF {
  private static let llama3Pattern =
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  private static let qwen2Pattern =
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  private static func object(_ entries: [(String, JSONValue)]) -> JSONValue {
    .object(JSONObject(entries.map { ($0.0, $0.1) }))
  }

  public static func tokenizerFiles(_ file: GGUFFile) throws -> (tokenizer: JSONValue, configuration: JSONValue) {
    func key(_ name: String) -> GGUFValue? { file.metadata["tokenizer.ggml.\(name)"] }
    func refuse(_ reason: String) -> TokenizerError { TokenizerError(file: file.path, reason: reason) }
    guard let tokens = key("tokens")?.arrayValue?.compactMap(\.stringValue), !tokens.isEmpty else {
      throw refuse("metadata tokenizer.ggml.tokens is missing")
    }
    let types = key("token_type")?.arrayValue?.compactMap(\.intValue) ?? []
    let model = key("model")?.stringValue ?? "missing"
    var vocabulary = JSONObject()
    var added: [JSONValue] = []
    for (id, token) in tokens.enumerated() {
      vocabulary[token] = .integer(id)
      // Type 3 is a control token, type 4 one that a user defined; 2 is the unknown token.
      let type = id < types.count ? types[id] : 1
      if type == 3 || type == 4 || type == 2 {
        added.append(
          object([
            ("id", .integer(id)), ("content", .string(token)), ("single_word", .bool(false)), ("lstrip", .bool(false)),
            ("rstrip", .bool(false)), ("normalized", .bool(false)), ("special", .bool(type != 4)),
          ]))
      }
    }
    func token(_ name: String) -> String? {
      key("\(name)_token_id")?.intValue.flatMap { $0 >= 0 && $0 < tokens.count ? tokens[$0] : nil }
    }
    let merges: [JSONValue]
    var parts: [(String, JSONValue)]
    switch model {
    case "gpt2":
      guard let list = key("merges")?.arrayValue?.compactMap(\.stringValue) else {
        throw refuse("metadata tokenizer.ggml.merges is missing")
      }
      merges = list.map { .string($0) }
      parts = try byteLevelParts(pre: key("pre")?.stringValue ?? "default", refuse: refuse)
    case "llama":
      guard let scores = key("scores")?.arrayValue?.compactMap(\.doubleValue), scores.count == tokens.count else {
        throw refuse("metadata tokenizer.ggml.scores is missing or has another length than the tokens")
      }
      merges = mergesFromScores(tokens: tokens, scores: scores)
      parts = sentencePieceParts(addsSpace: key("add_space_prefix")?.boolValue ?? true)
    default: throw refuse("tokenizer model \(model) is not supported; supported are gpt2 and llama")
    }
    if key("add_bos_token")?.boolValue ?? (model == "llama"), let bos = token("bos"),
      let id = key("bos_token_id")?.intValue
    {
      parts.append(("post_processor", startOfText(bos, id: id)))
    }
    let tokenizer = object(
      [("version", .string("1.0")), ("truncation", .null), ("padding", .null), ("added_tokens", .array(added))] + parts
        + [
          (
            "model",
            object([
              ("type", .string("BPE")), ("dropout", .null),
              ("unk_token", model == "llama" ? token("unknown").map { .string($0) } ?? .null : .null),
              ("continuing_subword_prefix", .null), ("end_of_word_suffix", .null),
              ("fuse_unk", .bool(model == "llama")),
              ("byte_fallback", .bool(model == "llama")),
              ("ignore_merges", .bool(key("pre")?.stringValue == "llama-bpe")),
              ("vocab", .object(vocabulary)), ("merges", .array(merges)),
            ])
          )
        ])
    var configuration = JSONObject([("tokenizer_class", .string("PreTrainedTokenizerFast"))])
    for (name, source) in [
      ("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding"),
    ] {
      if let text = token(source) { configuration[name] = .string(text) }
    }
    configuration["clean_up_tokenization_spaces"] = .bool(false)
    if let template = file.metadata["tokenizer.chat_template"]?.stringValue {
      configuration["chat_template"] = .string(template)
    }
    return (tokenizer, .object(configuration))
  }

  private static func byteLevelParts(pre: String, refuse: (String) -> TokenizerError) throws -> [(String, JSONValue)] {
    func byteLevel(regex: Bool) -> JSONValue {
      object([
        ("type", .string("ByteLevel")), ("add_prefix_space", .bool(false)), ("trim_offsets", .bool(true)),
        ("use_regex", .bool(regex)),
      ])
    }
    func split(_ pattern: String) -> JSONValue {
      object([
        ("type", .string("Split")), ("pattern", object([("Regex", .string(pattern))])),
        ("behavior", .string("Isolated")), ("invert", .bool(false)),
      ])
    }
    let digits = object([("type", .string("Digits")), ("individual_digits", .bool(true))])
    let steps: [JSONValue]
    var normalizer = JSONValue.null
    switch pre {
    case "smollm", "starcoder", "refact", "command-r": steps = [digits, byteLevel(regex: true)]
    case "llama-bpe", "llama3", "llama-v3": steps = [split(llama3Pattern), byteLevel(regex: false)]
    case "qwen2", "deepseek-r1-qwen":
      steps = [split(qwen2Pattern), byteLevel(regex: false)]
      normalizer = object([("type", .string("NFC"))])
    case "default", "gpt-2", "gpt2": steps = [byteLevel(regex: true)]
    default:
      throw refuse("pre-tokenizer \(pre) is not supported; supported are smollm, llama-bpe, qwen2, gpt-2")
    }
    return [
      ("normalizer", normalizer),
      ("pre_tokenizer", object([("type", .string("Sequence")), ("pretokenizers", .array(steps))])),
      ("decoder", byteLevel(regex: true)),
    ]
  }

  private static func sentencePieceParts(addsSpace: Bool) -> [(String, JSONValue)] {
    func replace(_ from: String, _ to: String) -> JSONValue {
      object([("type", .string("Replace")), ("pattern", object([("String", .string(from))])), ("content", .string(to))])
    }
    let prepend = object([("type", .string("Prepend")), ("prepend", .string("\u{2581}"))])
    let strip = object([
      ("type", .string("Strip")), ("content", .string(" ")), ("start", .integer(1)), ("stop", .integer(0)),
    ])
    let decoders =
      [
        replace("\u{2581}", " "), object([("type", .string("ByteFallback"))]), object([("type", .string("Fuse"))]),
      ] + (addsSpace ? [strip] : [])
    return [
      (
        "normalizer",
        object([
          ("type", .string("Sequence")),
          ("normalizers", .array((addsSpace ? [prepend] : []) + [replace(" ", "\u{2581}")])),
        ])
      ),
      ("pre_tokenizer", .null),
      ("decoder", object([("type", .string("Sequence")), ("decoders", .array(decoders))])),
    ]
  }

  private static func startOfText(_ token: String, id: Int) -> JSONValue {
    let special = object([("SpecialToken", object([("id", .string(token)), ("type_id", .integer(0))]))])
    func sequence(_ name: String) -> JSONValue {
      object([("Sequence", object([("id", .string(name)), ("type_id", .integer(0))]))])
    }
    return object([
      ("type", .string("TemplateProcessing")), ("single", .array([special, sequence("A")])),
      ("pair", .array([special, sequence("A"), sequence("B")])),
      (
        "special_tokens",
        object([
          (
            token,
            object([
              ("id", .string(token)), ("ids", .array([.integer(id)])), ("tokens", .array([.string(token)])),
            ])
          )
        ])
      ),
    ])
  }

  /// A SentencePiece vocabulary has scores instead of merges: every way to make a token of two others is a merge, and
  /// tokens with higher scores are made first.
  private static func mergesFromScores(tokens: [String], scores: [Double]) -> [JSONValue] {
    // By bytes: for Swift, strings are equal where only their meaning is.
    var ids: [[UInt8]: Int] = [:]
    for (id, token) in tokens.enumerated() where ids[Array(token.utf8)] == nil { ids[Array(token.utf8)] = id }
    var merges: [(score: Double, left: Int, right: Int, text: [JSONValue])] = []
    for (id, token) in tokens.enumerated() {
      let scalars = Array(token.unicodeScalars)
      guard scalars.count > 1 else { continue }
      for cut in 1..<scalars.count {
        var left = String.UnicodeScalarView()
        left.append(contentsOf: scalars[..<cut])
        var right = String.UnicodeScalarView()
        right.append(contentsOf: scalars[cut...])
        if let a = ids[Array(String(left).utf8)], let b = ids[Array(String(right).utf8)] {
          merges.append((scores[id], a, b, [.string(String(left)), .string(String(right))]))
        }
      }
    }
    return merges.enumerated().sorted {
      if $0.element.score != $1.element.score { return $0.element.score > $1.element.score }
      return $0.offset < $1.offset
    }.map { .array($0.element.text) }
  }
}
