/// OPT: learned positions, LayerNorm, ReLU. The 350m model has its norms after the residual and an embedding of another
/// width than its layers.
///
/// Source: Zhang et al. 2022, arXiv 2205.01068.
enum OPT {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let hidden = try reader.integer("hidden_size", 32...65_536, default: 768)
    let width = try reader.integer("word_embed_proj_dim", 32...65_536, default: hidden)
    let layerCount = try reader.integer("num_hidden_layers", 1...512, default: 12)
    let heads = try reader.integer("num_attention_heads", 1...1024, default: 12)
    let inner = try reader.integer("ffn_dim", 32...262_144, default: 3072)
    let positions = try reader.integer("max_position_embeddings", 1...1_000_000, default: 2048)
    let vocabulary = try reader.integer("vocab_size", 2...1_000_000, default: 50_272)
    let activation = try reader.activation("activation_function", default: "relu")
    let normsBefore = try reader.flag("do_layer_norm_before", default: true)
    let hasBias = try reader.flag("enable_bias", default: true)
    let hasNormWeights = try reader.flag("layer_norm_elementwise_affine", default: true)
    guard hidden % heads == 0 else {
      throw reader.refuse("hidden_size \(hidden) is not a multiple of num_attention_heads \(heads)")
    }
    let headSize = hidden / heads
    try reader.checkHeads(heads, keyValue: heads, size: headSize)
    func norm(_ path: String) -> NormDescription {
      NormDescription(.layer, hasNormWeights ? path : nil, size: hidden, epsilon: 1e-5)
    }
    func norms(_ path: String) -> BlockNorms {
      normsBefore ? BlockNorms(before: norm(path)) : BlockNorms(around: norm(path))
    }
    let stem = "model.decoder"
    let layers = (0..<layerCount).map { layer -> LayerDescription in
      let path = "\(stem).layers.\(layer)"
      func linear(_ name: String, out: Int, in input: Int) -> LinearDescription {
        LinearDescription("\(path).\(name)", out: out, in: input, hasBias: hasBias)
      }
      func attention(_ name: String) -> LinearDescription { linear("self_attn.\(name)", out: hidden, in: hidden) }
      return LayerDescription(
        attention: AttentionDescription(
          norms: norms("\(path).self_attn_layer_norm"),
          projections: .separate(query: attention("q_proj"), key: attention("k_proj"), value: attention("v_proj")),
          output: attention("out_proj"), headCount: heads, keyValueHeadCount: heads, headSize: headSize, rotary: nil,
          span: .causal),
        feedForward: FeedForwardDescription(
          norms: norms("\(path).final_layer_norm"), inner: .plain(up: linear("fc1", out: inner, in: hidden)),
          activation: activation, down: linear("fc2", out: hidden, in: inner)))
    }
    var embedding = EmbeddingDescription(
      tokens: TensorDescription("\(stem).embed_tokens.weight", shape: [vocabulary, width], role: .embedding))
    embedding.positions = .init(
      table: TensorDescription("\(stem).embed_positions.weight", shape: [positions + 2, hidden], role: .table),
      offset: 2)
    if width != hidden { embedding.projection = LinearDescription("\(stem).project_in", out: hidden, in: width) }
    let isTied = try reader.flag("tie_word_embeddings", default: true)
    let hasFinalNorm = try normsBefore && !reader.flag("_remove_final_layer_norm", default: false)
    return ModelDescription(
      family: .opt, reader: reader, maximumPositions: positions, embedding: embedding, layers: layers,
      head: HeadDescription(
        norm: hasFinalNorm ? norm("\(stem).final_layer_norm") : nil,
        projection: width == hidden ? nil : LinearDescription("\(stem).project_out", out: width, in: hidden),
        weight: isTied
          ? embedding.tokens : TensorDescription("lm_head.weight", shape: [vocabulary, width], role: .embedding),
        isTied: isTied),
      rotaries: [])
  }
}
