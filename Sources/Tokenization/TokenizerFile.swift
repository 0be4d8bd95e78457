import Formats
import Foundation

/// What a tokenizer file asks for that this program does not know, or says wrongly.
public struct TokenizerError: Error, CustomStringConvertible {
  let file: String
  let reason: String
  public var description: String { "\(file): \(reason)" }
}

extension Tokenizer {
  /// Reads `tokenizer.json` and, for the chat template and the special tokens, `tokenizer_config.json`.
  public static func load(directory: String) throws -> Tokenizer {
    let path = "\(directory)/tokenizer.json"
    let json = try JSONValue.parse(contentsOf: path)
    let pipeline = try TokenizerReader(file: path).pipeline(json)
    let configurationPath = "\(directory)/tokenizer_config.json"
    var configuration = JSONValue.null
    if FileManager.default.fileExists(atPath: configurationPath) {
      configuration = try JSONValue.parse(contentsOf: configurationPath)
    }
    func id(_ key: String) -> Int32? {
      let name = configuration[key]?.stringValue ?? configuration[key]?["content"]?.stringValue
      return name.flatMap { pipeline.ids[$0] }
    }
    return Tokenizer(
      pipeline: pipeline, bosTokenID: id("bos_token"), eosTokenID: id("eos_token"),
      chatTemplate: try chatTemplate(directory: directory, configuration: configuration, file: configurationPath))
  }

  private static func chatTemplate(directory: String, configuration: JSONValue, file: String) throws -> ChatTemplate? {
    var tokens: [String: String] = [:]
    for key in ["bos_token", "eos_token", "unk_token", "pad_token"] {
      tokens[key] = configuration[key]?.stringValue ?? configuration[key]?["content"]?.stringValue
    }
    if let data = FileManager.default.contents(atPath: "\(directory)/chat_template.jinja") {
      return try ChatTemplate(
        source: String(decoding: data, as: UTF8.self), file: "\(directory)/chat_template.jinja", tokens: tokens)
    }
    if let source = configuration["chat_template"]?.stringValue {
      return try ChatTemplate(source: source, file: "\(file): chat_template", tokens: tokens)
    }
    // Several named templates: the default one.
    let named = configuration["chat_template"]?.arrayValue?.first { $0["name"]?.stringValue == "default" }
    if let source = named?["template"]?.stringValue {
      return try ChatTemplate(source: source, file: "\(file): chat_template", tokens: tokens)
    }
    return nil
  }
}

/// Reads the parts of `tokenizer.json`.
struct TokenizerReader {
  let file: String

  private func refuse(_ reason: String) -> TokenizerError { TokenizerError(file: file, reason: reason) }

  func pipeline(_ json: JSONValue) throws -> TokenizerPipeline {
    var pipeline = TokenizerPipeline()
    guard let model = json["model"], let vocabulary = model["vocab"]?.objectValue else {
      throw refuse("has no model with a vocabulary object; only models of type BPE are supported")
    }
    if let type = model["type"]?.stringValue, type != "BPE" {
      throw refuse("model type \(type) is not supported, expected BPE")
    }
    for (token, value) in vocabulary.entries { try add(token, value.intValue, to: &pipeline) }
    for entry in json["added_tokens"]?.arrayValue ?? [] {
      guard let token = entry["content"]?.stringValue, !token.isEmpty else { continue }
      try add(token, entry["id"]?.intValue, to: &pipeline)
      guard let id = pipeline.ids[token] else { continue }
      pipeline.addedIDs.insert(id)
      if entry["special"]?.boolValue == true { pipeline.specialIDs.insert(id) }
      let bytes = Array(token.utf8)
      pipeline.added[bytes[0], default: []].append(
        .init(
          id: id, bytes: bytes, stripsLeft: entry["lstrip"]?.boolValue ?? false,
          stripsRight: entry["rstrip"]?.boolValue ?? false, isSingleWord: entry["single_word"]?.boolValue ?? false))
    }
    for key in pipeline.added.keys { pipeline.added[key]?.sort { $0.bytes.count > $1.bytes.count } }
    try readSteps(json["normalizer"], "normalizers") { try normalizer($0, into: &pipeline) }
    try readSteps(json["pre_tokenizer"], "pretokenizers") { try preTokenizer($0, into: &pipeline) }
    try readSteps(json["decoder"], "decoders") { try decoder($0, into: &pipeline) }
    try readSteps(json["post_processor"], "processors") { try postProcessor($0, into: &pipeline) }
    try readModel(model, into: &pipeline)
    return pipeline
  }

