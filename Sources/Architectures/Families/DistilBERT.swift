/// DistilBERT: BERT without token types and pooler, under names of its own.
///
/// Source: Sanh et al. 2019, arXiv 1910.01108.
enum DistilBERT {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let hidden = try reader.integer("dim", 32...65_536, default: 768)
    let layerCount = try reader.integer("n_layers", 1...512, default: 6)
    let heads = try reader.integer("n_heads", 1...1024, default: 12)
    let inner = try reader.integer("hidden_dim", 32...262_144, default: 3072)
    let positions = try reader.integer("max_position_embeddings", 1...1_000_000, default: 512)
    let vocabulary = try reader.integer("vocab_size", 2...1_000_000, default: 30_522)
    let activation = try reader.activation("activation", default: "gelu")
    guard hidden % heads == 0 else { throw reader.refuse("dim \(hidden) is not a multiple of n_heads \(heads)") }
    let headSize = hidden / heads
    try reader.checkHeads(heads, keyValue: heads, size: headSize)
    func norm(_ path: String) -> NormDescription { NormDescription(.layer, path, size: hidden, epsilon: 1e-12) }
    let stem = "distilbert"
    let layers = (0..<layerCount).map { layer -> LayerDescription in
      let path = "\(stem).transformer.layer.\(layer)"
      func linear(_ name: String, out: Int, in input: Int) -> LinearDescription {
        LinearDescription("\(path).\(name)", out: out, in: input, hasBias: true)
      }
      func attention(_ name: String) -> LinearDescription { linear("attention.\(name)", out: hidden, in: hidden) }
      return LayerDescription(
        attention: AttentionDescription(
          norms: BlockNorms(around: norm("\(path).sa_layer_norm")),
          projections: .separate(query: attention("q_lin"), key: attention("k_lin"), value: attention("v_lin")),
          output: attention("out_lin"), headCount: heads, keyValueHeadCount: heads, headSize: headSize, rotary: nil,
          span: .whole),
        feedForward: FeedForwardDescription(
          norms: BlockNorms(around: norm("\(path).output_layer_norm")),
          inner: .plain(up: linear("ffn.lin1", out: inner, in: hidden)), activation: activation,
          down: linear("ffn.lin2", out: hidden, in: inner)))
    }
    var embedding = EmbeddingDescription(
      tokens: TensorDescription(
        "\(stem).embeddings.word_embeddings.weight", shape: [vocabulary, hidden], role: .embedding))
    embedding.positions = .init(
      table: TensorDescription(
        "\(stem).embeddings.position_embeddings.weight", shape: [positions, hidden], role: .table),
      offset: 0)
    embedding.norm = norm("\(stem).embeddings.LayerNorm")
    return ModelDescription(
      family: .distilBERT, reader: reader, maximumPositions: positions, embedding: embedding, layers: layers,
      head: HeadDescription(), rotaries: [])
  }
}
