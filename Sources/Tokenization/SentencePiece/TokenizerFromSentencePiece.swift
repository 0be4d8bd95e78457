import Formats

/// `tokenizer.json` rebuilt from a SentencePiece model, as `transformers` (5.24) rebuilds it.
public enum TokenizerFromSentencePiece {
  /// How a family of models uses SentencePiece; other classes of tokenizers follow what the model itself says.
  enum Family {
    case llama
    case gemma
    case xlmRoberta
    case t5
    case plain

    /// - Parameter tokenizerClass: `tokenizer_class` of `tokenizer_config.json`, or one that goes with the model's type
    init(tokenizerClass: String) {
      switch tokenizerClass.hasSuffix("Fast") ? String(tokenizerClass.dropLast(4)) : tokenizerClass {
      case "LlamaTokenizer": self = .llama
      case "GemmaTokenizer": self = .gemma
      case "XLMRobertaTokenizer": self = .xlmRoberta
      case "T5Tokenizer": self = .t5
      default: self = .plain
      }
    }
  }

  /// Reads `tokenizer.model`.
  /// - Parameters:
  ///   - path: the model
  ///   - configuration: `tokenizer_config.json`
  ///   - modelType: `model_type` of `config.json`
  /// - Throws: `TokenizerError`, `FileError`
  public static func tokenizerFiles(
    _ path: String, configuration: JSONValue, modelType: String?
  ) throws -> RebuiltTokenizer {
    let file = try MappedFile(path: path)
    let model = try withExtendedLifetime(file) { try SentencePieceModel(file.bytes, file: path) }
    return try tokenizerFiles(model, configuration: configuration, modelType: modelType)
  }

  static func tokenizerFiles(
    _ model: SentencePieceModel, configuration: JSONValue, modelType: String?
  ) throws -> RebuiltTokenizer {
    // The class that these models name is Llama's, by which transformers does not read them.
    let isMisnamed = modelType == "mistral" || modelType == "phi3"
    let name = isMisnamed ? "" : SpecialTokens.tokenizerClass(configuration, modelType: modelType)
    let family = Family(tokenizerClass: name)
    var result = configuration.objectValue ?? JSONObject()
    let tokenizer: JSONValue
    switch (family, model.kind) {
    case (.llama, .bytePair):
      setDefaults(&result, ["bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"])
      tokenizer = try llama(model, result)
    case (.gemma, .bytePair):
      setDefaults(
        &result,
        [
          "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>",
          "mask_token": "<mask>",
        ])
      tokenizer = try gemma(model, result)
    case (.xlmRoberta, .unigram):
      setDefaults(
        &result,
        [
          "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>",
          "pad_token": "<pad>", "mask_token": "<mask>",
        ])
      tokenizer = try xlmRoberta(model, result)
    case (.t5, .unigram):
      setDefaults(&result, ["eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"])
      tokenizer = try t5(model, result)
    default:
      for (key, id) in [("bos_token", model.startID), ("eos_token", model.endID), ("unk_token", model.unknownID)] {
        if result[key] == nil, let text = model.text(id) { result[key] = .string(text) }
      }
      tokenizer = try plain(model, result)
    }
    return RebuiltTokenizer(tokenizer: tokenizer, configuration: .object(result), warnings: [])
  }

  private static func setDefaults(_ configuration: inout JSONObject, _ defaults: [String: String]) {
    for key in defaults.keys.sorted() where configuration[key] == nil {
      configuration[key] = defaults[key].map { .string($0) }
    }
  }

  // MARK: families

  private static func llama(_ model: SentencePieceModel, _ configuration: JSONObject) throws -> JSONValue {
    let addsSpace = configuration["add_prefix_space"]?.boolValue ?? true
    let isLegacy = configuration["legacy"]?.boolValue ?? false
    let tokens = model.pieces.map(\.text)
    return TokenizerJSON.document(
      addedTokens: added(model, tokens, configuration),
      preTokenizer: TokenizerJSON.metaspace(addsSpace ? isLegacy ? "always" : "first" : "never", splits: false),
      postProcessor: try ends(tokens, configuration),
      decoder: TokenizerJSON.sentencePieceDecoder(stripsStart: addsSpace),
      model: TokenizerJSON.bytePair(
        vocabulary: TokenizerJSON.vocabulary(tokens), merges: TokenizerJSON.merges(of: tokens) { $0 },
        fusesUnknown: true, byteFallback: true))
  }

