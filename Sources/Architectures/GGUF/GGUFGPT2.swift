import Formats

/// GPT-2.
enum GGUFGPT2 {
  static func configuration(_ metadata: GGUFMetadata) throws -> JSONObject {
    var json = try metadata.configuration(of: .gpt2)
    json["n_embd"] = .integer(try metadata.integer("embedding_length"))
    json["n_inner"] = .integer(try metadata.integer("feed_forward_length"))
    json["n_layer"] = .integer(try metadata.integer("block_count"))
    json["n_head"] = .integer(try metadata.integer("attention.head_count"))
    json["n_positions"] = .integer(try metadata.integer("context_length"))
    json["n_ctx"] = json["n_positions"]
    json["layer_norm_epsilon"] = .number(try metadata.number("attention.layer_norm_epsilon"))
    json["activation_function"] = .string("gelu_new")
    return json
  }
}
