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

  /// The configuration with the tokens of `special_tokens_map.json`, which counts where the configuration does not list
  /// added tokens itself, and with those that the class of the tokenizer has when no file names one.
  static func completed(_ configuration: JSONValue, map: JSONValue?, modelType: String?) -> JSONValue {
    var result = configuration.objectValue ?? JSONObject()
    if let map = map?.objectValue, result["added_tokens_decoder"] == nil {
      for (key, value) in map.entries where names.contains(key) { result[key] = value }
    }
    let defaults = defaults(tokenizerClass(configuration, modelType: modelType))
    for key in names where result[key] == nil { if let token = defaults[key] { result[key] = .string(token) } }
    return .object(result)
  }

  /// The tokens by name; an empty one is none.
  static func tokens(_ configuration: JSONValue) -> [String: String] {
    var tokens: [String: String] = [:]
    for key in names { if let token = text(configuration[key]), !token.isEmpty { tokens[key] = token } }
    return tokens
  }
}