  private static func gemma(_ model: SentencePieceModel, _ configuration: JSONObject) throws -> JSONValue {
    let tokens = model.pieces.map(\.text)
    return TokenizerJSON.document(
      addedTokens: added(model, tokens, configuration), normalizer: TokenizerJSON.replace(" ", by: TokenizerJSON.mark),
      preTokenizer: TokenizerJSON.typed(
        "Split",
        [
          ("pattern", TokenizerJSON.object([("String", .string(" "))])), ("behavior", .string("MergedWithPrevious")),
          ("invert", .bool(false)),
        ]),
      postProcessor: try ends(tokens, configuration), decoder: TokenizerJSON.sentencePieceDecoder(stripsStart: false),
      model: TokenizerJSON.bytePair(
        vocabulary: TokenizerJSON.vocabulary(tokens), merges: TokenizerJSON.merges(of: tokens) { $0 },
        unknown: special(configuration, "unk_token").flatMap { tokens.contains($0) ? $0 : nil }, fusesUnknown: true,
        byteFallback: true))
  }

  private static func xlmRoberta(_ model: SentencePieceModel, _ configuration: JSONObject) throws -> JSONValue {
    func name(_ key: String) -> String { special(configuration, key) ?? "" }
    let first = ["bos_token", "pad_token", "eos_token", "unk_token"].map { (text: name($0), score: 0.0) }
    let pieces = first + scored(model).dropFirst(3) + [(text: name("mask_token"), score: 0.0)]
    let tokens = pieces.map(\.text)
    let start = (token: name("bos_token"), id: 0)
    let end = (token: name("eos_token"), id: 2)
    let pair: [TokenizerJSON.TemplatePart] = [
      .token(start.token), .text("A"), .token(end.token), .token(end.token), .text("B"), .token(end.token),
    ]
    return TokenizerJSON.document(
      addedTokens: added(model, tokens, configuration), normalizer: charsMap(model),
      preTokenizer: words(addsSpace: configuration["add_prefix_space"]?.boolValue ?? true),
      postProcessor: TokenizerJSON.template(
        single: [.token(start.token), .text("A"), .token(end.token)], pair: pair, ids: [start, end]),
      decoder: TokenizerJSON.metaspace("always"), model: TokenizerJSON.unigram(pieces, unknownID: 3))
  }

  private static func t5(_ model: SentencePieceModel, _ configuration: JSONObject) throws -> JSONValue {
    let extraCount = configuration["extra_ids"]?.intValue ?? 100
    guard (0...100_000).contains(extraCount) else {
      throw TokenizerError(file: model.file, reason: "tokenizer_config.json: extra_ids \(extraCount) is not believed")
    }
    let extra = (0..<extraCount).reversed().map { "<extra_id_\($0)>" }
    let pieces = scored(model) + extra.map { (text: $0, score: 0.0) }
    let tokens = pieces.map(\.text)
    guard let endName = special(configuration, "eos_token"), let endID = tokens.firstIndex(of: endName) else {
      throw TokenizerError(file: model.file, reason: "the end token of tokenizer_config.json is not one of its pieces")
    }
    let end = (token: endName, id: endID)
    return TokenizerJSON.document(
      addedTokens: added(model, tokens, configuration, more: Set(extra)), normalizer: charsMap(model),
      preTokenizer: words(addsSpace: true),
      postProcessor: TokenizerJSON.template(
        single: [.text("A"), .token(endName)], pair: [.text("A"), .token(endName), .text("B"), .token(endName)],
        ids: [end]),
      decoder: TokenizerJSON.metaspace("always"), model: TokenizerJSON.unigram(pieces, unknownID: 2))
  }

