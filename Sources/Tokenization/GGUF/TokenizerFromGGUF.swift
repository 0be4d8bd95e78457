import Formats

/// `tokenizer.json` and `tokenizer_config.json` rebuilt from a GGUF file's metadata.
public enum TokenizerFromGGUF {
  /// - Throws: `TokenizerError` with what the metadata lacks or says wrongly
  public static func tokenizerFiles(_ file: GGUFFile) throws -> RebuiltTokenizer {
    var builder = try GGUFTokenizerBuilder(file)
    let tokenizer = try builder.tokenizer()
    return RebuiltTokenizer(tokenizer: tokenizer, configuration: builder.configuration(), warnings: builder.warnings)
  }
}

/// Puts the parts of a tokenizer together from `tokenizer.ggml.*`.
private struct GGUFTokenizerBuilder {
  private let file: GGUFFile
  private let tokens: [String]
  private let types: [Int]
  private let model: String
  private(set) var warnings: [String] = []

  init(_ file: GGUFFile) throws {
    self.file = file
    tokens = file.metadata["tokenizer.ggml.tokens"]?.arrayValue?.compactMap(\.stringValue) ?? []
    types = file.metadata["tokenizer.ggml.token_type"]?.arrayValue?.compactMap(\.intValue) ?? []
    model = file.metadata["tokenizer.ggml.model"]?.stringValue ?? "missing"
    if tokens.isEmpty { throw refuse("metadata tokenizer.ggml.tokens is missing") }
  }

  private func refuse(_ reason: String) -> TokenizerError { TokenizerError(file: file.path, reason: reason) }

  private func key(_ name: String) -> GGUFValue? { file.metadata["tokenizer.ggml.\(name)"] }

  private func flag(_ name: String) -> Bool? { key(name)?.boolValue }

  /// 1 is a normal token, 2 the unknown one, 3 a command, 4 one that a user defined, 5 unused, 6 a byte.
  private func type(_ id: Int) -> Int { types.indices.contains(id) ? types[id] : 1 }

  private func end(_ name: String) -> (token: String, id: Int)? {
    key("\(name)_token_id")?.intValue.flatMap { tokens.indices.contains($0) ? (tokens[$0], $0) : nil }
  }

  mutating func tokenizer() throws -> JSONValue {
    switch model {
    case "gpt2": return try byteLevel()
    case "llama": return try sentencePiece(merges: try scoredMerges())
    case _ where model.hasPrefix("gemma"):
      return try sentencePiece(merges: key("merges") == nil ? try scoredMerges() : try writtenMerges())
    case "bert": return try wordPiece()
    case "t5", "unigram": return try unigram()
    default:
      throw refuse("tokenizer model \(model) is not supported; supported are gpt2, llama, gemma4, bert, t5")
    }
  }

  func configuration() -> JSONValue {
    var configuration = JSONObject([("tokenizer_class", .string("PreTrainedTokenizerFast"))])
    for (name, source) in [
      ("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding"),
      ("sep_token", "seperator"), ("cls_token", "cls"), ("mask_token", "mask"),
    ] {
      if let token = end(source)?.token { configuration[name] = .string(token) }
    }
    if model == "bert" {
      for (name, token) in [("cls_token", "[CLS]"), ("sep_token", "[SEP]"), ("unk_token", "[UNK]")]
      where configuration[name] == nil && tokens.contains(token) {
        configuration[name] = .string(token)
      }
    }
    configuration["clean_up_tokenization_spaces"] = .bool(false)
    if let template = file.metadata["tokenizer.chat_template"]?.stringValue {
      let withTools = file.metadata["tokenizer.chat_template.tool_use"]?.stringValue
      configuration["chat_template"] =
        withTools.map { .array([named("default", template), named("tool_use", $0)]) } ?? .string(template)
    }
    return .object(configuration)
  }

  private func named(_ name: String, _ template: String) -> JSONValue {
    TokenizerJSON.object([("name", .string(name)), ("template", .string(template))])
  }

  // MARK: kinds

