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
    try forEachStep(settings["normalizer"], "normalizers") { normalizers += try normalizer($0) }
    var preTokenizers: [PreTokenizer] = []
    try forEachStep(settings["pre_tokenizer"], "pretokenizers") { preTokenizers += try preTokenizer($0) }
    var pipeline = TokenizerPipeline(model: try ModelReader(document: document).model(&preTokenizers))
    pipeline.normalizers = normalizers
    pipeline.preTokenizers = preTokenizers
    try readAddedTokens(settings["added_tokens"], into: &pipeline)
    var processors = PostProcessorReader(file: document.file)
    try forEachStep(settings["post_processor"], "processors") { try processors.read($0) }
    pipeline.postProcessor = processors.result
    (pipeline.prefix, pipeline.suffix) = processors.result.around
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
    if case .unigram(let model) = pipeline.model {
      // A list may hold a token twice; whether it is special goes by its text.
      for id in 0..<Int32(model.vocabulary.count) {
        if let text = model.vocabulary.text(id), let added = pipeline.addedIDs[Array(text)],
          pipeline.specialIDs.contains(added)
        {
          pipeline.specialIDs.insert(id)
        }
      }
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

  private func normalizer(_ json: JSONValue) throws -> [Normalizer] {
    switch json["type"]?.stringValue ?? "missing" {
    case "NFC": return [.form(.composed)]
    case "NFD": return [.form(.decomposed)]
    case "NFKC": return [.form(.compatibilityComposed)]
    case "NFKD": return [.form(.compatibilityDecomposed)]
    case "Lowercase": return [.lowercase]
    case "Prepend": return [.prepend(Array((json["prepend"]?.stringValue ?? "").utf8))]
    case "Replace":
      return [.replace(try pattern(json["pattern"]), with: Array((json["content"]?.stringValue ?? "").utf8))]
    case "Strip":
      return [.strip(left: json["strip_left"]?.boolValue ?? true, right: json["strip_right"]?.boolValue ?? true)]
    case "StripAccents": return [.stripMarks(all: true)]
    case "Nmt": return [.translationText]
    case "Precompiled": return [.charsMap(try charsMap(json["precompiled_charsmap"]?.stringValue))]
    case "BertNormalizer":
      let lowercases = json["lowercase"]?.boolValue ?? true
      var steps: [Normalizer] = json["clean_text"]?.boolValue ?? true ? [.cleanText] : []
      if json["handle_chinese_chars"]?.boolValue ?? true { steps.append(.isolateIdeographs) }
      if json["strip_accents"]?.boolValue ?? lowercases { steps += [.form(.decomposed), .stripMarks(all: false)] }
      return lowercases ? steps + [.lowercase] : steps
    case "ByteLevel": return [.byteLevel]
    case let type:
      throw refuse(
        "normalizer \(type) is not supported; supported are NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, "
          + "StripAccents, Nmt, Precompiled, BertNormalizer, ByteLevel, Sequence")
    }
  }

  private func charsMap(_ text: String?) throws -> CharsMap {
    guard let bytes = Base64.decode(text ?? "") else {
      throw refuse("the normalizer Precompiled: precompiled_charsmap is not base64")
    }
    do {
      return try CharsMap(bytes)
    } catch {
      throw refuse("the normalizer Precompiled: precompiled_charsmap is damaged: \(error.reason)")
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
    case "BertPreTokenizer": return [.bertWords]
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
    case "WordPiece":
      return .wordPiece(
        prefix: Array((json["prefix"]?.stringValue ?? "##").utf8), cleansUp: json["cleanup"]?.boolValue ?? true)
    case "BPEDecoder": return .endOfWord(suffix: Array((json["suffix"]?.stringValue ?? "</w>").utf8))
    case let type:
      throw refuse(
        "decoder \(type) is not supported; supported are ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, "
          + "WordPiece, BPEDecoder, Sequence")
    }
  }
}
