import Formats

/// GPT-NeoX and Pythia.
enum GGUFGPTNeoX {
  static func configuration(_ metadata: GGUFMetadata) throws -> JSONObject {
    var json = try metadata.configuration(of: .gptNeoX)
    json["hidden_size"] = .integer(try metadata.integer("embedding_length"))
    json["intermediate_size"] = .integer(try metadata.integer("feed_forward_length"))
    json["num_hidden_layers"] = .integer(try metadata.integer("block_count"))
    json["num_attention_heads"] = .integer(try metadata.integer("attention.head_count"))
    json["max_position_embeddings"] = .integer(try metadata.integer("context_length"))
    json["layer_norm_eps"] = .number(try metadata.number("attention.layer_norm_epsilon"))
    json["hidden_act"] = .string("gelu")
    json["attention_bias"] = .bool(metadata.has(tensor: "blk.0.attn_qkv.bias"))
    json["use_parallel_residual"] = .bool(try metadata.flag("use_parallel_residual", default: true))
    let rope = try metadata.rotary(isPartial: true)
    json["rope_parameters"] = .object(rope)
    // Older readers take these.
    json["rotary_pct"] = rope["partial_rotary_factor"] ?? .number(1)
    json["rotary_emb_base"] = rope["rope_theta"]
    return json
  }
}
