import Formats

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A tokenizer as the metadata of a GGUF file, by which llama.cpp cuts text as the model's own tokenizer does.
///
/// Source: llama.cpp's converter (`conversion/base.py`, `gguf-py/gguf/vocab.py`) and its reader (`src/llama-vocab.cpp`).
public struct TokenizerToGGUF {
  /// `tokenizer.*`, in order.
  public private(set) var metadata: [(key: String, value: GGUFField)] = []
  /// Texts after which generation ends, as far as the tokenizer names them.
  public private(set) var stops: [String] = []

  private let document: TokenizerDocument
  private let configuration: JSONValue
  private let config: JSONValue
  private var tokens: [String]
  private var types: [Int32]

  /// GGUF's kinds of tokens.
  private enum Kind {
    static let normal: Int32 = 1
    static let unknown: Int32 = 2
    static let control: Int32 = 3
    static let userDefined: Int32 = 4
    static let unused: Int32 = 5
    static let byte: Int32 = 6
  }

  /// Reads the tokenizer of a model's folder.
  ///
  /// - Parameter vocabularySize: rows of the embedding; the tokenizer may have fewer tokens
  /// - Throws: `TokenizerError` for a tokenizer that llama.cpp has no like of
  public static func read(directory: String, vocabularySize: Int) throws -> TokenizerToGGUF {
    func json(_ name: String) throws -> JSONValue {
      let path = "\(directory)/\(name)"
      return FileManager.default.fileExists(atPath: path) ? try JSONValue.parse(contentsOf: path) : .null
    }
    let config = try json("config.json")
    let configuration = SpecialTokens.completed(
      try json("tokenizer_config.json"), map: try json("special_tokens_map.json"), added: try json("added_tokens.json"),
      modelType: config["model_type"]?.stringValue)
    let templates = try TemplateSources(folder: directory, configuration: configuration)
    let path = "\(directory)/tokenizer.json"
    func make(_ bytes: Bytes) throws -> TokenizerToGGUF {
      guard bytes.isUTF8 else { throw TokenizerError(file: path, reason: "not JSON: the file is not UTF-8") }
      var document = try TokenizerDocument(bytes, file: path)
      try document.add(SpecialTokens.added(configuration))
      return try TokenizerToGGUF(
        document: document, configuration: configuration, templates: templates, config: config,
        vocabularySize: vocabularySize)
    }
    if let rebuilt = try TokenizerFolder(directory).rebuilt() {
      var text = rebuilt.tokenizer.serialized()
      return try text.withUTF8(make)
    }
    let mapped = try MappedFile(path: path)
    return try withExtendedLifetime(mapped) { try make(mapped.bytes.bindMemory(to: UInt8.self)) }
  }

  private init(
    document: TokenizerDocument, configuration: JSONValue, templates: TemplateSources, config: JSONValue,
    vocabularySize: Int
  ) throws {
    self.document = document
    self.configuration = configuration
    self.config = config
    tokens = (0..<vocabularySize).map { "[PAD\($0)]" }
    types = Array(repeating: Kind.unused, count: vocabularySize)
    guard document.model["type"]?.stringValue ?? "BPE" == "BPE" else {
      throw refuse("a tokenizer of type \(document.model["type"]?.stringValue ?? "none") cannot be written as GGUF")
    }
    try readTokens()
    let isByteLevel = document.model["byte_fallback"]?.boolValue != true
    add("model", .string(isByteLevel ? "gpt2" : "llama"))
    add("pre", .string(isByteLevel ? try preTokenizerName() : "default"))
    let addsSpace = isByteLevel ? nil : try addsSpace()
    try markAddedTokens(isByteLevel: isByteLevel)
    add("tokens", .strings(tokens))
    if !isByteLevel { add("scores", .float32s(try scores())) }
    add("token_type", .int32s(types))
    if isByteLevel { add("merges", .strings(try merges())) }
    addSpecialTokens()
    if let addsSpace { add("add_space_prefix", .bool(addsSpace)) }
    for (key, template) in [("", templates.plain), (".tool_use", templates.withTools)] {
      if let template { metadata.append(("tokenizer.chat_template\(key)", .string(template))) }
    }
    stops = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"].filter { tokens.contains($0) }
  }

