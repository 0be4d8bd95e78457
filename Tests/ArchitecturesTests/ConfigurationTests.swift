import Architectures
import Formats
import Foundation
import Testing

struct ConfigurationTests {
  @Test func whatAConfigurationLeavesOutIsAsInTransformers() throws {
    let families = try #require(try JSONValue.parse(contentsOf: "\(golden)/defaults.json").objectValue)
    #expect(families.keys.count == Family.allCases.count { !$0.isEncoder })
    for (name, expected) in families.entries {
      let found = try ModelDescription(json: try #require(expected["config"]), file: name)
      #expect(found.vocabularySize == expected["vocabulary"]?.intValue, "\(name)")
      #expect(found.hiddenSize == expected["hidden"]?.intValue, "\(name)")
      #expect(found.layers.count == expected["layers"]?.intValue, "\(name)")
      #expect(found.maximumPositions == expected["positions"]?.intValue, "\(name)")
      #expect(found.head.isTied == expected["tied"]?.boolValue, "\(name)")
      let windows = try #require(expected["windows"]?.arrayValue)
      let rotating = try #require(expected["rotating_layers"]?.integers)
      let epsilon = try #require(expected["epsilon"]?.doubleValue)
      for (index, layer) in found.layers.enumerated() {
        let attention = layer.attention
        #expect(attention.headCount == expected["heads"]?.intValue, "\(name)")
        #expect(attention.keyValueHeadCount == expected["key_value_heads"]?.intValue, "\(name)")
        #expect(attention.headSize == expected["head_size"]?.intValue, "\(name)")
        #expect(attention.span == windows[index].intValue.map { .window($0) } ?? .causal, "\(name), layer \(index)")
        #expect((attention.rotary != nil) == (rotating[index] == 1), "\(name), layer \(index)")
        #expect(attention.norms.before?.epsilon == Float(epsilon), "\(name)")
        #expect(layer.feedForward.intermediateSize == expected["intermediate"]?.intValue, "\(name)")
        #expect(names(layer.feedForward.activation).contains(expected["activation"]?.stringValue ?? ""), "\(name)")
      }
      let thetas = expected["thetas"]?.numbers ?? []
      #expect(found.rotaries.count == thetas.count, "\(name)")
      let headSize = found.layers[0].attention.headSize
      for (rotary, theta) in zip(found.rotaries, thetas) {
        let turned = Int(Double(headSize) * (expected["rotated"]?.doubleValue ?? 1))
        #expect(rotary.frequencies.count == turned / 2, "\(name)")
        #expect(rotary.frequencies[1] == 1 / pow(theta, 2 / Double(turned)), "\(name)")
      }
    }
  }

  private func names(_ kind: ActivationKind) -> [String] {
    switch kind {
    case .silu: ["silu"]
    case .gelu: ["gelu"]
    case .geluTanh: ["gelu_new", "gelu_pytorch_tanh"]
    case .relu: ["relu"]
    }
  }

  @Test func keyValueHeadsThatAreNullAreAsManyAsHeads() throws {
    for family in ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"] {
      let found = try description("{\"architectures\": [\"\(family)\"], \"num_key_value_heads\": null}")
      #expect(found.layers[0].attention.keyValueHeadCount == 4, "\(family)")
    }
  }

  @Test func aWindowHidesNothingWhereItIsAsLongAsTheLongestText() throws {
    let name = #""architectures": ["MistralForCausalLM"]"#
    func span(_ window: String) throws -> AttentionSpan {
      try description("{\(name), \"sliding_window\": \(window)}").layers[1].attention.span
    }
    #expect(try description("{\(name)}").family == .mistral)
    #expect(try span("null") == .causal)
    #expect(try span("128") == .causal)
    #expect(try span("127") == .window(127))
  }

