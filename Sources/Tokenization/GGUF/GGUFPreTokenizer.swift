import Formats

/// How `tokenizer.ggml.pre` says that a byte-level tokenizer cuts text, and what goes with it.
///
/// The names are llama.cpp's (`src/llama-vocab.cpp`); the steps are those of the models' own `tokenizer.json`.
struct GGUFPreTokenizer {
  let steps: [JSONValue]
  var normalizer = JSONValue.null
  /// Whether a word that is a token is not split at all.
  var ignoresMerges = false
  /// Whether texts start with the token for that where the file does not say.
  var addsStart = false

  /// The names by which the steps of the supported families are known.
  static let supported = "llama-bpe, qwen2, gpt-2, smollm, gpt-4o, olmo, tekken, default"

  /// - Parameter name: `tokenizer.ggml.pre`; `nil` is returned for one that is not known
  init?(_ name: String) {
    let words = TokenizerJSON.byteLevel(usesPattern: false)
    switch name {
    case "llama-bpe", "llama3", "llama-v3", "smaug-bpe", "falcon3", "smollm3", "lfm2", "dbrx":
      steps = [TokenizerJSON.split(WordScanner.llama3Pattern), words]
      ignoresMerges = name != "smaug-bpe" && name != "dbrx"
      addsStart = ignoresMerges && name != "smollm3"
    case "qwen2", "qwen3", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez":
      steps = [TokenizerJSON.split(WordScanner.qwen2Pattern), words]
      normalizer = TokenizerJSON.typed("NFC")
    case "smollm", "starcoder", "refact", "command-r", "codeshell":
      let digits = TokenizerJSON.typed("Digits", [("individual_digits", .bool(true))])
      steps = [digits, TokenizerJSON.byteLevel()]
    case "gpt-4o", "llama4", "gpt-oss":
      steps = [TokenizerJSON.split(Self.o200kPattern), words]
    case "tekken":
      steps = [TokenizerJSON.split(Self.tekkenPattern), words]
      ignoresMerges = true
      addsStart = true
    case "olmo", "gpt-neox", "pythia":
      steps = [TokenizerJSON.byteLevel()]
      normalizer = TokenizerJSON.typed("NFC")
    case "default", "gpt-2", "gpt2", "phi-2", "mpt", "jais", "roberta-bpe": steps = [TokenizerJSON.byteLevel()]
    default: return nil
    }
  }

  /// The likeliest name where the file has none.
  static func guess(architecture: String, tokens: Set<String>) -> String {
    if tokens.contains("<|begin_of_text|>") || tokens.contains("<|start_header_id|>") { return "llama-bpe" }
    if architecture.hasPrefix("qwen") { return "qwen2" }
    switch architecture {
    case "phi3": return "gpt-4o"
    case "gptneox", "olmo": return "olmo"
    case "smollm3": return "smollm3"
    case "starcoder", "starcoder2", "command-r": return "starcoder"
    case "llama" where tokens.contains("<|im_start|>") && tokens.contains("<repo_name>"): return "smollm"
    default: return "gpt-2"
    }
  }

  private static let capitals = #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#
  private static let smalls = #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#
  private static let ends = #"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  static let o200kPattern =
    #"[^\r\n\p{L}\p{N}]?\#(capitals)*\#(smalls)+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"#
    + #"[^\r\n\p{L}\p{N}]?\#(capitals)+\#(smalls)*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"# + ends
  static let tekkenPattern =
    #"[^\r\n\p{L}\p{N}]?\#(capitals)*\#(smalls)+|[^\r\n\p{L}\p{N}]?\#(capitals)+\#(smalls)*|\p{N}"# + ends
}