  private func refuse(_ reason: String) -> TokenizerError { TokenizerError(file: document.file, reason: reason) }

  private mutating func add(_ key: String, _ value: GGUFField) { metadata.append(("tokenizer.ggml.\(key)", value)) }

  // MARK: tokens

  private mutating func readTokens() throws {
    let count = tokens.count
    var greatest = -1
    var (texts, kinds) = (tokens, types)
    (tokens, types) = ([], [])
    try document.forEachToken { token, id in
      greatest = max(greatest, id)
      guard (0..<count).contains(id) else { return }
      texts[id] = String(decoding: token, as: UTF8.self)
      kinds[id] = Kind.normal
    }
    (tokens, types) = (texts, kinds)
    guard greatest < count else {
      throw refuse("token \(greatest) is beyond the \(count) rows of the embedding; tokenizer and weights differ")
    }
  }

  private mutating func markAddedTokens(isByteLevel: Bool) throws {
    let unknown = SpecialTokens.text(configuration["unk_token"])
    for entry in document.settings["added_tokens"]?.arrayValue ?? [] {
      guard let text = entry["content"]?.stringValue, let id = entry["id"]?.intValue, tokens.indices.contains(id) else {
        continue
      }
      let isSpecial = entry["special"]?.boolValue ?? false
      if isSpecial || Self.looksSpecial(text) {
        types[id] = !isByteLevel && text == unknown ? Kind.unknown : Kind.control
        tokens[id] = text
      } else {
        types[id] = Kind.userDefined
        // llama.cpp looks for these in text as it came.
        tokens[id] = text.split(separator: "\u{2581}", omittingEmptySubsequences: false).joined(separator: " ")
      }
    }
    guard !isByteLevel else { return }
    for (id, token) in tokens.enumerated() where types[id] == Kind.normal && token.utf8.count == 6 {
      if token.hasPrefix("<0x"), token.hasSuffix(">"), UInt8(token.dropFirst(3).dropLast(), radix: 16) != nil {
        types[id] = Kind.byte
      }
    }
  }

  /// Tokens that some models forgot to call special.
  private static func looksSpecial(_ text: String) -> Bool {
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(text) || (text.hasPrefix("<|") && text.hasSuffix("|>"))
      || (text.hasPrefix("<\u{FF5C}") && text.hasSuffix("\u{FF5C}>"))
      || (text.hasPrefix("<unused") && text.hasSuffix(">"))
  }

  private func merges() throws -> [String] {
    var merges: [String] = []
    try document.forEachMerge { left, right in
      merges.append("\(String(decoding: left, as: UTF8.self)) \(String(decoding: right, as: UTF8.self))")
    }
    return merges
  }

  /// llama.cpp merges neighbours whose text together is a token, highest score first: the merges' order, as scores.
  private func scores() throws -> [Float] {
    var vocabulary = Vocabulary(reserving: tokens.count)
    try document.forEachToken { token, id in vocabulary.insert(token, id: id) }
    var scores = [Float](repeating: -1000, count: tokens.count)
    var rank: Float = 0
    var joined: [UInt8] = []
    var isRanked = [Bool](repeating: false, count: tokens.count)
    try document.forEachMerge { left, right in
      joined.removeAll(keepingCapacity: true)
      joined.append(contentsOf: left)
      joined.append(contentsOf: right)
      guard let id = joined.withUnsafeBufferPointer({ vocabulary.id($0) }).map({ Int($0) }),
        scores.indices.contains(id),
        !isRanked[id]
      else { return }
      isRanked[id] = true
      scores[id] = -rank
      rank += 1
    }
    for (id, kind) in types.enumerated() {
      if kind == Kind.byte { scores[id] = 0 } else if kind == Kind.normal, !isRanked[id] { scores[id] = -rank }
    }
    return scores
  }

