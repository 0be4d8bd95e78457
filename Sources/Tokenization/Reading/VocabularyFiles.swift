import Formats

/// `tokenizer.json` rebuilt from `vocab.json` and `merges.txt`, or from `vocab.txt`.
enum VocabularyFiles {
  /// - Parameter configuration: `tokenizer_config.json`, completed
  static func bytePair(
    vocabulary path: String, merges mergesPath: String, configuration: JSONValue, modelType: String?
  ) throws -> JSONValue {
    guard let vocabulary = try JSONValue.parse(contentsOf: path).objectValue, !vocabulary.entries.isEmpty else {
      throw TokenizerError(file: path, reason: "is not a table of tokens and their ids")
    }
    let merges = try lines(of: mergesPath).filter { !$0.isEmpty && !$0.hasPrefix("#version") }
    let ids = Dictionary(
      vocabulary.entries.map { ($0.key, $0.value.intValue ?? -1) }, uniquingKeysWith: { first, _ in first })
    let tokens = SpecialTokens.tokens(configuration)
    func end(_ name: String) -> (token: String, id: Int)? {
      tokens[name].flatMap { token in ids[token].map { (token, $0) } }
    }
    func adds(_ key: String) -> Bool { configuration[key]?.boolValue ?? false }
    let addsSpace = adds("add_prefix_space")
    let name = SpecialTokens.tokenizerClass(configuration, modelType: modelType)
    var normalizer = JSONValue.null
    var preTokenizer = TokenizerJSON.byteLevel(addsPrefixSpace: addsSpace)
    var postProcessor = TokenizerJSON.ends(
      start: adds("add_bos_token") ? end("bos_token") : nil, end: adds("add_eos_token") ? end("eos_token") : nil)
    switch name {
    case "RobertaTokenizer":
      guard let start = end("cls_token"), let end = end("sep_token") else {
        throw TokenizerError(file: path, reason: "the tokens around a text are not in it: cls_token, sep_token")
      }
      func pair(_ token: (token: String, id: Int)) -> JSONValue { .array([.string(token.token), .integer(token.id)]) }
      postProcessor = TokenizerJSON.typed(
        "RobertaProcessing",
        [
          ("sep", pair(end)), ("cls", pair(start)),
          ("trim_offsets", .bool(configuration["trim_offsets"]?.boolValue ?? true)),
          ("add_prefix_space", .bool(addsSpace)),
        ])
    case "Qwen2Tokenizer":
      normalizer = TokenizerJSON.typed("NFC")
      preTokenizer = TokenizerJSON.sequence(
        "pretokenizers",
        [
          TokenizerJSON.split(WordScanner.qwen2Pattern),
          TokenizerJSON.byteLevel(addsPrefixSpace: addsSpace, usesPattern: false),
        ])
    case "GPTNeoXTokenizer": normalizer = TokenizerJSON.typed("NFC")
    default: break
    }
    return TokenizerJSON.document(
      addedTokens: added(configuration, ids), normalizer: normalizer, preTokenizer: preTokenizer,
      postProcessor: postProcessor, decoder: TokenizerJSON.byteLevel(),
      model: TokenizerJSON.bytePair(vocabulary: .object(vocabulary), merges: merges.map { .string($0) }))
  }

  /// - Parameter configuration: `tokenizer_config.json`, completed
  static func wordPiece(vocabulary path: String, configuration: JSONValue) throws -> JSONValue {
    var entries = JSONObject()
    var ids: [String: Int] = [:]
    var tokens = try lines(of: path)
    if tokens.last?.isEmpty == true { tokens.removeLast() }
    guard tokens.count <= Vocabulary.mostListed else {
      throw TokenizerError(file: path, reason: "has more than \(Vocabulary.mostListed) words, which is not believed")
    }
    for (id, token) in tokens.enumerated() {
      entries[token] = .integer(id)
      ids[token] = id
    }
    let special = SpecialTokens.tokens(configuration)
    let (start, end) = (special["cls_token"] ?? "[CLS]", special["sep_token"] ?? "[SEP]")
    guard let startID = ids[start], let endID = ids[end] else {
      throw TokenizerError(file: path, reason: "the tokens around a text are not in it: \(start), \(end)")
    }
    func option(_ key: String) -> JSONValue { configuration[key] ?? .null }
    return TokenizerJSON.document(
      addedTokens: added(configuration, ids),
      normalizer: TokenizerJSON.typed(
        "BertNormalizer",
        [
          ("clean_text", .bool(true)),
          ("handle_chinese_chars", .bool(option("tokenize_chinese_chars").boolValue ?? true)),
          ("strip_accents", option("strip_accents")), ("lowercase", .bool(option("do_lower_case").boolValue ?? true)),
        ]),
      preTokenizer: TokenizerJSON.typed("BertPreTokenizer"),
      postProcessor: TokenizerJSON.template(
        single: [.token(start), .text("A"), .token(end)],
        pair: [.token(start), .text("A"), .token(end), .text("B", type: 1), .token(end, type: 1)],
        ids: [(start, startID), (end, endID)]),
      decoder: TokenizerJSON.typed("WordPiece", [("prefix", .string("##")), ("cleanup", .bool(true))]),
      model: TokenizerJSON.wordPiece(vocabulary: .object(entries), unknown: special["unk_token"] ?? "[UNK]"))
  }

  /// The special tokens of the configuration and those that it lists by id.
  private static func added(_ configuration: JSONValue, _ ids: [String: Int]) -> [JSONValue] {
    var result: [JSONValue] = []
    var listed: Set<String> = []
    for (key, value) in configuration["added_tokens_decoder"]?.objectValue?.entries ?? [] {
      guard let id = Int(key), let text = value["content"]?.stringValue, var token = value.objectValue else { continue }
      token["id"] = .integer(id)
      listed.insert(text)
      result.append(.object(token))
    }
    // Special tokens that are not in the vocabulary get the ids behind.
    var next = (ids.values.max() ?? -1) + 1
    let named = SpecialTokens.names.map {
      (text: SpecialTokens.text(configuration[$0]) ?? "", stripsLeft: SpecialTokens.stripsLeft(configuration[$0]))
    }
    for (text, stripsLeft) in named + SpecialTokens.furtherTokens(configuration).map({ ($0, false) }) {
      guard !text.isEmpty, listed.insert(text).inserted else { continue }
      let id = ids[text] ?? next
      if id == next { next += 1 }
      result.append(TokenizerJSON.addedToken(text, id: id, isSpecial: true, stripsLeft: stripsLeft))
    }
    return result
  }

  private static func lines(of path: String) throws -> [String] {
    let file = try MappedFile(path: path)
    return try withExtendedLifetime(file) {
      guard file.bytes.bindMemory(to: UInt8.self).isUTF8 else {
        throw TokenizerError(file: path, reason: "the file is not UTF-8")
      }
      guard file.bytes.lazy.filter({ $0 == 0x0A }).count <= 2 * Vocabulary.mostListed else {
        throw TokenizerError(
          file: path, reason: "has more than \(2 * Vocabulary.mostListed) lines, which is not believed")
      }
      // The lines end with \n, perhaps after \r.
      return file.bytes.split(separator: 0x0A, omittingEmptySubsequences: false).map { line in
        String(decoding: line.last == 0x0D ? line.dropLast() : line, as: UTF8.self)
      }
    }
  }
}
