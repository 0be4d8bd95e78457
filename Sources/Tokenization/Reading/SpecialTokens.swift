import Formats

/// `bos_token` and its like, wherever `transformers` finds them.
enum SpecialTokens {
  static let names = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]

  /// A token is given as a text or as an object that has one.
  static func text(_ json: JSONValue?) -> String? { json?.stringValue ?? json?["content"]?.stringValue }

  static func stripsLeft(_ json: JSONValue?) -> Bool { json?["lstrip"]?.boolValue ?? false }

  /// `tokenizer_class`, or the class that goes with a model's type, without `Fast`.
  static func tokenizerClass(_ configuration: JSONValue, modelType: String?) -> String {
    if let name = configuration["tokenizer_class"]?.stringValue {
      return name.hasSuffix("Fast") ? String(name.dropLast(4)) : name
    }
    switch modelType ?? "" {
    case "bert", "distilbert": return "BertTokenizer"
    case "roberta": return "RobertaTokenizer"
    case "xlm-roberta": return "XLMRobertaTokenizer"
    case "t5": return "T5Tokenizer"
    case "gpt2", "opt": return "GPT2Tokenizer"
    case "gpt_neox": return "GPTNeoXTokenizer"
    case "qwen2", "qwen3": return "Qwen2Tokenizer"
    case "llama", "mistral", "phi3", "smollm3": return "LlamaTokenizer"
    case let type where type.hasPrefix("gemma"): return "GemmaTokenizer"
    default: return "PreTrainedTokenizer"
    }
  }

  /// What the classes take where no file names a token.
  private static func defaults(_ tokenizerClass: String) -> [String: String] {
    switch tokenizerClass {
    case "LlamaTokenizer": ["bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"]
    case "GemmaTokenizer":
      ["bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"]
    case "GPT2Tokenizer", "GPTNeoXTokenizer":
      ["bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"]
    case "Qwen2Tokenizer":
      ["eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"]
    case "BertTokenizer", "DistilBertTokenizer":
      [
        "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
      ]
    case "RobertaTokenizer", "XLMRobertaTokenizer":
      [
        "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>",
        "pad_token": "<pad>", "mask_token": "<mask>",
      ]
    case "T5Tokenizer": ["eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"]
    default: [:]
    }
  }

  /// The configuration with the tokens of `special_tokens_map.json` and `added_tokens.json`, which count where the
  /// configuration does not list added tokens itself, and with those that the class of the tokenizer has when no file names one.
  static func completed(_ configuration: JSONValue, map: JSONValue?, added: JSONValue?, modelType: String?) -> JSONValue
  {
    var result = configuration.objectValue ?? JSONObject()
    if result["added_tokens_decoder"] == nil {
      for (key, value) in map?.objectValue?.entries ?? [] where names.contains(key) || further.contains(key) {
        result[key] = value
      }
      if let added = added?.objectValue { result["added_tokens_decoder"] = decoder(added, result) }
    }
    let defaults = defaults(tokenizerClass(configuration, modelType: modelType))
    for key in names where result[key] == nil { if let token = defaults[key] { result[key] = .string(token) } }
    return .object(result)
  }

  /// Lists of special tokens that have no name.
  private static let further = ["additional_special_tokens", "extra_special_tokens"]

  /// The texts of those lists.
  static func furtherTokens(_ configuration: JSONValue) -> [String] {
    further.flatMap { key in
      let list = configuration[key]
      return (list?.arrayValue ?? list?.objectValue?.entries.map(\.value) ?? []).compactMap { text($0) }
    }
  }

  /// `added_tokens.json`, which has ids by text, as `added_tokens_decoder`.
  private static func decoder(_ added: JSONObject, _ configuration: JSONObject) -> JSONValue {
    let configuration = JSONValue.object(configuration)
    let special = Set(tokens(configuration).values).union(furtherTokens(configuration))
    return .object(
      JSONObject(
        added.entries.compactMap { token, id in
          id.intValue.map { ("\($0)", TokenizerJSON.addedToken(token, id: $0, isSpecial: special.contains(token))) }
        }))
  }

  /// Tokens that the configuration adds to a tokenizer, as `added_tokens` of `tokenizer.json` has them: those that it lists by id,
  /// and without an id the ends of texts and special tokens without a name.
  ///
  /// The padding is not among them: some take a sign such as `!` for it, which is text all the same.
  static func added(_ configuration: JSONValue) -> [JSONValue] {
    var result: [JSONValue] = []
    for (key, value) in configuration["added_tokens_decoder"]?.objectValue?.entries ?? [] {
      guard let id = Int(key), var token = value.objectValue, value["content"]?.stringValue != nil else { continue }
      token["id"] = .integer(id)
      result.append(.object(token))
    }
    let ends = ["bos_token", "eos_token"].compactMap { text(configuration[$0]) }
    return result
      + (ends + furtherTokens(configuration)).filter { !$0.isEmpty }.map {
        .object(JSONObject([("content", .string($0)), ("normalized", .bool(false)), ("special", .bool(true))]))
      }
  }

  /// The tokens by name; an empty one is none.
  static func tokens(_ configuration: JSONValue) -> [String: String] {
    var tokens: [String: String] = [:]
    for key in names { if let token = text(configuration[key]), !token.isEmpty { tokens[key] = token } }
    return tokens
  }
}
