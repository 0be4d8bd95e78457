import Formats

/// Builds a pipeline from the parts of `tokenizer.json`.
///
/// `truncation` and `padding` are left aside: lengths are the business of whoever asks for ids.
struct TokenizerReader {
  private let document: TokenizerDocument

  init(_ document: TokenizerDocument) { self.document = document }

  private func refuse(_ reason: String) -> TokenizerError { TokenizerError(file: document.file, reason: reason) }

  func pipeline() throws -> TokenizerPipeline {
    let settings = document.settings
    var normalizers: [Normalizer] = []
    try forEachStep(settings["normalizer"], "normalizers") { normalizers.append(try normalizer($0)) }
    var preTokenizers: [PreTokenizer] = []
    try forEachStep(settings["pre_tokenizer"], "pretokenizers") { preTokenizers += try preTokenizer($0) }
    let vocabulary = try readVocabulary()
    let byteTokens = Self.byteTokens(vocabulary, &preTokenizers)
    var pipeline = TokenizerPipeline(model: try model(vocabulary, byteTokens))
    pipeline.normalizers = normalizers
    pipeline.preTokenizers = preTokenizers
    try readAddedTokens(settings["added_tokens"], into: &pipeline)
    try forEachStep(settings["post_processor"], "processors") { try readPostProcessor($0, into: &pipeline) }
    try forEachStep(settings["decoder"], "decoders") { step in
      if let step = try decoder(step) { pipeline.decoder.steps.append(step) }
      pipeline.decoder.separatesWithSpaces = false
    }
    return pipeline
  }

  /// Runs `body` on a step, or on each step of a `Sequence`.
  private func forEachStep(_ json: JSONValue?, _ list: String, _ body: (JSONValue) throws -> Void) throws {
    guard let json, json != .null else { return }
    if json["type"]?.stringValue == "Sequence" {
      for step in json[list]?.arrayValue ?? [] { try forEachStep(step, list, body) }
    } else {
      try body(json)
    }
  }

  // MARK: model

  private func readVocabulary() throws -> Vocabulary {
    if let type = document.model["type"]?.stringValue, type != "BPE" {
      throw refuse("a model of type \(type) is not supported; supported is BPE")
    }
    var count = 0
    try document.forEachToken { _, _ in count += 1 }
    if count == 0 { throw refuse("the vocabulary is empty") }
    var vocabulary = Vocabulary(reserving: count)
    try document.forEachToken { token, id in
      // Ids may have gaps, but not so many that the table is mostly empty.
      if id > count * 4 + 1000 { throw refuse("id \(id) is far greater than the number of tokens, \(count)") }
      vocabulary.insert(token, id: id)
    }
    return vocabulary
  }