  private func add(_ token: String, _ id: Int?, to pipeline: inout TokenizerPipeline) throws {
    guard let id, id >= 0, id < 1_000_000 else { throw refuse("token \(token.prefix(40)) has no usable id") }
    while pipeline.tokens.count <= id { pipeline.tokens.append("") }
    pipeline.tokens[id] = token
    pipeline.ids[token] = Int32(id)
  }

  private func readModel(_ model: JSONValue, into pipeline: inout TokenizerPipeline) throws {
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let text = model[key]?.stringValue, !text.isEmpty { throw refuse("model.\(key) is not supported") }
    }
    if let dropout = model["dropout"]?.doubleValue, dropout > 0 { throw refuse("model.dropout is not supported") }
    pipeline.ignoresMerges = model["ignore_merges"]?.boolValue ?? false
    pipeline.unknownID = model["unk_token"]?.stringValue.flatMap { pipeline.ids[$0] }
    pipeline.byteIDs = (0..<256).map { byte in
      Unicode.Scalar(ByteAlphabet.scalars[byte]).flatMap { pipeline.ids[String($0)] } ?? -1
    }
    let fallback = (0..<256).map { byte -> Int32? in
      let hex = String(byte, radix: 16, uppercase: true)
      return pipeline.ids["<0x\(hex.count == 1 ? "0" : "")\(hex)>"]
    }
    if model["byte_fallback"]?.boolValue == true {
      let complete = fallback.compactMap { $0 }
      guard complete.count == 256 else {
        throw refuse("byte_fallback is set, but not all of <0x00> ... <0xFF> are tokens")
      }
      pipeline.byteFallback = complete
      for (byte, id) in complete.enumerated() { pipeline.byteOf[id] = UInt8(byte) }
    }
    var merges: [UInt64: UInt64] = [:]
    let list = model["merges"]?.arrayValue ?? []
    merges.reserveCapacity(list.count)
    for (rank, merge) in list.enumerated() {
      let left: String
      let right: String
      if let text = merge.stringValue {
        guard let space = text.dropFirst().firstIndex(of: " ") else { throw refuse("merge \(rank) is not a pair") }
        left = String(text[..<space])
        right = String(text[text.index(after: space)...])
      } else if let pair = merge.arrayValue, pair.count == 2, let first = pair[0].stringValue,
        let second = pair[1].stringValue
      {
        (left, right) = (first, second)
      } else {
        throw refuse("merge \(rank) is not a pair")
      }
      guard let a = pipeline.ids[left], let b = pipeline.ids[right], let c = pipeline.ids[left + right] else {
        throw refuse(
          "merge \(rank) (\(left.prefix(20)) \(right.prefix(20))) names a token that is not in the vocabulary")
      }
      let key = BytePairModel.key(a, b)
      if merges[key] == nil { merges[key] = UInt64(rank) << 32 | UInt64(c) }
    }
    pipeline.model = BytePairModel(merges: merges)
  }

  /// Runs `body` on a step, or on each step of a `Sequence`.
  private func readSteps(_ json: JSONValue?, _ list: String, _ body: (JSONValue) throws -> Void) throws {
    guard let json, json != .null else { return }
    if json["type"]?.stringValue == "Sequence" {
      for step in json[list]?.arrayValue ?? [] { try readSteps(step, list, body) }
    } else {
      try body(json)
    }
  }

  private func pattern(_ json: JSONValue?) throws -> ScalarPattern {
    if let literal = json?["String"]?.stringValue { return ScalarPattern(literal: literal) }
    guard let text = json?["Regex"]?.stringValue else { throw refuse("a pattern is neither String nor Regex") }
    do {
      return try ScalarPattern(text)
    } catch let error as ScalarPattern.Unsupported {
      throw refuse("pattern \(text): \(error.reason) is not supported")
    }
  }

  private func normalizer(_ json: JSONValue, into pipeline: inout TokenizerPipeline) throws {
    switch json["type"]?.stringValue ?? "missing" {
    case "NFC": pipeline.normalizers.append(.composed)
    case "NFD": pipeline.normalizers.append(.decomposed)
    case "NFKC": pipeline.normalizers.append(.compatibilityComposed)
    case "Lowercase": pipeline.normalizers.append(.lowercase)
    case "Prepend":
      pipeline.normalizers.append(.prepend((json["prepend"]?.stringValue ?? "").unicodeScalars.map(\.value)))
    case "Replace":
      pipeline.normalizers.append(
        .replace(try pattern(json["pattern"]), with: (json["content"]?.stringValue ?? "").unicodeScalars.map(\.value)))
    case "Strip":
      pipeline.normalizers.append(
        .strip(left: json["strip_left"]?.boolValue ?? true, right: json["strip_right"]?.boolValue ?? true))
    case let type: throw refuse("normalizer \(type) is not supported")
    }
  }

  private func preTokenizer(_ json: JSONValue, into pipeline: inout TokenizerPipeline) throws {
    switch json["type"]?.stringValue ?? "missing" {
    case "ByteLevel":
      pipeline.isByteLevel = true
      if json["add_prefix_space"]?.boolValue == true { pipeline.preTokenizers.append(.prefixSpace) }
      if json["use_regex"]?.boolValue ?? true {
        pipeline.preTokenizers.append(
          .split(try pattern(.object(JSONObject([("Regex", .string(PreTokenizer.gpt2))]))), .isolated, invert: false))
      }
    case "Split":
      guard let behavior = PreTokenizer.Behavior(rawValue: json["behavior"]?.stringValue ?? "") else {
        throw refuse("split behavior \(json["behavior"]?.serialized() ?? "missing") is not supported")
      }
      pipeline.preTokenizers.append(
        .split(try pattern(json["pattern"]), behavior, invert: json["invert"]?.boolValue ?? false))
    case "Digits": pipeline.preTokenizers.append(.digits(individual: json["individual_digits"]?.boolValue ?? false))
    case "Metaspace":
      let scheme =
        json["prepend_scheme"]?.stringValue ?? (json["add_prefix_space"]?.boolValue ?? true ? "always" : "never")
      pipeline.preTokenizers.append(
        .metaspace(
          prepend: scheme != "never", onlyFirst: scheme == "first", split: json["split"]?.boolValue ?? true))
    case let type: throw refuse("pre_tokenizer \(type) is not supported")
    }
  }

  private func decoder(_ json: JSONValue, into pipeline: inout TokenizerPipeline) throws {
    switch json["type"]?.stringValue ?? "missing" {
    case "ByteLevel": pipeline.isByteLevel = true
    case "ByteFallback", "Fuse", "Replace": break
    case "Metaspace": pipeline.stripsFirstSpace = json["prepend_scheme"]?.stringValue != "never"
    case "Strip": pipeline.stripsFirstSpace = json["start"]?.intValue ?? 0 > 0
    case let type: throw refuse("decoder \(type) is not supported")
    }
  }

  private func postProcessor(_ json: JSONValue, into pipeline: inout TokenizerPipeline) throws {
    switch json["type"]?.stringValue ?? "missing" {
    case "ByteLevel": break
    case "TemplateProcessing":
      var isAfter = false
      for part in json["single"]?.arrayValue ?? [] {
        if part["Sequence"] != nil {
          isAfter = true
        } else if let name = part["SpecialToken"]?["id"]?.stringValue {
          let ids =
            json["special_tokens"]?[name]?["ids"]?.arrayValue?.compactMap { $0.intValue.map { Int32($0) } } ?? []
          if isAfter { pipeline.suffix += ids } else { pipeline.prefix += ids }
        }
      }
    case let type: throw refuse("post_processor \(type) is not supported")
    }
  }
}
