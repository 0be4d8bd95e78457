/// Llama: RMSNorm before each block, grouped queries, rotary positions, SwiGLU. Mistral, Qwen and SmolLM3 are made of the
/// same parts.
///
/// Source: Touvron et al. 2023, arXiv 2302.13971.
enum Llama {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let attentionBias = try reader.flag("attention_bias", default: false)
    let parts = try LlamaParts(
      reader, .llama, queryBias: attentionBias, outputBias: attentionBias,
      feedForwardBias: try reader.flag("mlp_bias", default: false), alternatesHalves: true)
    return try parts.model()
  }
}

/// What the families around Llama have in common.
struct LlamaParts {
  let reader: ConfigurationReader
  let family: Family
  let hidden: Int
  let inner: Int
  let layerCount: Int
  let headCount: Int
  let keyValueHeadCount: Int
  let headSize: Int
  let vocabulary: Int
  let maximumPositions: Int
  let epsilon: Float
  let activation: ActivationKind
  private let queryBias: Bool
  private let outputBias: Bool
  private let feedForwardBias: Bool
  private let alternatesHalves: Bool

  /// - Parameters:
  ///   - queryBias: whether queries, keys and values have biases
  ///   - headSize: where `head_dim` does not say
  ///   - keyValueHeadCount: where `num_key_value_heads` is absent; where it is null there are as many as heads
  ///   - maximumPositions: where `max_position_embeddings` does not say
  ///   - alternatesHalves: whether GGUF files have the rows of queries and keys in that order
  init(
    _ reader: ConfigurationReader, _ family: Family, queryBias: Bool = false, outputBias: Bool = false,
    feedForwardBias: Bool = false, headSize fallback: Int? = nil, keyValueHeadCount: Int? = nil,
    maximumPositions: Int = 2048, epsilon fallbackEpsilon: Double = 1e-6, alternatesHalves: Bool = false
  ) throws {
    self.reader = reader
    self.family = family
    self.queryBias = queryBias
    self.outputBias = outputBias
    self.feedForwardBias = feedForwardBias
    self.alternatesHalves = alternatesHalves
    hidden = try reader.integer("hidden_size", 32...65_536)
    inner = try reader.integer("intermediate_size", 32...262_144)
    layerCount = try reader.integer("num_hidden_layers", 1...512)
    headCount = try reader.integer("num_attention_heads", 1...1024)
    self.keyValueHeadCount = try reader.integer(
      "num_key_value_heads", 1...1024,
      default: reader.json["num_key_value_heads"] == nil ? keyValueHeadCount ?? headCount : headCount)
    guard reader["head_dim"] != nil || fallback != nil || hidden % headCount == 0 else {
      throw reader.refuse("hidden_size \(hidden) is not a multiple of num_attention_heads \(headCount)")
    }
    headSize = try reader.integer("head_dim", 8...1024, default: fallback ?? hidden / headCount)
    vocabulary = try reader.vocabularySize()
    self.maximumPositions = try reader.integer(
      "max_position_embeddings", 1...100_000_000, default: maximumPositions)
    guard hidden % 32 == 0 else { throw reader.refuse("hidden_size is \(hidden), expected a multiple of 32") }
    guard inner % 32 == 0 else { throw reader.refuse("intermediate_size is \(inner), expected a multiple of 32") }
    try reader.checkHeads(headCount, keyValue: self.keyValueHeadCount, size: headSize)
    activation = try reader.activation("hidden_act", default: "silu")
    epsilon = Float(try reader.number("rms_norm_eps", 1e-12...0.1, default: fallbackEpsilon))
  }

  func norm(_ path: String, size: Int? = nil, gguf: String) -> NormDescription {
    NormDescription(.rootMeanSquare, path, size: size ?? hidden, epsilon: epsilon, gguf: gguf)
  }

