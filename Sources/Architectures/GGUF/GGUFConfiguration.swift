import Formats

/// `config.json` of a model that comes as GGUF.
///
/// Source: what llama.cpp's converter writes (`conversion` in ggml-org/llama.cpp) and what its loader reads
/// (`src/llama-model.cpp`, `src/models`).
public enum GGUFConfiguration {
  /// The architectures, by GGUF's names.
  enum Architecture: String, CaseIterable {
    case llama, qwen2, qwen3, smollm3, gemma3, phi3, gpt2, gptneox
  }

  /// - Throws: `ModelDescription.Invalid` where the file lacks something or has what is not supported
  public static func configurationJSON(_ file: GGUFFile) throws -> JSONValue {
    let name = file.metadata["general.architecture"]?.stringValue ?? "missing"
    guard let architecture = Architecture(rawValue: name) else {
      throw ModelDescription.Invalid(
        file: file.path,
        reason: "architecture \(name) is not supported; supported are "
          + Architecture.allCases.map(\.rawValue).joined(separator: ", "))
    }
    let metadata = GGUFMetadata(file: file, architecture: name)
    try metadata.refuseUnlessZero([
      "attention.clamp_kqv", "attention.scale", "attention.max_alibi_bias", "logit_scale", "residual_scale",
      "embedding_scale", "expert_count", "nextn_predict_layers",
    ])
    guard try metadata.flag("attention.causal", default: true) else {
      throw metadata.refuse("metadata \(name).attention.causal is false, which is not supported")
    }
    return .object(
      try {
        switch architecture {
        case .llama: try GGUFLlama.llama(metadata)
        case .qwen2: try GGUFLlama.configuration(metadata, .qwen2)
        case .qwen3: try GGUFLlama.qwen3(metadata)
        case .smollm3: try GGUFLlama.smolLM3(metadata)
        case .gemma3: try GGUFGemma3.configuration(metadata)
        case .phi3: try GGUFPhi3.configuration(metadata)
        case .gpt2: try GGUFGPT2.configuration(metadata)
        case .gptneox: try GGUFGPTNeoX.configuration(metadata)
        }
      }())
  }
}