  private mutating func byteLevel() throws -> JSONValue {
    let merges = try writtenMerges()
    let name: String
    if let pre = key("pre")?.stringValue {
      name = pre
    } else {
      name = GGUFPreTokenizer.guess(
        architecture: file.metadata["general.architecture"]?.stringValue ?? "", tokens: Set(tokens))
      warnings.append(
        "\(file.path): tokenizer.ggml.pre is missing; text is cut as \(name) does, guessed from the tokens and the "
          + "architecture")
    }
    guard let pre = GGUFPreTokenizer(name) else {
      throw refuse("pre-tokenizer \(name) is not supported; supported are \(GGUFPreTokenizer.supported)")
    }
    if name == "default" {
      warnings.append("\(file.path): tokenizer.ggml.pre is default; text is cut as gpt-2 does")
    }
    var ends = ends(start: pre.addsStart, end: false)
    if name == "roberta-bpe", let start = end("bos") ?? end("cls"), let end = end("eos") ?? end("seperator") {
      ends = TokenizerJSON.template(
        single: [.token(start.token), .text("A"), .token(end.token)],
        pair: [
          .token(start.token), .text("A"), .token(end.token), .token(end.token), .text("B"), .token(end.token),
        ], ids: [start, end])
    }
    return TokenizerJSON.document(
      addedTokens: addedTokens(), normalizer: pre.normalizer,
      preTokenizer: TokenizerJSON.sequence("pretokenizers", pre.steps), postProcessor: ends,
      decoder: TokenizerJSON.byteLevel(),
      model: TokenizerJSON.bytePair(
        vocabulary: TokenizerJSON.vocabulary(tokens), merges: merges, ignoresMerges: pre.ignoresMerges))
  }

  private func sentencePiece(merges: [JSONValue]) throws -> JSONValue {
    let addsSpace = flag("add_space_prefix") ?? (model == "llama")
    let prepend = TokenizerJSON.typed("Prepend", [("prepend", .string(TokenizerJSON.mark))])
    return TokenizerJSON.document(
      addedTokens: addedTokens(),
      normalizer: TokenizerJSON.typed(
        "Sequence",
        [
          (
            "normalizers",
            .array((addsSpace ? [prepend] : []) + [TokenizerJSON.replace(" ", by: TokenizerJSON.mark)])
          )
        ]), postProcessor: ends(start: true, end: false),
      decoder: TokenizerJSON.sentencePieceDecoder(stripsStart: addsSpace),
      model: TokenizerJSON.bytePair(
        vocabulary: TokenizerJSON.vocabulary(tokens), merges: merges, unknown: end("unknown")?.token,
        fusesUnknown: true, byteFallback: true))
  }

  /// Tokens that start a word have a mark in front, those that continue one have none.
  private mutating func wordPiece() throws -> JSONValue {
    let mark = TokenizerJSON.mark
    let written = tokens.enumerated().map { id, token in
      if type(id) != 1 || (token.hasPrefix("[") && token.hasSuffix("]")) { return token }
      return token.hasPrefix(mark) ? String(token.unicodeScalars.dropFirst()) : "##" + token
    }
    guard let unknown = end("unknown")?.token ?? tokens.first(where: { $0 == "[UNK]" }),
      let start = named("cls", "[CLS]") ?? end("bos"), let end = named("seperator", "[SEP]") ?? end("eos")
    else { throw refuse("the tokens [UNK], [CLS] and [SEP] are not all there") }
    let lowercases = !written.enumerated().contains { id, token in
      type(id) == 1 && !token.hasPrefix("[") && token.utf8.contains { (0x41...0x5A).contains($0) }
    }
    warnings.append(
      "\(file.path): the file does not say whether the tokenizer tells capitals apart; from its tokens, it does\(lowercases ? " not" : "")"
    )
    return TokenizerJSON.document(
      addedTokens: addedTokens(),
      normalizer: TokenizerJSON.typed(
        "BertNormalizer",
        [
          ("clean_text", .bool(true)), ("handle_chinese_chars", .bool(true)), ("strip_accents", .null),
          ("lowercase", .bool(lowercases)),
        ]), preTokenizer: TokenizerJSON.typed("BertPreTokenizer"),
      postProcessor: TokenizerJSON.template(
        single: [.token(start.token), .text("A"), .token(end.token)],
        pair: [.token(start.token), .text("A"), .token(end.token), .text("B", type: 1), .token(end.token, type: 1)],
        ids: [start, end]),
      decoder: TokenizerJSON.typed("WordPiece", [("prefix", .string("##")), ("cleanup", .bool(true))]),
      model: TokenizerJSON.wordPiece(vocabulary: TokenizerJSON.vocabulary(written), unknown: unknown))
  }

