/// GPT-2: learned positions, LayerNorm before each block, biases everywhere, GELU; its files have weights transposed.
///
/// Source: Radford et al. 2019, "Language models are unsupervised multitask learners".
enum GPT2 {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let hidden = try reader.integer("n_embd", 32...65_536, default: 768)
    let layerCount = try reader.integer("n_layer", 1...512, default: 12)
    let heads = try reader.integer("n_head", 1...1024, default: 12)
    let positions = try reader.integer("n_positions", 1...1_000_000, default: 1024)
    let inner = try reader.integer("n_inner", 32...262_144, default: 4 * hidden)
    let vocabulary = try reader.integer("vocab_size", 2...1_000_000, default: 50_257)
    let epsilon = Float(try reader.number("layer_norm_epsilon", 1e-12...0.1, default: 1e-5))
    let activation = try reader.activation("activation_function", default: "gelu_new")
    let scales = try reader.flag("scale_attn_weights", default: true)
    let scalesByLayer = try reader.flag("scale_attn_by_inverse_layer_idx", default: false)
    try reader.expect("add_cross_attention", false)
    guard hidden % heads == 0 else { throw reader.refuse("n_embd \(hidden) is not a multiple of n_head \(heads)") }
    let headSize = hidden / heads
    try reader.checkHeads(heads, keyValue: heads, size: headSize)
    func norm(_ path: String, gguf: String) -> NormDescription {
      NormDescription(.layer, path, size: hidden, epsilon: epsilon, gguf: gguf)
    }
    let layers = (0..<layerCount).map { layer -> LayerDescription in
      let (path, blk) = ("transformer.h.\(layer)", "blk.\(layer)")
      func linear(_ name: String, out: Int, in input: Int, gguf: String) -> LinearDescription {
        LinearDescription(
          "\(path).\(name)", out: out, in: input, hasBias: true, isTransposed: true, gguf: "\(blk).\(gguf)")
      }
      let scale = (scales ? 1 / Float(headSize).squareRoot() : 1) / (scalesByLayer ? Float(layer + 1) : 1)
      return LayerDescription(
        attention: AttentionDescription(
          norms: BlockNorms(before: norm("\(path).ln_1", gguf: "\(blk).attn_norm")),
          projections: .fused(linear("attn.c_attn", out: 3 * hidden, in: hidden, gguf: "attn_qkv")),
          output: linear("attn.c_proj", out: hidden, in: hidden, gguf: "attn_output"), headCount: heads,
          keyValueHeadCount: heads, headSize: headSize, scale: scale, rotary: nil, span: .causal),
        feedForward: FeedForwardDescription(
          norms: BlockNorms(before: norm("\(path).ln_2", gguf: "\(blk).ffn_norm")),
          inner: .plain(up: linear("mlp.c_fc", out: inner, in: hidden, gguf: "ffn_up")), activation: activation,
          down: linear("mlp.c_proj", out: hidden, in: inner, gguf: "ffn_down")))
    }
    var embedding = EmbeddingDescription(
      tokens: TensorDescription(
        "transformer.wte.weight", shape: [vocabulary, hidden], role: .embedding, gguf: .init("token_embd.weight")))
    embedding.positions = .init(
      table: TensorDescription(
        "transformer.wpe.weight", shape: [positions, hidden], role: .table, gguf: .init("position_embd.weight")),
      offset: 0)
    let isTied = try reader.flag("tie_word_embeddings", default: true)
    return ModelDescription(
      family: .gpt2, reader: reader, maximumPositions: positions, embedding: embedding, layers: layers,
      head: HeadDescription(
        norm: norm("transformer.ln_f", gguf: "output_norm"),
        weight: isTied
          ? embedding.tokens
          : TensorDescription(
            "lm_head.weight", shape: [vocabulary, hidden], role: .embedding, gguf: .init("output.weight")),
        isTied: isTied),
      rotaries: [])
  }
}
