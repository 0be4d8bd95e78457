import Formats

/// How tokens become the first rows of the residual stream: `norm(projection(scale * tokens[t]) + positions[p] + types[0])`.
public struct EmbeddingDescription: Sendable, Equatable {
  /// Rows by position in the sample.
  public struct Positions: Sendable, Equatable {
    public let table: TensorDescription  // [positions + offset, hidden]
    /// Rows before that of position 0.
    public let offset: Int
  }

  public var tokens: TensorDescription  // [vocabulary, width]
  public var scale: Float = 1
  public var positions: Positions?
  public var tokenTypes: TensorDescription?  // [types, hidden]
  public var norm: NormDescription?
  /// From the width of the embedding to the hidden size, where they differ.
  public var projection: LinearDescription?
}

/// How the last rows of the residual stream become logits: `weight · projection(norm(x))`, or what layers of labels make of
/// `projection(norm(x))`.
public struct HeadDescription: Sendable, Equatable {
  public var norm: NormDescription?
  /// From the hidden size to the width of the embedding, where they differ; before labels, BERT's pooler.
  public var projection: LinearDescription?
  /// The embedding itself where the two are tied; `nil` where the model names no tokens.
  public var weight: TensorDescription?  // [vocabulary, width]
  public var isTied = false
  /// `nil` where the model has no labels.
  public var labels: LabelHeadDescription?
}

/// A model as data: what `config.json` says, checked, and every weight that follows from it. Reading, quantising, random
/// stores and the model itself are made from this and know no family.
public struct ModelDescription: Sendable, Equatable {
  public let family: Family
  public let vocabularySize: Int
  public let hiddenSize: Int
  /// Longest sequence that the model was made for.
  public let maximumPositions: Int
  public let embedding: EmbeddingDescription
  public let layers: [LayerDescription]
  public private(set) var head: HeadDescription
  /// Rotations, which the layers name by their place here.
  public let rotaries: [RotaryDescription]
  public let bosTokenID: Int?
  public let eosTokenIDs: [Int]

  /// Every weight in the order in which a model uses them.
  public var tensors: [TensorDescription] {
    func norm(_ norm: NormDescription?) -> [TensorDescription] { [norm?.weight, norm?.bias].compactMap { $0 } }
    let first =
      [embedding.tokens] + [embedding.positions?.table, embedding.tokenTypes].compactMap { $0 } + norm(embedding.norm)
      + (embedding.projection.map { [$0.weight] } ?? [])
    var last = norm(head.norm)
    if let projection = head.projection { last += [projection.weight, projection.bias].compactMap { $0 } }
    if !head.isTied, let weight = head.weight { last.append(weight) }
    last += head.labels?.tensors ?? []
    return first + layers.flatMap(\.tensors) + last
  }

  /// Weights that a store keeps where a checkpoint has them, though this model computes without: BERT's pooler, which a head
  /// with labels will want.
  public var carriedTensors: [TensorDescription] {
    guard family == .bert, head.labels == nil else { return [] }
    let pooler = LinearDescription(BERT.pooler, out: hiddenSize, in: hiddenSize, hasBias: true)
    return [pooler.weight] + (pooler.bias.map { [$0] } ?? [])
  }

  /// Whether the model reads texts both ways, and makes none.
  public var isEncoder: Bool { family.isEncoder }

  /// What the model says of texts or tokens; `nil` for one that goes on with a text, or says nothing.
  public var labelling: Labelling? { head.labels?.labelling }

  /// Every linear layer that an adapter could wrap, in the order of computation: all but the vocabulary head.
  public var linears: [LinearDescription] {
    (embedding.projection.map { [$0] } ?? []) + layers.flatMap(\.linears) + (head.projection.map { [$0] } ?? [])
  }

  /// What is wrong in a `config.json`, or beyond what is supported.
  public struct Invalid: Error, CustomStringConvertible {
    public let file: String
    public let reason: String
    public var description: String { "\(file): \(reason)" }

    public init(file: String, reason: String) {
      self.file = file
      self.reason = reason
    }
  }

  /// Reads `config.json` in `directory`.
  public static func load(directory: String) throws -> ModelDescription {
    let path = "\(directory)/config.json"
    return try ModelDescription(json: try JSONValue.parse(contentsOf: path), file: path)
  }

  /// - Parameters:
  ///   - file: the name that errors carry
  ///   - labelling: what the model is to say, instead of what its configuration has
  /// - Throws: `Invalid`
  public init(json: JSONValue, file: String, labelling: Labelling? = nil) throws {
    let reader = ConfigurationReader(json: json, file: file)
    self = try reader.family().describe(reader)
    if let labelling = try labelling ?? Labelling.of(reader) {
      head = try head.labelled(
        labelling, family: family, reader: reader, hidden: head.projection?.outputSize ?? hiddenSize)
    }
    for linear in linears where linear.inputSize % 32 != 0 {
      throw reader.refuse("\(linear.path) has \(linear.inputSize) inputs, expected a multiple of 32")
    }
    let width = embedding.tokens.shape[1]
    guard width % 32 == 0 else {
      throw reader.refuse("the embedding has \(width) columns, expected a multiple of 32")
    }
  }

  init(
    family: Family, reader: ConfigurationReader, maximumPositions: Int, embedding: EmbeddingDescription,
    layers: [LayerDescription], head: HeadDescription, rotaries: [RotaryDescription]
  ) {
    self.family = family
    vocabularySize = embedding.tokens.shape[0]
    hiddenSize = layers[0].attention.output.outputSize
    self.maximumPositions = maximumPositions
    self.embedding = embedding
    self.layers = layers
    self.head = head
    self.rotaries = rotaries
    bosTokenID = reader.ids("bos_token_id").first
    eosTokenIDs = reader.ids("eos_token_id")
  }
}

extension ModelDescription {
  /// Every norm.
  public var norms: [NormDescription] {
    let inLayers = layers.flatMap { layer in
      [layer.attention.norms, layer.feedForward.norms].flatMap { [$0.before, $0.after, $0.around] }
        + [layer.attention.queryNorm, layer.attention.keyNorm]
    }
    return ([embedding.norm, head.norm] + inLayers).compactMap { $0 }
  }

  /// Names of the norms whose weights say what they differ from 1 by.
  public var shiftedNorms: Set<String> {
    Set(norms.filter { $0.weightOffset != 0 }.compactMap { $0.weight?.name })
  }
}