  private func named(_ key: String, _ token: String) -> (token: String, id: Int)? {
    end(key) ?? tokens.firstIndex(of: token).map { (token, $0) }
  }

  private func unigram() throws -> JSONValue {
    let scores = try scores()
    let map = key("precompiled_charsmap")?.arrayValue?.compactMap { $0.intValue.map { UInt8(truncatingIfNeeded: $0) } }
    var normalizers: [JSONValue] = []
    if let map, !map.isEmpty {
      normalizers.append(
        TokenizerJSON.typed("Precompiled", [("precompiled_charsmap", .string(Base64.encode(map)))]))
    }
    let scheme = flag("add_space_prefix") ?? true ? "always" : "never"
    let hasStart = flag("add_bos_token") ?? false
    var ends = ends(start: false, end: true)
    if hasStart, let start = end("bos"), let end = end("eos") {
      // Of the models with a token in front, XLM-RoBERTa sets pairs apart by two.
      ends = TokenizerJSON.template(
        single: [.token(start.token), .text("A"), .token(end.token)],
        pair: [
          .token(start.token), .text("A"), .token(end.token), .token(end.token), .text("B"), .token(end.token),
        ], ids: [start, end])
    } else if let end = end("eos"), flag("add_eos_token") ?? true {
      ends = TokenizerJSON.ends(start: nil, end: end, secondType: 0)
    }
    return TokenizerJSON.document(
      addedTokens: addedTokens(), normalizer: TokenizerJSON.sequence("normalizers", normalizers),
      preTokenizer: TokenizerJSON.sequence(
        "pretokenizers", [TokenizerJSON.typed("WhitespaceSplit"), TokenizerJSON.metaspace(scheme)]),
      postProcessor: ends, decoder: TokenizerJSON.metaspace(scheme),
      model: TokenizerJSON.unigram(
        zip(tokens, scores).map { (text: $0, score: $1) },
        unknownID: end("unknown")?.id ?? tokens.firstIndex(of: "<unk>")))
  }

  // MARK: parts

  /// GGUF does not say that tokens take white space along. Those of Phi-3's turns take what follows them; source: llama.cpp's
  /// loader and transformers' reader of GGUF, which know it too.
  private func addedTokens() -> [JSONValue] {
    let isPhi3 = file.metadata["general.architecture"]?.stringValue == "phi3" && model == "llama"
    let plain = ["<unk>", "<s>", "<|endoftext|>"]
    return tokens.enumerated().compactMap { id, token in
      guard (2...4).contains(type(id)) else { return nil }
      return TokenizerJSON.addedToken(
        token, id: id, isSpecial: type(id) != 4, stripsRight: isPhi3 && type(id) == 3 && !plain.contains(token))
    }
  }

  /// The tokens before and after each text; `start` and `end` say what holds where the file says nothing.
  private func ends(start: Bool, end: Bool) -> JSONValue {
    TokenizerJSON.ends(
      start: flag("add_bos_token") ?? start ? self.end("bos") : nil,
      end: flag("add_eos_token") ?? end ? self.end("eos") : nil)
  }

  private func writtenMerges() throws -> [JSONValue] {
    guard let list = key("merges")?.arrayValue?.compactMap(\.stringValue) else {
      throw refuse("metadata tokenizer.ggml.merges is missing")
    }
    return list.map { .string($0) }
  }

  private func scores() throws -> [Double] {
    guard let scores = key("scores")?.arrayValue?.compactMap(\.doubleValue), scores.count == tokens.count,
      scores.allSatisfy(\.isFinite)
    else { throw refuse("metadata tokenizer.ggml.scores is missing or has another length than the tokens") }
    return scores
  }

  private func scoredMerges() throws -> [JSONValue] {
    let scores = try scores()
    return TokenizerJSON.merges(of: tokens) { -scores[$0] }
  }
}
