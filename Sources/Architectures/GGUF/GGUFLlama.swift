import Formats

/// Llama, and what is made of its parts: Mistral (GGUF calls it llama), Qwen2, Qwen3, SmolLM3.
enum GGUFLlama {
  /// - Parameter isPartial: whether a part of each head may turn
  static func configuration(_ metadata: GGUFMetadata, _ family: Family, isPartial: Bool = false) throws -> JSONObject {
    var json = try metadata.configuration(of: family)
    let heads = try metadata.integer("attention.head_count")
    json["hidden_size"] = .integer(try metadata.integer("embedding_length"))
    json["intermediate_size"] = .integer(try metadata.integer("feed_forward_length"))
    json["num_hidden_layers"] = .integer(try metadata.integer("block_count"))
    json["num_attention_heads"] = .integer(heads)
    json["num_key_value_heads"] = .integer(try metadata.integer("attention.head_count_kv", default: heads))
    json["max_position_embeddings"] = .integer(try metadata.integer("context_length"))
    json["rms_norm_eps"] = .number(try metadata.number("attention.layer_norm_rms_epsilon"))
    json["rope_parameters"] = .object(try metadata.rotary(isPartial: isPartial))
    json["hidden_act"] = .string("silu")
    json["attention_bias"] = .bool(
      family != .qwen2 && ["q", "k", "v", "output"].contains { metadata.has(tensor: "blk.0.attn_\($0).bias") })
    json["mlp_bias"] = .bool(
      ["gate", "up", "down"].contains { metadata.has(tensor: "blk.0.ffn_\($0).bias") })
    if metadata["attention.key_length"] != nil { json["head_dim"] = .integer(try metadata.headSize()) }
    return json
  }

  /// A window makes a Mistral of it: llama.cpp passes over one, the models that have it do not.
  static func llama(_ metadata: GGUFMetadata) throws -> JSONObject {
    let window = try metadata.integer("attention.sliding_window", default: 0)
    guard window > 0, window < (try metadata.integer("context_length")) else {
      return try configuration(metadata, .llama)
    }
    var json = try configuration(metadata, .mistral)
    json["sliding_window"] = .integer(window)
    return json
  }

  static func qwen3(_ metadata: GGUFMetadata) throws -> JSONObject {
    var json = try configuration(metadata, .qwen3)
    json["head_dim"] = .integer(try metadata.headSize())
    return json
  }

  /// llama.cpp turns no heads in every fourth layer, whatever a file says.
  static func smolLM3(_ metadata: GGUFMetadata) throws -> JSONObject {
    var json = try configuration(metadata, .smollm3)
    json["no_rope_layer_interval"] = .integer(4)
    let count = try metadata.integer("block_count")
    guard (1...512).contains(count) else { throw metadata.refuse("metadata smollm3.block_count is \(count)") }
    json["no_rope_layers"] = .array((1...count).map { .integer($0 % 4 == 0 ? 0 : 1) })
    json["use_sliding_window"] = .bool(false)
    return json
  }
}
