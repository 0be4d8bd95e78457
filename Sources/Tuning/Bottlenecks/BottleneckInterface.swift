import Architectures
import Formats

extension Family {
  /// How AdapterHub is told where bottlenecks stand in models that it has no classes of its own for: its own interfaces of
  /// Gemma 3, Qwen2 and Qwen3, and others made alike. `nil` where it needs none, or there is none that places them so.
  var adapterHubInterface: AdapterHubInterface? {
    var names = [
      "model_embeddings": "embed_tokens", "model_layers": "layers", "layer_self_attn": "self_attn",
      "attn_k_proj": "k_proj", "attn_q_proj": "q_proj", "attn_v_proj": "v_proj", "attn_o_proj": "o_proj",
      "layer_intermediate_proj": "mlp.up_proj", "layer_output_proj": "mlp.down_proj",
      "layer_pre_self_attn": "input_layernorm", "layer_pre_ffn": "post_attention_layernorm",
    ]
    switch self {
    case .qwen2, .qwen3, .smollm3: break
    case .gemma3:
      names["layer_pre_ffn"] = "pre_feedforward_layernorm"
      names["layer_ln_1"] = "post_attention_layernorm"
      names["layer_ln_2"] = "post_feedforward_layernorm"
      names["base_model"] = "model"
    case .gptNeoX:
      names["model_embeddings"] = "embed_in"
      names["layer_self_attn"] = "attention"
      for key in ["attn_k_proj", "attn_q_proj", "attn_v_proj"] { names[key] = nil }
      names["attn_qkv_proj"] = "query_key_value"
      names["attn_o_proj"] = "dense"
      names["layer_intermediate_proj"] = "mlp.dense_h_to_4h"
      names["layer_output_proj"] = "mlp.dense_4h_to_h"
    default: return nil
    }
    return AdapterHubInterface(modelType: rawValue, names: names)
  }
}
