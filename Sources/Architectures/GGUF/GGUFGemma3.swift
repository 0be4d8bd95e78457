import Formats

/// Gemma 3, text.
enum GGUFGemma3 {
  static func configuration(_ metadata: GGUFMetadata) throws -> JSONObject {
    try metadata.refuseUnlessZero(["attn_logit_softcapping"])
    var json = try metadata.configuration(of: .gemma3)
    let heads = try metadata.integer("attention.head_count", default: 8)
    let layers = try metadata.integer("block_count")
    let hidden = try metadata.integer("embedding_length")
    let headSize = try metadata.headSize()
    guard (1...512).contains(layers) else { throw metadata.refuse("metadata gemma3.block_count is \(layers)") }
    json["hidden_size"] = .integer(hidden)
    json["intermediate_size"] = .integer(try metadata.integer("feed_forward_length"))
    json["num_hidden_layers"] = .integer(layers)
    json["num_attention_heads"] = .integer(heads)
    json["num_key_value_heads"] = .integer(try metadata.integer("attention.head_count_kv", default: heads))
    json["head_dim"] = .integer(headSize)
    json["max_position_embeddings"] = .integer(try metadata.integer("context_length"))
    json["rms_norm_eps"] = .number(try metadata.number("attention.layer_norm_rms_epsilon"))
    json["hidden_activation"] = .string("gelu_pytorch_tanh")
    json["attention_bias"] = .bool(
      ["q", "k", "v", "output"].contains { metadata.has(tensor: "blk.0.attn_\($0).bias") })
    // The file does not say; llama.cpp tells the 27B model by its layers.
    json["query_pre_attn_scalar"] = .integer(layers == 62 ? hidden / heads : headSize)
    json["final_logit_softcapping"] =
      try metadata.number("final_logit_softcapping", default: 0) > 0
      ? .number(try metadata.number("final_logit_softcapping")) : .null
    let window = try metadata.integer("attention.sliding_window", default: 0)
    let windowed = window > 0 ? try windowedLayers(metadata, count: layers) : [Bool](repeating: false, count: layers)
    json["layer_types"] = .array(windowed.map { .string($0 ? "sliding_attention" : "full_attention") })
    json["sliding_window"] = .integer(window > 0 ? window : try metadata.integer("context_length"))
    json["rope_parameters"] = .object(
      JSONObject([
        ("full_attention", .object(try metadata.rotary(isPartial: false))),
        (
          "sliding_attention",
          .object(
            JSONObject([
              ("rope_type", .string("default")),
              ("rope_theta", .number(try metadata.number("rope.freq_base_swa", default: 10_000))),
            ]))
        ),
      ]))
    return json
  }

  /// All but every sixth, unless the file has another interval or a list.
  private static func windowedLayers(_ metadata: GGUFMetadata, count: Int) throws -> [Bool] {
    let key = "gemma3.attention.sliding_window_pattern"
    guard let pattern = metadata.file.metadata[key] else { return (0..<count).map { ($0 + 1) % 6 != 0 } }
    if let interval = pattern.intValue {
      guard (0...100_000).contains(interval) else { throw metadata.refuse("metadata \(key) is \(interval)") }
      return (0..<count).map { interval == 0 || ($0 + 1) % interval != 0 }
    }
    let flags = pattern.arrayValue?.compactMap { $0.boolValue ?? $0.intValue.map { $0 != 0 } } ?? []
    guard flags.count == count else {
      throw metadata.refuse("metadata \(key) does not say yes or no for \(count) layers")
    }
    return flags
  }
}
