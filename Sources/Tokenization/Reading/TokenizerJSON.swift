import Formats

/// Parts of a `tokenizer.json`, for tokenizers that come in another form.
enum TokenizerJSON {
  /// SentencePiece's mark for spaces.
  static let mark = "\u{2581}"

  static func object(_ entries: [(String, JSONValue)]) -> JSONValue {
    .object(JSONObject(entries.map { ($0.0, $0.1) }))
  }

  static func typed(_ type: String, _ entries: [(String, JSONValue)] = []) -> JSONValue {
    object([("type", .string(type))] + entries)
  }

  /// A whole document; what is not named is null.
  static func document(
    addedTokens: [JSONValue], normalizer: JSONValue = .null, preTokenizer: JSONValue = .null,
    postProcessor: JSONValue = .null, decoder: JSONValue, model: JSONValue
  ) -> JSONValue {
    object([
      ("version", .string("1.0")), ("truncation", .null), ("padding", .null), ("added_tokens", .array(addedTokens)),
      ("normalizer", normalizer), ("pre_tokenizer", preTokenizer), ("post_processor", postProcessor),
      ("decoder", decoder), ("model", model),
    ])
  }

  static func addedToken(_ text: String, id: Int, isSpecial: Bool, stripsLeft: Bool = false, stripsRight: Bool = false)
    -> JSONValue
  {
    object([
      ("id", .integer(id)), ("content", .string(text)), ("single_word", .bool(false)), ("lstrip", .bool(stripsLeft)),
      ("rstrip", .bool(stripsRight)), ("normalized", .bool(false)), ("special", .bool(isSpecial)),
    ])
  }

  // MARK: models

  static func bytePair(
    vocabulary: JSONValue, merges: [JSONValue], unknown: String? = nil, fusesUnknown: Bool = false,
    byteFallback: Bool = false, ignoresMerges: Bool = false
  ) -> JSONValue {
    typed(
      "BPE",
      [
        ("dropout", .null), ("unk_token", unknown.map { .string($0) } ?? .null), ("continuing_subword_prefix", .null),
        ("end_of_word_suffix", .null), ("fuse_unk", .bool(fusesUnknown)), ("byte_fallback", .bool(byteFallback)),
        ("ignore_merges", .bool(ignoresMerges)), ("vocab", vocabulary), ("merges", .array(merges)),
      ])
  }

  static func unigram(_ tokens: [(text: String, score: Double)], unknownID: Int?, byteFallback: Bool = false)
    -> JSONValue
  {
    typed(
      "Unigram",
      [
        ("unk_id", unknownID.map { .integer($0) } ?? .null),
        ("vocab", .array(tokens.map { .array([.string($0.text), .number($0.score)]) })),
        ("byte_fallback", .bool(byteFallback)),
      ])
  }

  static func wordPiece(vocabulary: JSONValue, unknown: String) -> JSONValue {
    typed(
      "WordPiece",
      [
        ("unk_token", .string(unknown)), ("continuing_subword_prefix", .string("##")),
        ("max_input_chars_per_word", .integer(100)), ("vocab", vocabulary),
      ])
  }

  // MARK: steps

  static func sequence(_ list: String, _ steps: [JSONValue]) -> JSONValue {
    steps.isEmpty ? .null : steps.count == 1 ? steps[0] : typed("Sequence", [(list, .array(steps))])
  }

  static func byteLevel(addsPrefixSpace: Bool = false, trimsOffsets: Bool = true, usesPattern: Bool = true) -> JSONValue
  {
    typed(
      "ByteLevel",
      [
        ("add_prefix_space", .bool(addsPrefixSpace)), ("trim_offsets", .bool(trimsOffsets)),
        ("use_regex", .bool(usesPattern)),
      ])
  }

  static func split(_ pattern: String) -> JSONValue {
    typed(
      "Split",
      [
        ("pattern", object([("Regex", .string(pattern))])), ("behavior", .string("Isolated")), ("invert", .bool(false)),
      ])
  }

  static func replace(_ text: String, by other: String) -> JSONValue {
    typed("Replace", [("pattern", object([("String", .string(text))])), ("content", .string(other))])
  }