  /// As the model's own settings say.
  private static func plain(_ model: SentencePieceModel, _ configuration: JSONObject) throws -> JSONValue {
    let tokens = model.pieces.map(\.text)
    let userDefined = model.pieces.filter { $0.type == .userDefined }.map(\.text)
    let isLegacy = configuration["legacy"]?.boolValue ?? true
    var normalizers = model.charsMap.isEmpty ? [] : [charsMap(model)]
    if model.removesExtraSpaces {
      normalizers.append(TokenizerJSON.replace(pattern: #"\A +| +\z"#, by: ""))
      normalizers.append(TokenizerJSON.replace(pattern: " {2,}", by: " "))
    }
    if model.escapesSpaces { normalizers.append(TokenizerJSON.replace(" ", by: TokenizerJSON.mark)) }
    if model.addsDummyPrefix, isLegacy {
      normalizers.append(
        TokenizerJSON.replace(pattern: #"\A"# + TokenizerJSON.mark, by: TokenizerJSON.mark + TokenizerJSON.mark))
    }
    var steps = model.addsDummyPrefix ? [TokenizerJSON.metaspace(isLegacy ? "always" : "first", splits: false)] : []
    if !userDefined.isEmpty {
      let longestFirst = userDefined.sorted { $0.unicodeScalars.count > $1.unicodeScalars.count }
      steps.append(TokenizerJSON.split(longestFirst.map(escaped).joined(separator: "|")))
    }
    let unknown = tokens[model.unknownID]
    let tokenModel =
      switch model.kind {
      case .unigram:
        TokenizerJSON.unigram(scored(model), unknownID: model.unknownID, byteFallback: model.usesByteFallback)
      case .bytePair:
        TokenizerJSON.bytePair(
          vocabulary: TokenizerJSON.vocabulary(tokens),
          merges: TokenizerJSON.merges(of: tokens, rank: { -model.pieces[$0].score }) {
            model.pieces[$0].type != .normal
          }, unknown: unknown, fusesUnknown: true, byteFallback: model.usesByteFallback,
          ignoresMerges: !userDefined.isEmpty)
      }
    var decoders = [TokenizerJSON.replace(TokenizerJSON.mark, by: " ")]
    if model.usesByteFallback { decoders.append(TokenizerJSON.typed("ByteFallback")) }
    if model.addsDummyPrefix || model.usesByteFallback { decoders.append(TokenizerJSON.typed("Fuse")) }
    if model.addsDummyPrefix {
      decoders.append(
        TokenizerJSON.typed("Strip", [("content", .string(" ")), ("start", .integer(1)), ("stop", .integer(0))]))
    }
    return TokenizerJSON.document(
      addedTokens: added(model, tokens, configuration, exceptUserDefined: true),
      normalizer: TokenizerJSON.sequence("normalizers", normalizers),
      preTokenizer: TokenizerJSON.sequence("pretokenizers", steps), postProcessor: try ends(tokens, configuration),
      decoder: TokenizerJSON.sequence("decoders", decoders), model: tokenModel)
  }

  // MARK: parts

  private static func special(_ configuration: JSONObject, _ key: String) -> String? {
    SpecialTokens.text(configuration[key])
  }

  private static func scored(_ model: SentencePieceModel) -> [(text: String, score: Double)] {
    model.pieces.map { ($0.text, Double($0.score)) }
  }

  private static func charsMap(_ model: SentencePieceModel) -> JSONValue {
    if model.charsMap.isEmpty { return .null }
    return TokenizerJSON.typed("Precompiled", [("precompiled_charsmap", .string(Base64.encode(model.charsMap)))])
  }

  private static func words(addsSpace: Bool) -> JSONValue {
    TokenizerJSON.sequence(
      "pretokenizers",
      [TokenizerJSON.typed("WhitespaceSplit"), TokenizerJSON.metaspace(addsSpace ? "always" : "never")])
  }

  private static func escaped(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      if scalar.isASCII, scalar != " ", !scalar.properties.isAlphabetic, scalar.properties.numericType == nil {
        result.append("\\")
      }
      result.append(scalar)
    }
    return String(result)
  }

  /// Pieces that are commands or symbols of the user, and the special tokens of the configuration.
  private static func added(
    _ model: SentencePieceModel, _ tokens: [String], _ configuration: JSONObject, more: Set<String> = [],
    exceptUserDefined: Bool = false
  ) -> [JSONValue] {
    var names = more
    for piece in model.pieces where piece.type == .control || (piece.type == .userDefined && !exceptUserDefined) {
      names.insert(piece.text)
    }
    for key in SpecialTokens.names { if let name = special(configuration, key), !name.isEmpty { names.insert(name) } }
    let further = SpecialTokens.furtherTokens(.object(configuration)).filter { !$0.isEmpty }
    names.formUnion(further)
    let mask = special(configuration, "mask_token")
    func token(_ text: String, id: Int) -> JSONValue {
      TokenizerJSON.addedToken(
        text, id: id, isSpecial: true,
        stripsLeft: text == mask && SpecialTokens.stripsLeft(configuration["mask_token"]))
    }
    // What the configuration lists by id behind the pieces; further special tokens get the ids behind those.
    var known = Set(tokens)
    var next = tokens.count
    var behind: [JSONValue] = []
    for entry in SpecialTokens.added(.object(configuration)) {
      guard let text = entry["content"]?.stringValue, let id = entry["id"]?.intValue else { continue }
      if known.insert(text).inserted {
        behind.append(entry)
        next = max(next, id + 1)
      } else {
        names.insert(text)
      }
    }
    for text in SpecialTokens.names.compactMap({ special(configuration, $0) }) + further
    where !text.isEmpty && known.insert(text).inserted {
      behind.append(token(text, id: next))
      next += 1
    }
    return tokens.enumerated().filter { names.contains($0.element) }.map { token($0.element, id: $0.offset) } + behind
  }

  /// The tokens that `add_bos_token` and `add_eos_token` of the configuration ask for.
  private static func ends(_ tokens: [String], _ configuration: JSONObject) throws -> JSONValue {
    func token(_ flag: String, _ key: String) -> (token: String, id: Int)? {
      guard configuration[flag]?.boolValue == true, let name = special(configuration, key) else { return nil }
      return tokens.firstIndex(of: name).map { (name, $0) }
    }
    return TokenizerJSON.ends(start: token("add_bos_token", "bos_token"), end: token("add_eos_token", "eos_token"))
  }
}
