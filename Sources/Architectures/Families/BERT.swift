/// BERT: attention both ways, learned positions, token types, LayerNorm after each residual, GELU. RoBERTa and XLM-RoBERTa are
/// made of the same parts.
///
/// Source: Devlin et al. 2018, arXiv 1810.04805.
enum BERT {
  /// The layer that reads the first token for a label of the whole text.
  static let pooler = "bert.pooler.dense"

  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    try describe(reader, family: .bert, stem: "bert", vocabulary: 30_522, positionOffset: 0)
  }

  /// - Parameters:
  ///   - stem: how names begin
  ///   - vocabulary: where `vocab_size` does not say
  ///   - positionOffset: rows of the table before that of position 0
  static func describe(
    _ reader: ConfigurationReader, family: Family, stem: String, vocabulary: Int, positionOffset: Int
  ) throws -> ModelDescription {
    let hidden = try reader.integer("hidden_size", 32...65_536, default: 768)
    let layerCount = try reader.integer("num_hidden_layers", 1...512, default: 12)
    let heads = try reader.integer("num_attention_heads", 1...1024, default: 12)
    let inner = try reader.integer("intermediate_size", 32...262_144, default: 3072)
    let positions = try reader.integer("max_position_embeddings", 1...1_000_000, default: 512)
    let types = try reader.integer("type_vocab_size", 1...1024, default: 2)
    let vocabulary = try reader.integer("vocab_size", 2...1_000_000, default: vocabulary)
    let epsilon = Float(try reader.number("layer_norm_eps", 1e-13...0.1, default: 1e-12))
    let activation = try reader.activation("hidden_act", default: "gelu")
    try reader.expect("is_decoder", false)
    try reader.expect("add_cross_attention", false)
    let kind = try reader.text("position_embedding_type", default: "absolute")
    guard kind == "absolute" else {
      throw reader.refuse("position_embedding_type \(kind) is not supported, expected absolute")
    }
    guard hidden % heads == 0 else {
      throw reader.refuse("hidden_size \(hidden) is not a multiple of num_attention_heads \(heads)")
    }
    guard positions > positionOffset else {
      throw reader.refuse("max_position_embeddings is \(positions), expected more than \(positionOffset)")
    }
    let headSize = hidden / heads
    try reader.checkHeads(heads, keyValue: heads, size: headSize)
    func norm(_ path: String) -> NormDescription { NormDescription(.layer, path, size: hidden, epsilon: epsilon) }
    let layers = (0..<layerCount).map { layer -> LayerDescription in
      let path = "\(stem).encoder.layer.\(layer)"
      func linear(_ name: String, out: Int, in input: Int) -> LinearDescription {
        LinearDescription("\(path).\(name)", out: out, in: input, hasBias: true)
      }
      func attention(_ name: String) -> LinearDescription { linear("attention.\(name)", out: hidden, in: hidden) }
      return LayerDescription(
        attention: AttentionDescription(
          norms: BlockNorms(around: norm("\(path).attention.output.LayerNorm")),
          projections: .separate(
            query: attention("self.query"), key: attention("self.key"), value: attention("self.value")),
          output: attention("output.dense"), headCount: heads, keyValueHeadCount: heads, headSize: headSize,
          rotary: nil, span: .whole),
        feedForward: FeedForwardDescription(
          norms: BlockNorms(around: norm("\(path).output.LayerNorm")),
          inner: .plain(up: linear("intermediate.dense", out: inner, in: hidden)), activation: activation,
          down: linear("output.dense", out: hidden, in: inner)))
    }
    func table(_ name: String, rows: Int, role: TensorDescription.Role = .table) -> TensorDescription {
      TensorDescription("\(stem).embeddings.\(name).weight", shape: [rows, hidden], role: role)
    }
    var embedding = EmbeddingDescription(tokens: table("word_embeddings", rows: vocabulary, role: .embedding))
    embedding.positions = .init(table: table("position_embeddings", rows: positions), offset: positionOffset)
    embedding.tokenTypes = table("token_type_embeddings", rows: types)
    embedding.norm = norm("\(stem).embeddings.LayerNorm")
    return ModelDescription(
      family: family, reader: reader, maximumPositions: positions - positionOffset, embedding: embedding,
      layers: layers, head: HeadDescription(), rotaries: [])
  }
}