  static func replace(pattern: String, by other: String) -> JSONValue {
    typed("Replace", [("pattern", object([("Regex", .string(pattern))])), ("content", .string(other))])
  }

  static func metaspace(_ scheme: String, splits: Bool = true) -> JSONValue {
    typed(
      "Metaspace",
      [("replacement", .string(mark)), ("prepend_scheme", .string(scheme)), ("split", .bool(splits))])
  }

  /// Marks become spaces, bytes characters, and perhaps the space in front goes.
  static func sentencePieceDecoder(stripsStart: Bool) -> JSONValue {
    let strip = typed("Strip", [("content", .string(" ")), ("start", .integer(1)), ("stop", .integer(0))])
    return sequence(
      "decoders", [replace(mark, by: " "), typed("ByteFallback"), typed("Fuse")] + (stripsStart ? [strip] : []))
  }

  /// A part of a template: a text by its name, or a token.
  enum TemplatePart {
    case text(String, type: Int = 0)
    case token(String, type: Int = 0)
  }

  static func template(single: [TemplatePart], pair: [TemplatePart], ids: [(token: String, id: Int)]) -> JSONValue {
    func part(_ part: TemplatePart) -> JSONValue {
      switch part {
      case .text(let name, let type):
        object([("Sequence", object([("id", .string(name)), ("type_id", .integer(type))]))])
      case .token(let text, let type):
        object([("SpecialToken", object([("id", .string(text)), ("type_id", .integer(type))]))])
      }
    }
    return typed(
      "TemplateProcessing",
      [
        ("single", .array(single.map(part))), ("pair", .array(pair.map(part))),
        (
          "special_tokens",
          object(
            ids.map { token, id in
              (
                token,
                object([
                  ("id", .string(token)), ("ids", .array([.integer(id)])), ("tokens", .array([.string(token)])),
                ])
              )
            })
        ),
      ])
  }

  /// A token before and perhaps one after each text; nothing if there is neither.
  static func ends(start: (token: String, id: Int)?, end: (token: String, id: Int)?, secondType: Int = 1) -> JSONValue {
    if start == nil, end == nil { return .null }
    func around(_ name: String, _ type: Int) -> [TemplatePart] {
      (start.map { [.token($0.token, type: type)] } ?? []) + [.text(name, type: type)]
        + (end.map { [.token($0.token, type: type)] } ?? [])
    }
    var ids = start.map { [$0] } ?? []
    if let end, end.token != start?.token { ids.append(end) }
    return template(single: around("A", 0), pair: around("A", 0) + around("B", secondType), ids: ids)
  }

  // MARK: tables

  /// Merges in the order in which a SentencePiece model does them: every way to make a token of two others, those of the
  /// first `rank` first.
  /// - Parameter rank: of each token; the least is made first
  static func merges<Rank: Comparable>(
    of tokens: [String], rank: (Int) -> Rank, except: (Int) -> Bool = { _ in false }
  ) -> [JSONValue] {
    // By bytes: for Swift, strings are equal where only their meaning is.
    var vocabulary = Vocabulary(reserving: tokens.count)
    for (id, token) in tokens.enumerated().reversed() where !except(id) { vocabulary.insert(token, id: id) }
    var merges: [(rank: Rank, cut: Int, leftID: Int32, rightID: Int32, id: Int)] = []
    for (id, token) in tokens.enumerated() where !except(id) {
      var token = token
      token.withUTF8 { bytes in
        var cut = 0
        while cut < bytes.count {
          cut += bytes.scalar(at: cut).length
          guard cut < bytes.count else { break }
          if let left = vocabulary.id(bytes.part(0..<cut)), let right = vocabulary.id(bytes.part(cut..<bytes.count)) {
            merges.append((rank(id), cut, left, right, id))
          }
        }
      }
    }
    merges.sort { a, b in
      if a.rank != b.rank { return a.rank < b.rank }
      return a.id != b.id ? a.id < b.id : a.cut < b.cut
    }
    return merges.map { .array([.string(tokens[Int($0.leftID)]), .string(tokens[Int($0.rightID)])]) }
  }

  static func vocabulary(_ tokens: [String]) -> JSONValue {
    .object(JSONObject(tokens.enumerated().map { ($0.element, .integer($0.offset)) }))
  }
}