  @Test func anUnknownArchitectureIsAnsweredWithTheSupportedOnes() {
    let text = message { _ = try description(#"{"architectures": ["ElectraForMaskedLM"]}"#) }
    #expect(text.contains("ElectraForMaskedLM"))
    for family in Family.allCases { #expect(text.contains(family.architecture)) }
  }

  @Test func aTypeStandsInForAnArchitectureThatIsMissing() throws {
    #expect(try description(#"{"architectures": null, "model_type": "qwen2"}"#).family == .qwen2)
    #expect(message { _ = try description(#"{"architectures": null, "model_type": "electra"}"#) }.contains("electra"))
    #expect(message { _ = try description(#"{"architectures": null}"#) }.contains("architecture none"))
  }

  static let refused: [(String, changes: String, expected: String)] = [
    ("Llama", #"{"hidden_size": 72}"#, "hidden_size"), ("Llama", #"{"hidden_size": "64"}"#, "hidden_size"),
    ("Llama", #"{"hidden_size": null}"#, "hidden_size is missing"),
    ("Llama", #"{"hidden_size": 1e300}"#, "hidden_size"),
    ("Llama", #"{"hidden_size": 96, "num_attention_heads": 5, "num_key_value_heads": 5}"#, "num_attention_heads"),
    ("Llama", #"{"intermediate_size": 100}"#, "intermediate_size"),
    ("Llama", #"{"intermediate_size": null}"#, "intermediate_size is missing"),
    ("Llama", #"{"num_hidden_layers": 0}"#, "num_hidden_layers"),
    ("Llama", #"{"num_hidden_layers": 9223372036854775807}"#, "num_hidden_layers"),
    ("Llama", #"{"num_attention_heads": -4}"#, "num_attention_heads"),
    ("Llama", #"{"num_key_value_heads": 3}"#, "key-value heads"),
    ("Llama", #"{"num_key_value_heads": 0}"#, "num_key_value_heads"),
    ("Llama", #"{"head_dim": 12}"#, "head size 12"), ("Llama", #"{"head_dim": 4096}"#, "head_dim"),
    ("Llama", #"{"vocab_size": 1000001}"#, "vocab_size"), ("Llama", #"{"vocab_size": null}"#, "vocab_size is missing"),
    ("Llama", #"{"max_position_embeddings": 0}"#, "max_position_embeddings"),
    ("Llama", #"{"hidden_act": "tanh"}"#, "hidden_act tanh"), ("Llama", #"{"hidden_act": 3}"#, "hidden_act"),
    ("Llama", #"{"mlp_bias": 1}"#, "mlp_bias"), ("Llama", #"{"attention_bias": "yes"}"#, "attention_bias"),
    ("Llama", #"{"tie_word_embeddings": 0}"#, "tie_word_embeddings"),
    ("Llama", #"{"rms_norm_eps": 0}"#, "rms_norm_eps"), ("Llama", #"{"rms_norm_eps": "x"}"#, "rms_norm_eps"),
    ("Llama", #"{"rope_theta": -1}"#, "rope_theta"), ("Llama", #"{"rope_scaling": 3}"#, "rope_parameters"),
    ("Llama", #"{"partial_rotary_factor": 0.5}"#, "partial_rotary_factor"),
    ("Llama", #"{"rope_scaling": {"type": "ntk", "factor": 2}}"#, "rope type ntk"),
    ("Llama", #"{"rope_scaling": {"type": "linear"}}"#, "factor is missing"),
    ("Llama", #"{"rope_scaling": {"type": "dynamic", "factor": 0.5}}"#, "factor is 0.5"),
    ("Llama", #"{"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": 0}}"#, "beta_fast"),
    ("Llama", #"{"rope_scaling": {"type": "yarn", "factor": 2, "attention_factor": "x"}}"#, "attention_factor"),
    ("Llama", #"{"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}}"#, "short_factor"),
    (
      "Llama", #"{"rope_scaling": {"type": "longrope", "short_factor": [1,1,1,1,1,1,1,0], "long_factor": [1]}}"#,
      "short_factor"
    ),
    (
      "Llama", #"{"rope_scaling": {"type": "longrope", "short_factor": [1,1,1,1,1,1,1,1], "long_factor": [1]}}"#,
      "long_factor"
    ),
    (
      "Llama",
      """
      {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
       "original_max_position_embeddings": 1e300}}
      """, "original_max_position_embeddings"
    ),
    (
      "Llama",
      """
      {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
       "original_max_position_embeddings": 64}}
      """, "low_freq_factor 4.0 is not below"
    ),
    ("Mistral", #"{"sliding_window": 0}"#, "sliding_window"),
    ("Qwen2", #"{"use_sliding_window": true, "sliding_window": -1}"#, "sliding_window"),
    ("Qwen2", #"{"max_window_layers": "x"}"#, "max_window_layers"),
    ("Qwen2", #"{"use_sliding_window": true, "layer_types": ["full_attention"]}"#, "layer_types"),
    ("Qwen3", #"{"attention_bias": 2}"#, "attention_bias"), ("Qwen3", #"{"head_dim": 0}"#, "head_dim"),
    ("SmolLM3", #"{"no_rope_layers": [1]}"#, "no_rope_layers"),
    ("SmolLM3", #"{"no_rope_layers": [1, 2]}"#, "no_rope_layers"),
    ("SmolLM3", #"{"no_rope_layer_interval": 0}"#, "no_rope_layer_interval"),
    ("Phi3", #"{"sliding_window": "x"}"#, "sliding_window"),
    ("Phi3", #"{"partial_rotary_factor": 0.01}"#, "partial_rotary_factor"),
    ("GPT2LMHead", #"{"n_embd": 66}"#, "n_embd 66"),
    (
      "GPT2LMHead", #"{"n_embd": 80, "n_head": 2}"#,
      "head size 40 with 2 heads makes 80 columns, expected a multiple of 32"
    ),
    ("GPT2LMHead", #"{"n_head": 0}"#, "n_head"),
    ("GPT2LMHead", #"{"n_layer": 0}"#, "n_layer"), ("GPT2LMHead", #"{"n_positions": 0}"#, "n_positions"),
    ("GPT2LMHead", #"{"n_inner": 1}"#, "n_inner"), ("GPT2LMHead", #"{"vocab_size": 1}"#, "vocab_size"),
    ("GPT2LMHead", #"{"layer_norm_epsilon": 0}"#, "layer_norm_epsilon"),
    ("GPT2LMHead", #"{"activation_function": "tanh"}"#, "activation_function tanh"),
    ("GPT2LMHead", #"{"scale_attn_weights": "x"}"#, "scale_attn_weights"),
    ("GPT2LMHead", #"{"scale_attn_by_inverse_layer_idx": 1}"#, "scale_attn_by_inverse_layer_idx"),
    ("GPT2LMHead", #"{"add_cross_attention": true}"#, "add_cross_attention is true"),
    ("OPT", #"{"hidden_size": 70}"#, "hidden_size 70"), ("OPT", #"{"word_embed_proj_dim": 8}"#, "word_embed_proj_dim"),
    ("OPT", #"{"ffn_dim": 0}"#, "ffn_dim"), ("OPT", #"{"do_layer_norm_before": 1}"#, "do_layer_norm_before"),
    ("OPT", #"{"max_position_embeddings": -1}"#, "max_position_embeddings"),
    ("OPT", #"{"enable_bias": "x"}"#, "enable_bias"),
    ("OPT", #"{"layer_norm_elementwise_affine": "x"}"#, "layer_norm_elementwise_affine"),
    ("OPT", #"{"activation_function": "mish"}"#, "activation_function mish"),
    ("OPT", #"{"_remove_final_layer_norm": 3}"#, "_remove_final_layer_norm"),
    ("Gemma3", #"{"use_bidirectional_attention": true}"#, "use_bidirectional_attention"),
    ("Gemma3", #"{"final_logit_softcapping": 30.0}"#, "final_logit_softcapping"),
    ("Gemma3", #"{"hidden_activation": "tanh"}"#, "hidden_activation tanh"),
    ("Gemma3", #"{"query_pre_attn_scalar": 0}"#, "query_pre_attn_scalar"),
    ("Gemma3", #"{"sliding_window": 0}"#, "sliding_window"),
    ("Gemma3", #"{"sliding_window_pattern": 0}"#, "sliding_window_pattern"),
    ("Gemma3", #"{"rope_local_base_freq": 0}"#, "rope_local_base_freq"),
    ("Gemma3", #"{"rope_parameters": {"full_attention": 3}}"#, "rope_parameters of full_attention"),
    ("Gemma3", #"{"head_dim": 20}"#, "head size 20"),
    ("GPTNeoX", #"{"rotary_pct": 2}"#, "rotary_pct"), ("GPTNeoX", #"{"rotary_emb_base": 0}"#, "rotary_emb_base"),
    ("GPTNeoX", #"{"layer_norm_eps": 1}"#, "layer_norm_eps"),
    ("GPTNeoX", #"{"use_parallel_residual": "x"}"#, "use_parallel_residual"),
    ("GPTNeoX", #"{"attention_bias": "x"}"#, "attention_bias"),
    ("GPTNeoX", #"{"rotary_pct": 0.01}"#, "leaves nothing of heads"),
  ]

  @Test(arguments: refused.indices) func aFieldOutOfRangeIsRefusedByName(index: Int) throws {
    let (family, changes, expected) = Self.refused[index]
    let json = try configuration(changes, over: try #require(Self.bases[family]))
    let text = message { _ = try ModelDescription(json: json, file: "config.json") }
    #expect(text.hasPrefix("config.json: ") && text.contains(expected), "\(family) \(changes): \(text)")
  }

  /// Every base is taken as it is, or the refusals would prove nothing.
  @Test(arguments: bases.keys) func whatTheRefusalsChangeIsTaken(family: String) throws {
    let found = try description("{}", over: try #require(Self.bases[family]))
    #expect(found.layers.count == 2)
  }

  static let bases: [String: String] = {
    let gated = tinyLlama
    var bases: [String: String] = [:]
    for family in ["Llama", "Mistral", "Qwen2", "Qwen3", "SmolLM3", "Phi3", "Gemma3"] {
      bases[family] = gated.replacingOccurrences(of: "LlamaFor", with: "\(family)For")
    }
    bases["GPT2LMHead"] = #"{"architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_layer": 2, "n_head": 4}"#
    bases["OPT"] = """
      {"architectures": ["OPTForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
       "ffn_dim": 96}
      """
    bases["GPTNeoX"] = """
      {"architectures": ["GPTNeoXForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
       "intermediate_size": 96}
      """
    return bases
  }()

  @Test func namesOfLabelsMayBeNumbers() throws {
    let json = try JSONValue.parse(
      """
      {"architectures": ["BertForSequenceClassification"], "model_type": "bert",
       "id2label": {"1": 5, "0": 1, "2": "x"}}
      """, file: "config.json")
    #expect(try ModelDescription(json: json, file: "config.json").labelling?.labels == ["1", "5", "x"])
  }
}