  func attention(_ layer: Int, normsHeads: Bool = false, rotary: Int? = 0, span: AttentionSpan = .causal)
    -> AttentionDescription
  {
    let (path, blk) = ("model.layers.\(layer).self_attn", "blk.\(layer)")
    func linear(_ name: String, heads: Int, gguf: String, isTurned: Bool) -> LinearDescription {
      LinearDescription(
        "\(path).\(name)", out: heads * headSize, in: hidden, hasBias: queryBias, gguf: "\(blk).\(gguf)",
        rows: isTurned && alternatesHalves ? .alternatingHalves(heads: heads) : .same)
    }
    func headNorm(_ name: String, gguf: String) -> NormDescription? {
      normsHeads ? norm("\(path).\(name)", size: headSize, gguf: "\(blk).\(gguf)") : nil
    }
    return AttentionDescription(
      norms: BlockNorms(before: norm("model.layers.\(layer).input_layernorm", gguf: "\(blk).attn_norm")),
      projections: .separate(
        query: linear("q_proj", heads: headCount, gguf: "attn_q", isTurned: true),
        key: linear("k_proj", heads: keyValueHeadCount, gguf: "attn_k", isTurned: true),
        value: linear("v_proj", heads: keyValueHeadCount, gguf: "attn_v", isTurned: false)),
      output: LinearDescription(
        "\(path).o_proj", out: hidden, in: headCount * headSize, hasBias: outputBias, gguf: "\(blk).attn_output"),
      headCount: headCount, keyValueHeadCount: keyValueHeadCount, headSize: headSize,
      queryNorm: headNorm("q_norm", gguf: "attn_q_norm"), keyNorm: headNorm("k_norm", gguf: "attn_k_norm"),
      rotary: rotary, span: span)
  }

  func feedForward(_ layer: Int) -> FeedForwardDescription {
    let (path, blk) = ("model.layers.\(layer).mlp", "blk.\(layer)")
    func linear(_ name: String, out: Int, in input: Int, gguf: String) -> LinearDescription {
      LinearDescription("\(path).\(name)", out: out, in: input, hasBias: feedForwardBias, gguf: "\(blk).\(gguf)")
    }
    return FeedForwardDescription(
      norms: BlockNorms(before: norm("model.layers.\(layer).post_attention_layernorm", gguf: "\(blk).ffn_norm")),
      inner: .gated(
        gate: linear("gate_proj", out: inner, in: hidden, gguf: "ffn_gate"),
        up: linear("up_proj", out: inner, in: hidden, gguf: "ffn_up")),
      activation: activation, down: linear("down_proj", out: hidden, in: inner, gguf: "ffn_down"))
  }

  /// The rotation by the configuration's parameters; heads turn whole.
  func rotary(theta: Double = 10_000) throws -> RotaryDescription {
    let rope = try reader.rotaryParameters()
    for part in [rope, reader.json] {
      let share = try ConfigurationReader(json: part, file: reader.file).number(
        "partial_rotary_factor", 0...1, default: 1)
      if share != 1 { throw reader.refuse("partial_rotary_factor below 1 is not defined for \(family.architecture)") }
    }
    return try reader.rotary(
      rope, headSize: headSize, theta: try reader.number("rope_theta", 1...1e12, default: theta),
      maximumPositions: maximumPositions)
  }

  var embedding: EmbeddingDescription {
    EmbeddingDescription(
      tokens: TensorDescription(
        "model.embed_tokens.weight", shape: [vocabulary, hidden], role: .embedding, gguf: .init("token_embd.weight")))
  }

  func head(isTied fallback: Bool = false) throws -> HeadDescription {
    let isTied = try reader.flag("tie_word_embeddings", default: fallback)
    return HeadDescription(
      norm: norm("model.norm", gguf: "output_norm"),
      weight: isTied
        ? embedding.tokens
        : TensorDescription(
          "lm_head.weight", shape: [vocabulary, hidden], role: .embedding, gguf: .init("output.weight")), isTied: isTied
    )
  }

  /// A model whose layers are all alike.
  func model() throws -> ModelDescription {
    try model(layers: (0..<layerCount).map { LayerDescription(attention: attention($0), feedForward: feedForward($0)) })
  }

  func model(layers: [LayerDescription], rotary: RotaryDescription? = nil, isTied: Bool = false) throws
    -> ModelDescription
  {
    ModelDescription(
      family: family, reader: reader, maximumPositions: maximumPositions, embedding: embedding, layers: layers,
      head: try head(isTied: isTied), rotaries: [try rotary ?? self.rotary()])
  }
}

extension ConfigurationReader {
  func vocabularySize() throws -> Int { try integer("vocab_size", 2...1_000_000) }

  func checkHeads(_ count: Int, keyValue: Int, size: Int) throws {
    guard count % keyValue == 0 else {
      throw refuse("\(count) attention heads cannot share \(keyValue) key-value heads evenly")
    }
    guard size % 8 == 0 else { throw refuse("head size \(size) is not supported, expected a multiple of 8") }
    guard count * size % 32 == 0 else {
      throw refuse("head size \(size) with \(count) heads makes \(count * size) columns, expected a multiple of 32")
    }
  }
}
