import Formats

/// The families of models that are supported. To add one: a case, its names, and a file in `Families` that describes it.
public enum Family: String, Sendable, CaseIterable {
  // The raw value is `model_type` in config.json.
  case llama, mistral, qwen2, qwen3, smollm3, phi3, gpt2, opt, bert, roberta
  case gemma3 = "gemma3_text"
  case gptNeoX = "gpt_neox"
  case distilBERT = "distilbert"
  case xlmRoberta = "xlm-roberta"

  /// How the names of transformers' classes begin.
  public var stem: String {
    switch self {
    case .gpt2: "GPT2"
    case .gemma3: "Gemma3Text"
    case .bert: "Bert"
    case .distilBERT: "DistilBert"
    case .roberta: "Roberta"
    case .xlmRoberta: "XLMRoberta"
    default: String(architecture.dropLast(ModelTask.causalLM.classEnding.count))
    }
  }

  /// Whether models of the family read texts both ways, and make none.
  public var isEncoder: Bool {
    switch self {
    case .bert, .distilBERT, .roberta, .xlmRoberta: true
    default: false
    }
  }

  /// The modules that PEFT trains whole beside an adapter.
  public static let headModules = ["classifier", "score"]

  /// Whether a name in an adapter's `modules_to_save` is a head with labels, or a layer of one.
  public static func isHeadModule(_ name: String) -> Bool {
    headModules.contains(name) || name == "pre_classifier" || name.hasPrefix("classifier.")
  }

  /// Where files have the vocabulary head of a model whose embedding is not tied to it.
  public var headPath: String { self == .gptNeoX ? "embed_out" : "lm_head" }

  /// Whether transformers tells the embedding which token fills up rows, whose row it then gives no gradient.
  public var embedsPadding: Bool { self != .gpt2 && self != .gptNeoX }

  /// The name that `architectures` has.
  public var architecture: String {
    switch self {
    case .llama: "LlamaForCausalLM"
    case .mistral: "MistralForCausalLM"
    case .qwen2: "Qwen2ForCausalLM"
    case .qwen3: "Qwen3ForCausalLM"
    case .smollm3: "SmolLM3ForCausalLM"
    case .phi3: "Phi3ForCausalLM"
    case .gpt2: "GPT2LMHeadModel"
    case .opt: "OPTForCausalLM"
    case .gemma3: "Gemma3ForCausalLM"
    case .gptNeoX: "GPTNeoXForCausalLM"
    case .bert, .distilBERT, .roberta, .xlmRoberta: stem + "Model"
    }
  }

  /// Other names of the same architecture: older spellings, and models of which a part is one of these.
  private var otherArchitectures: [String] {
    switch self {
    case .llama: ["LLaMAForCausalLM", "LlamaModel"]
    case .mistral: ["MistralModel"]
    case .qwen2: ["Qwen2Model"]
    case .qwen3: ["Qwen3Model"]
    case .smollm3: ["SmolLM3Model"]
    case .phi3: ["Phi3Model"]
    case .gpt2: ["GPT2Model"]
    case .opt: ["OPTModel"]
    case .gemma3: ["Gemma3TextModel", Gemma3.conditional]
    case .gptNeoX: ["GPTNeoXModel"]
    case .bert, .distilBERT, .roberta, .xlmRoberta: [stem + "ForMaskedLM", stem + "ForPreTraining"]
    }
  }

  private func isCalled(_ name: String) -> Bool {
    let labelled = [ModelTask.sequenceClassification, .tokenClassification].map { stem + $0.classEnding }
    return architecture == name || otherArchitectures.contains(name) || labelled.contains(name)
  }

  /// The family that a configuration is of: by its architecture or, without a known one, by its type.
  static func of(_ reader: ConfigurationReader) throws -> Family {
    let names = reader["architectures"]?.arrayValue?.compactMap(\.stringValue) ?? []
    let type = reader["model_type"]?.stringValue
    for name in names {
      if let family = allCases.first(where: { $0.isCalled(name) }) {
        return family
      }
    }
    if names.isEmpty, let type, let family = Family(rawValue: type) ?? (type == "gemma3" ? .gemma3 : nil) {
      return family
    }
    throw reader.refuse(
      "architecture \(names.first ?? type ?? "none") is not supported; supported are "
        + allCases.map(\.architecture).joined(separator: ", "))
  }

  /// The description of the model that `reader` reads.
  func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    switch self {
    case .llama: try Llama.describe(reader)
    case .mistral: try Mistral.describe(reader)
    case .qwen2: try Qwen2.describe(reader)
    case .qwen3: try Qwen3.describe(reader)
    case .smollm3: try SmolLM3.describe(reader)
    case .phi3: try Phi3.describe(reader)
    case .gpt2: try GPT2.describe(reader)
    case .opt: try OPT.describe(reader)
    case .gemma3: try Gemma3.describe(reader)
    case .gptNeoX: try GPTNeoX.describe(reader)
    case .bert: try BERT.describe(reader)
    case .distilBERT: try DistilBERT.describe(reader)
    case .roberta, .xlmRoberta: try RoBERTa.describe(reader, family: self)
    }
  }

  /// The linear layers that LoRA wraps where nobody names others: PEFT's defaults, or where it has none those of the most
  /// similar family.
  public var defaultTargets: [String] {
    switch self {
    case .llama, .mistral, .qwen2, .qwen3, .smollm3, .opt, .gemma3: ["q_proj", "v_proj"]
    case .phi3: ["qkv_proj"]
    case .gpt2: ["c_attn"]
    case .gptNeoX: ["query_key_value"]
    case .bert, .roberta, .xlmRoberta: ["query", "value"]
    case .distilBERT: ["q_lin", "v_lin"]
    }
  }

  /// Beginnings of tensor names, and how files of the same model may begin them otherwise: bare models lack the first part,
  /// and the text part of a larger model stands behind another one.
  var otherPrefixes: [(ours: String, others: [String])] {
    switch self {
    case .llama, .mistral, .qwen2, .qwen3, .smollm3, .phi3: [("model.", [""])]
    case .gpt2: [("transformer.", [""])]
    case .opt: [("model.decoder.", ["decoder.", ""])]
    case .gemma3:
      [("model.", ["language_model.model.", "model.language_model.", ""]), ("lm_head.", ["language_model.lm_head."])]
    case .gptNeoX: [("gpt_neox.", [""]), ("embed_out.", ["lm_head."])]
    case .bert: [("bert.", [""])]
    case .distilBERT: [("distilbert.", [""])]
    case .roberta, .xlmRoberta: [("roberta.", [""])]
    }
  }

  /// Ends of the names of tensors that files may hold and a model computes for itself.
  var ignoredEnds: [String] {
    switch self {
    case .gpt2: [".attn.bias", ".attn.masked_bias"]
    case .gptNeoX: [".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"]
    default: [".rotary_emb.inv_freq"]
    }
  }
}

extension Family {
  /// `config.json` of the model that is described: that of a larger one's part where only that is taken.
  public func configuration(_ json: JSONValue) -> JSONValue { self == .gemma3 ? Gemma3.textConfiguration(json) : json }
}

extension ConfigurationReader {
  func family() throws -> Family { try Family.of(self) }
}
