/// GPT-NeoX and Pythia: both blocks of a layer see its input, a quarter of each head turns, and one product makes each
/// head's query, key and value in turn.
///
/// Source: Black et al. 2022, arXiv 2204.06745.
enum GPTNeoX {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let hidden = try reader.integer("hidden_size", 32...65_536, default: 6144)
    let layerCount = try reader.integer("num_hidden_layers", 1...512, default: 44)
    let heads = try reader.integer("num_attention_heads", 1...1024, default: 64)
    let inner = try reader.integer("intermediate_size", 32...262_144, default: 24_576)
    let maximumPositions = try reader.integer("max_position_embeddings", 1...100_000_000, default: 2048)
    let vocabulary = try reader.integer("vocab_size", 2...1_000_000, default: 50_432)
    let epsilon = Float(try reader.number("layer_norm_eps", 1e-12...0.1, default: 1e-5))
    let activation = try reader.activation("hidden_act", default: "gelu")
    let hasBias = try reader.flag("attention_bias", default: true)
    guard hidden % heads == 0 else {
      throw reader.refuse("hidden_size \(hidden) is not a multiple of num_attention_heads \(heads)")
    }
    let headSize = hidden / heads
    try reader.checkHeads(heads, keyValue: heads, size: headSize)
    let rope = try reader.rotaryParameters()
    let part = try ConfigurationReader(json: rope, file: reader.file).number(
      "partial_rotary_factor", 0...1,
      default: try reader.number(
        "partial_rotary_factor", 0...1, default: try reader.number("rotary_pct", 0...1, default: 0.25)))
    let rotary = try reader.rotary(
      rope, headSize: headSize, part: part,
      theta: try reader.number(
        "rope_theta", 1...1e12, default: try reader.number("rotary_emb_base", 1...1e12, default: 10_000)),
      maximumPositions: maximumPositions)
    func norm(_ path: String, gguf: String) -> NormDescription {
      NormDescription(.layer, path, size: hidden, epsilon: epsilon, gguf: gguf)
    }
    let isParallel = try reader.flag("use_parallel_residual", default: true)
    let layers = (0..<layerCount).map { layer -> LayerDescription in
      let (path, blk) = ("gpt_neox.layers.\(layer)", "blk.\(layer)")
      func linear(
        _ name: String, out: Int, in input: Int, hasBias: Bool, gguf: String, rows: RowOrder = .same
      ) -> LinearDescription {
        LinearDescription("\(path).\(name)", out: out, in: input, hasBias: hasBias, gguf: "\(blk).\(gguf)", rows: rows)
      }
      return LayerDescription(
        attention: AttentionDescription(
          norms: BlockNorms(before: norm("\(path).input_layernorm", gguf: "\(blk).attn_norm")),
          projections: .fusedByHead(
            linear(
              "attention.query_key_value", out: 3 * hidden, in: hidden, hasBias: hasBias, gguf: "attn_qkv",
              rows: .byProjection(heads: heads))),
          output: linear("attention.dense", out: hidden, in: hidden, hasBias: hasBias, gguf: "attn_output"),
          headCount: heads, keyValueHeadCount: heads, headSize: headSize, rotary: 0, span: .causal),
        feedForward: FeedForwardDescription(
          norms: BlockNorms(before: norm("\(path).post_attention_layernorm", gguf: "\(blk).ffn_norm")),
          inner: .plain(up: linear("mlp.dense_h_to_4h", out: inner, in: hidden, hasBias: true, gguf: "ffn_up")),
          activation: activation,
          down: linear("mlp.dense_4h_to_h", out: hidden, in: inner, hasBias: true, gguf: "ffn_down")),
        isParallel: isParallel)
    }
    let embedding = EmbeddingDescription(
      tokens: TensorDescription(
        "gpt_neox.embed_in.weight", shape: [vocabulary, hidden], role: .embedding, gguf: .init("token_embd.weight")))
    let isTied = try reader.flag("tie_word_embeddings", default: false)
    return ModelDescription(
      family: .gptNeoX, reader: reader, maximumPositions: maximumPositions, embedding: embedding, layers: layers,
      head: HeadDescription(
        norm: norm("gpt_neox.final_layer_norm", gguf: "output_norm"),
        weight: isTied
          ? embedding.tokens
          : TensorDescription(
            "embed_out.weight", shape: [vocabulary, hidden], role: .embedding, gguf: .init("output.weight")),
        isTied: isTied),
      rotaries: [rotary])
  }
}