  private func model(_ vocabulary: Vocabulary, _ byteTokens: [Int32]?) throws -> BytePairModel {
    let model = document.model
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] where model[key]?.stringValue?.isEmpty == false {
      throw refuse("model.\(key) is not supported")
    }
    if model["dropout"]?.doubleValue ?? 0 > 0 { throw refuse("model.dropout is not supported") }
    var unknownID: Int32?
    if let unknown = model["unk_token"]?.stringValue {
      unknownID = vocabulary.id(unknown)
      if unknownID == nil { throw refuse("model.unk_token \(unknown) is not in the vocabulary") }
    }
    var fallback: [Int32]?
    if model["byte_fallback"]?.boolValue == true {
      fallback = (0..<256).map { byte in
        let digits = String(byte, radix: 16, uppercase: true)
        return vocabulary.id("<0x\(digits.count == 1 ? "0" : "")\(digits)>") ?? -1
      }
    }
    let merges = try readMerges(vocabulary)
    let ignoresMerges = model["ignore_merges"]?.boolValue ?? false
    let canCut = byteTokens == nil && !ignoresMerges
    return BytePairModel(
      vocabulary: vocabulary, merges: merges, unknownID: unknownID,
      fusesUnknown: model["fuse_unk"]?.boolValue ?? false, byteFallback: fallback, ignoresMerges: ignoresMerges,
      byteTokens: byteTokens, seam: canCut ? Self.seam(vocabulary, merges) : nil)
  }

  private func readMerges(_ vocabulary: Vocabulary) throws -> MergeTable {
    // Most tokens come of one merge.
    var merges = MergeTable(reserving: vocabulary.count)
    var rank: UInt32 = 0
    var joined: [UInt8] = []
    try document.forEachMerge { left, right in
      joined.removeAll(keepingCapacity: true)
      joined.append(contentsOf: left)
      joined.append(contentsOf: right)
      guard let first = vocabulary.id(left), let second = vocabulary.id(right),
        let token = joined.withUnsafeBufferPointer({ vocabulary.id($0) })
      else {
        let pair = "\(String(decoding: left, as: UTF8.self)) \(String(decoding: right, as: UTF8.self))"
        throw refuse("merge \(rank) (\(pair.prefix(60))) names a token that is not in the vocabulary")
      }
      merges.insert(first, second, rank: rank, token: token)
      rank += 1
    }
    return merges
  }

  /// The tokens of single bytes, if all are in the vocabulary and writing bytes as characters is the last step; then
  /// that step is not done at all.
  private static func byteTokens(_ vocabulary: Vocabulary, _ steps: inout [PreTokenizer]) -> [Int32]? {
    guard case .byteCharacters? = steps.last, steps.dropLast().allSatisfy({ !$0.writesByteCharacters }) else {
      return nil
    }
    var tokens: [Int32] = []
    for byte in UInt8.min...UInt8.max {
      let character = withUnsafeBytes(of: byte) { ByteAlphabet.characters(of: $0.bindMemory(to: UInt8.self)) }
      guard let id = character.withUnsafeBufferPointer({ vocabulary.id($0) }) else { return nil }
      tokens.append(id)
    }
    steps.removeLast()
    return tokens
  }

  /// SentencePiece's mark for spaces, if no merge makes a token in which it follows anything else.
  private static func seam(_ vocabulary: Vocabulary, _ merges: MergeTable) -> [UInt8]? {
    let mark: [UInt8] = [0xE2, 0x96, 0x81]
    guard mark.withUnsafeBufferPointer({ vocabulary.id($0) }) != nil else { return nil }
    for token in merges.results {
      guard var rest = vocabulary.text(token) else { return nil }
      while rest.starts(with: mark) { rest = rest.dropFirst(mark.count) }
      while let start = rest.firstIndex(of: mark[0]) {
        if rest[start...].starts(with: mark) { return nil }
        rest = rest[(start + 1)...]
      }
    }
    return mark
  }

  // MARK: added tokens

  private func readAddedTokens(_ json: JSONValue?, into pipeline: inout TokenizerPipeline) throws {
    var raw: [AddedToken] = []
    var normalized: [AddedToken] = []
    for entry in json?.arrayValue ?? [] {
      guard let content = entry["content"]?.stringValue else { throw refuse("an added token has no content") }
      if content.isEmpty { continue }
      guard let id = pipeline.model.vocabulary.id(content).map({ Int($0) }) ?? entry["id"]?.intValue,
        id >= 0, id <= Vocabulary.largestID
      else { throw refuse("the added token \(content.prefix(40)) has no usable id") }
      let isSpecial = entry["special"]?.boolValue ?? false
      let isNormalized = entry["normalized"]?.boolValue ?? !isSpecial
      pipeline.addedIDs[Array(content.utf8)] = Int32(id)
      if isSpecial { pipeline.specialIDs.insert(Int32(id)) }
      var text = Array(content.utf8)
      if isNormalized {
        for normalizer in pipeline.normalizers { normalizer.apply(&text, UnicodeTable.shared) }
      }
      // Decoding gives what is looked for, as `tokenizers` does.
      pipeline.addedTokens[Int32(id)] = String(decoding: text, as: UTF8.self)
      let token = AddedToken(
        id: Int32(id), text: text, stripsLeft: entry["lstrip"]?.boolValue ?? false,
        stripsRight: entry["rstrip"]?.boolValue ?? false, isSingleWord: entry["single_word"]?.boolValue ?? false)
      if isNormalized { normalized.append(token) } else { raw.append(token) }
    }
    pipeline.rawTokens = AddedTokenFinder(raw)
    pipeline.normalizedTokens = AddedTokenFinder(normalized)
  }

  // MARK: steps

  private func pattern(_ json: JSONValue?) throws -> RegexPattern {
    if let literal = json?["String"]?.stringValue { return RegexPattern(literal: literal) }
    guard let text = json?["Regex"]?.stringValue else { throw refuse("a pattern is neither String nor Regex") }
    do {
      return try RegexPattern(text)
    } catch let error as RegexError {
      throw refuse("pattern \(text.prefix(200)): \(error.reason) is not supported (at character \(error.position))")
    }
  }

  private func normalizer(_ json: JSONValue) throws -> Normalizer {
    switch json["type"]?.stringValue ?? "missing" {
    case "NFC": return .form(.composed)
    case "NFD": return .form(.decomposed)
    case "NFKC": return .form(.compatibilityComposed)
    case "NFKD": return .form(.compatibilityDecomposed)
    case "Lowercase": return .lowercase
    case "Prepend": return .prepend(Array((json["prepend"]?.stringValue ?? "").utf8))
    case "Replace":
      return .replace(try pattern(json["pattern"]), with: Array((json["content"]?.stringValue ?? "").utf8))
    case "Strip":
      return .strip(left: json["strip_left"]?.boolValue ?? true, right: json["strip_right"]?.boolValue ?? true)
    case "ByteLevel": return .byteLevel
    case let type:
      throw refuse(
        "normalizer \(type) is not supported; supported are NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, "
          + "ByteLevel, Sequence")
    }
  }

  private func preTokenizer(_ json: JSONValue) throws -> [PreTokenizer] {
    switch json["type"]?.stringValue ?? "missing" {
    case "ByteLevel":
      var steps: [PreTokenizer] = []
      if json["add_prefix_space"]?.boolValue ?? true { steps.append(.prefixSpace) }
      if json["use_regex"]?.boolValue ?? true { steps.append(.words(.gpt2)) }
      return steps + [.byteCharacters]
    case "Split":
      let behavior = try behavior(json["behavior"])
      let invert = json["invert"]?.boolValue ?? false
      if let text = json["pattern"]?["Regex"]?.stringValue, let scanner = WordScanner(pattern: text) {
        // Its words are all of the text, so what is removed or kept is the other way round when inverted.
        if behavior == .isolated || (behavior == .removed && invert) { return [.words(scanner)] }
      }
      return [.split(try pattern(json["pattern"]), behavior, invert: invert)]
    case "Digits": return [.digits(individual: json["individual_digits"]?.boolValue ?? false)]
    case "Punctuation": return [.punctuation(try behavior(json["behavior"] ?? .string("Isolated")))]
    case "Whitespace": return [.whitespace]
    case "WhitespaceSplit": return [.whitespaceSplit]
    case "BertPreTokenizer": return [.whitespaceSplit, .punctuation(.isolated)]
    case "CharDelimiterSplit":
      return [.split(RegexPattern(literal: json["delimiter"]?.stringValue ?? " "), .removed, invert: false)]
    case "Metaspace":
      let name =
        json["prepend_scheme"]?.stringValue ?? (json["add_prefix_space"]?.boolValue ?? true ? "always" : "never")
      guard let scheme = PreTokenizer.PrependScheme(rawValue: name) else {
        throw refuse("prepend_scheme \(name) is not supported; supported are always, first, never")
      }
      return [.metaspace(replacement: try replacement(json), scheme, split: json["split"]?.boolValue ?? true)]
    case let type:
      throw refuse(
        "pre_tokenizer \(type) is not supported; supported are ByteLevel, Split, Digits, Metaspace, Punctuation, "
          + "Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit, Sequence")
    }
  }

  private func behavior(_ json: JSONValue?) throws -> PreTokenizer.Behavior {
    guard let behavior = json?.stringValue.flatMap({ PreTokenizer.Behavior(rawValue: $0) }) else {
      throw refuse("split behavior \(json?.serialized() ?? "missing") is not supported")
    }
    return behavior
  }

  private func replacement(_ json: JSONValue) throws -> [UInt8] {
    let text = json["replacement"]?.stringValue ?? "\u{2581}"
    guard text.unicodeScalars.count == 1 else { throw refuse("the replacement of a Metaspace is not one character") }
    return Array(text.utf8)
  }

  private func decoder(_ json: JSONValue) throws -> TokenDecoder.Step? {
    switch json["type"]?.stringValue ?? "missing" {
    case "ByteLevel": return .byteLevel
    case "ByteFallback": return .byteFallback
    case "Fuse": return .fuse
    case "Replace":
      return .replace(try pattern(json["pattern"]), with: Array((json["content"]?.stringValue ?? "").utf8))
    case "Strip":
      let content = json["content"]?.stringValue ?? " "
      let (start, stop) = (json["start"]?.intValue ?? 0, json["stop"]?.intValue ?? 0)
      guard content.unicodeScalars.count == 1, (0...1000).contains(start), (0...1000).contains(stop) else {
        throw refuse("the decoder Strip does not name one character and how many of it to take away")
      }
      return .strip(character: Array(content.utf8), start: start, stop: stop)
    case "Metaspace":
      let scheme =
        json["prepend_scheme"]?.stringValue ?? (json["add_prefix_space"]?.boolValue ?? true ? "always" : "never")
      return .metaspace(replacement: try replacement(json), dropsFirst: scheme != "never")
    case "BPEDecoder": return .endOfWord(suffix: Array((json["suffix"]?.stringValue ?? "</w>").utf8))
    case let type:
      throw refuse(
        "decoder \(type) is not supported; supported are ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, "
          + "BPEDecoder, Sequence")
    }
  }

  private func readPostProcessor(_ json: JSONValue, into pipeline: inout TokenizerPipeline) throws {
    switch json["type"]?.stringValue ?? "missing" {
    case "ByteLevel": break
    case "BertProcessing", "RobertaProcessing":
      guard let first = json["cls"]?.arrayValue?.last?.intValue, let last = json["sep"]?.arrayValue?.last?.intValue
      else {
        throw refuse("the post_processor does not name its tokens")
      }
      pipeline.prefix.insert(try id(first), at: 0)
      pipeline.suffix.append(try id(last))
    case "TemplateProcessing":
      var before: [Int32] = []
      var after: [Int32] = []
      var texts = 0
      for part in json["single"]?.arrayValue ?? [] {
        if part["Sequence"] != nil {
          texts += 1
        } else if let name = part["SpecialToken"]?["id"]?.stringValue {
          guard let ids = json["special_tokens"]?[name]?["ids"]?.arrayValue else {
            throw refuse("the post_processor uses the token \(name) without giving its ids")
          }
          for json in ids {
            let token = try id(json.intValue)
            if texts == 0 { before.append(token) } else { after.append(token) }
          }
        }
      }
      guard texts == 1 else { throw refuse("the post_processor's template for one text does not hold it once") }
      pipeline.prefix = before + pipeline.prefix
      pipeline.suffix += after
    case let type:
      throw refuse(
        "post_processor \(type) is not supported; supported are TemplateProcessing, ByteLevel, BertProcessing, "
          + "RobertaProcessing, Sequence")
    }
  }

  private func id(_ value: Int?) throws -> Int32 {
    guard let value, value >= 0, value <= Vocabulary.largestID else { throw refuse("the post_processor has a bad id") }
    return Int32(value)
  }
}
