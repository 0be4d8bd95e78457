import Formats

/// Gemma 3, text: a scaled embedding, norms `1 + w` before and after each block and of queries and keys, GeGLU, and
/// windows in most layers, which turn by another base than the others.
///
/// Source: Gemma Team 2025, arXiv 2503.19786.
enum Gemma3 {
  /// The model of text and images, of which only the part for text is taken.
  static let conditional = "Gemma3ForConditionalGeneration"

  static func describe(_ whole: ConfigurationReader) throws -> ModelDescription {
    let reader = ConfigurationReader(json: textConfiguration(whole.json), file: whole.file)
    if try reader.flag("use_bidirectional_attention", default: false) {
      throw reader.refuse("use_bidirectional_attention is not supported: the model is an encoder")
    }
    if reader["final_logit_softcapping"] != nil { throw reader.refuse("final_logit_softcapping is not supported") }
    let hidden = try reader.integer("hidden_size", 32...65_536, default: 2304)
    let inner = try reader.integer("intermediate_size", 32...262_144, default: 9216)
    let layerCount = try reader.integer("num_hidden_layers", 1...512, default: 26)
    let heads = try reader.integer("num_attention_heads", 1...1024, default: 8)
    let keyValueHeads = try reader.integer("num_key_value_heads", 1...1024, default: 4)
    let headSize = try reader.integer("head_dim", 8...1024, default: 256)
    let vocabulary = try reader.integer("vocab_size", 2...1_000_000, default: 262_208)
    let maximumPositions = try reader.integer("max_position_embeddings", 1...100_000_000, default: 131_072)
    let epsilon = Float(try reader.number("rms_norm_eps", 1e-12...0.1, default: 1e-6))
    let bias = try reader.flag("attention_bias", default: false)
    let activation = try reader.activation("hidden_activation", default: "gelu_pytorch_tanh")
    let scale = 1 / Float(try reader.number("query_pre_attn_scalar", 1e-3...1e9, default: 256)).squareRoot()
    let window = try reader.integer("sliding_window", 1...1 << 40, default: 4096)
    try reader.checkHeads(heads, keyValue: keyValueHeads, size: headSize)
    guard hidden % 32 == 0, inner % 32 == 0 else {
      throw reader.refuse("hidden_size \(hidden) and intermediate_size \(inner), expected multiples of 32")
    }
    let interval = try reader.integer(
      "sliding_window_pattern", 1...100_000,
      default: try reader.integer("_sliding_window_pattern", 1...100_000, default: 6))
    let windowed = try reader.windowedLayers(count: layerCount) { ($0 + 1) % interval != 0 }

    func norm(_ path: String, size: Int? = nil, gguf: String) -> NormDescription {
      NormDescription(.rootMeanSquare, path, size: size ?? hidden, epsilon: epsilon, weightOffset: 1, gguf: gguf)
    }
    let layers = (0..<layerCount).map { layer -> LayerDescription in
      let (path, blk) = ("model.layers.\(layer)", "blk.\(layer)")
      func linear(_ name: String, out: Int, in input: Int, hasBias: Bool = false, gguf: String) -> LinearDescription {
        LinearDescription("\(path).\(name)", out: out, in: input, hasBias: hasBias, gguf: "\(blk).\(gguf)")
      }
      func attention(_ name: String, heads: Int, gguf: String) -> LinearDescription {
        linear("self_attn.\(name)", out: heads * headSize, in: hidden, hasBias: bias, gguf: gguf)
      }
      return LayerDescription(
        attention: AttentionDescription(
          norms: BlockNorms(
            before: norm("\(path).input_layernorm", gguf: "\(blk).attn_norm"),
            after: norm("\(path).post_attention_layernorm", gguf: "\(blk).post_attention_norm")),
          projections: .separate(
            query: attention("q_proj", heads: heads, gguf: "attn_q"),
            key: attention("k_proj", heads: keyValueHeads, gguf: "attn_k"),
            value: attention("v_proj", heads: keyValueHeads, gguf: "attn_v")),
          output: linear("self_attn.o_proj", out: hidden, in: heads * headSize, hasBias: bias, gguf: "attn_output"),
          headCount: heads, keyValueHeadCount: keyValueHeads, headSize: headSize, scale: scale,
          queryNorm: norm("\(path).self_attn.q_norm", size: headSize, gguf: "\(blk).attn_q_norm"),
          keyNorm: norm("\(path).self_attn.k_norm", size: headSize, gguf: "\(blk).attn_k_norm"),
          rotary: windowed[layer] ? 1 : 0,
          span: reader.span(window: windowed[layer] ? window : nil, maximumPositions: maximumPositions)),
        feedForward: FeedForwardDescription(
          norms: BlockNorms(
            before: norm("\(path).pre_feedforward_layernorm", gguf: "\(blk).ffn_norm"),
            after: norm("\(path).post_feedforward_layernorm", gguf: "\(blk).post_ffw_norm")),
          inner: .gated(
            gate: linear("mlp.gate_proj", out: inner, in: hidden, gguf: "ffn_gate"),
            up: linear("mlp.up_proj", out: inner, in: hidden, gguf: "ffn_up")),
          activation: activation, down: linear("mlp.down_proj", out: hidden, in: inner, gguf: "ffn_down")))
    }
    var embedding = EmbeddingDescription(
      tokens: TensorDescription(
        "model.embed_tokens.weight", shape: [vocabulary, hidden], role: .embedding, gguf: .init("token_embd.weight")))
    embedding.scale = Float(hidden).squareRoot()
    let isTied = try reader.flag("tie_word_embeddings", default: try whole.flag("tie_word_embeddings", default: true))
    return ModelDescription(
      family: .gemma3, reader: reader, maximumPositions: maximumPositions, embedding: embedding, layers: layers,
      head: HeadDescription(
        norm: norm("model.norm", gguf: "output_norm"),
        weight: isTied
          ? embedding.tokens
          : TensorDescription(
            "lm_head.weight", shape: [vocabulary, hidden], role: .embedding, gguf: .init("output.weight")),
        isTied: isTied),
      rotaries: try rotaries(reader, headSize: headSize, maximumPositions: maximumPositions))
  }

  /// Of whole layers, and of those with a window, which older files give a base of their own and nothing else.
  private static func rotaries(
    _ reader: ConfigurationReader, headSize: Int, maximumPositions: Int
  ) throws -> [RotaryDescription] {
    let whole = try reader.rotaryParameters(layerType: "full_attention")
    let all = try reader.rotaryParameters()
    let isNested = all["sliding_attention"] != nil
    let windowed = isNested ? try reader.rotaryParameters(layerType: "sliding_attention") : .object(JSONObject())
    return [
      try reader.rotary(
        whole, headSize: headSize, theta: try reader.number("rope_theta", 1...1e12, default: 1_000_000),
        maximumPositions: maximumPositions),
      try reader.rotary(
        windowed, headSize: headSize, theta: try reader.number("rope_local_base_freq", 1...1e12, default: 10_000),
        maximumPositions: maximumPositions),
    ]
  }

  /// The part of a configuration that describes the model of text, as a configuration of its own.
  static func textConfiguration(_ json: JSONValue) -> JSONValue {
    guard var text = json["text_config"]?.objectValue else { return json }
    text["architectures"] = .array([.string(Family.gemma3.architecture)])
    text["model_type"] = .string(Family.gemma3.rawValue)
    for key in ["bos_token_id", "eos_token_id", "pad_token_id", "dtype", "torch_dtype", "tie_word_embeddings"]
    where text[key] == nil {
      text[key] = json[key]
    }
    return .object(text)
  }
}