  private mutating func addSpecialTokens() {
    var ids: [String: Int] = [:]
    let wanted = Set(SpecialTokens.names.compactMap { SpecialTokens.text(configuration[$0]) })
    for (id, token) in tokens.enumerated() where wanted.contains(token) && ids[token] == nil { ids[token] = id }
    for (name, key) in [
      ("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("sep", "seperator"), ("pad", "padding"), ("cls", "cls"),
      ("mask", "mask"),
    ] {
      let id =
        SpecialTokens.text(configuration["\(name)_token"]).flatMap { ids[$0] } ?? config["\(name)_token_id"]?.intValue
        ?? config["\(name)_token_id"]?.arrayValue?.first?.intValue
      if let id, tokens.indices.contains(id) { add("\(key)_token_id", .uint32(UInt32(id))) }
    }
    let (first, last) = ends()
    add("add_bos_token", .bool(first != nil && first == SpecialTokens.text(configuration["bos_token"])))
    add("add_eos_token", .bool(last != nil && last == SpecialTokens.text(configuration["eos_token"])))
  }

  /// The tokens that the tokenizer puts before and after a text.
  private func ends() -> (first: String?, last: String?) {
    let processor = document.settings["post_processor"]
    for step in processor?["processors"]?.arrayValue ?? [processor ?? .null]
    where step["type"]?.stringValue == "TemplateProcessing" {
      let parts = step["single"]?.arrayValue ?? []
      return (parts.first?["SpecialToken"]?["id"]?.stringValue, parts.last?["SpecialToken"]?["id"]?.stringValue)
    }
    return (nil, nil)
  }

  // MARK: cutting

  /// Whether a text gets a space in front, of a tokenizer that marks spaces as SentencePiece does.
  private func addsSpace() throws -> Bool {
    let steps = Self.steps(document.settings["normalizer"], "normalizers")
    let cutters = Self.steps(document.settings["pre_tokenizer"], "pretokenizers")
    if let metaspace = cutters.first(where: { $0["type"]?.stringValue == "Metaspace" }) {
      return metaspace["prepend_scheme"]?.stringValue.map { $0 != "never" }
        ?? metaspace["add_prefix_space"]?.boolValue ?? true
    }
    guard steps.contains(where: { $0["type"]?.stringValue == "Replace" && $0["content"]?.stringValue == "\u{2581}" })
    else {
      throw refuse("the tokenizer marks spaces in a way that llama.cpp does not know")
    }
    return steps.contains { $0["type"]?.stringValue == "Prepend" }
  }

  private static func steps(_ json: JSONValue?, _ list: String) -> [JSONValue] {
    guard let json, json != .null else { return [] }
    guard json["type"]?.stringValue == "Sequence" else { return [json] }
    return (json[list]?.arrayValue ?? []).flatMap { steps($0, list) }
  }

  /// llama.cpp's name for the way in which a byte-level tokenizer cuts text.
  private func preTokenizerName() throws -> String {
    let own = Self.steps(document.settings["pre_tokenizer"], "pretokenizers").map(Self.signature)
    let ignoresMerges = document.model["ignore_merges"]?.boolValue ?? false
    for name in ["gpt-2", "smollm", "qwen2", "llama-bpe", "smaug-bpe", "gpt-4o", "tekken"] {
      guard let known = GGUFPreTokenizer(name) else { continue }
      if known.steps.map(Self.signature) == own, known.ignoresMerges == ignoresMerges { return name }
    }
    throw refuse(
      "llama.cpp has no pre-tokenizer that cuts text as this tokenizer does (\(own.joined(separator: ", "))); "
        + "a GGUF file would give other tokens. `edge-lora merge --format f16` makes a folder for transformers")
  }

  /// What a step does, without what has no effect.
  private static func signature(_ step: JSONValue) -> String {
    switch step["type"]?.stringValue ?? "" {
    case "Split":
      return "split \(step["behavior"]?.stringValue ?? "") \(step["invert"]?.boolValue ?? false) "
        + (step["pattern"]?["Regex"]?.stringValue ?? step["pattern"]?["String"]?.stringValue ?? "")
    case "Digits": return "digits \(step["individual_digits"]?.boolValue ?? false)"
    case "ByteLevel":
      return "bytes \(step["add_prefix_space"]?.boolValue ?? true) \(step["use_regex"]?.boolValue ?? true)"
    case let other: return other
    }
  }
}
