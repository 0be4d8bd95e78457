import Formats

/// What a GGUF file of a model says about it, apart from its tokenizer: metadata, and tensors that are none of the model's
/// weights but follow from its configuration.
///
/// Source: what llama.cpp's converter writes and what its loader reads, as of `GGUFConfiguration`.
public struct GGUFHeader: Sendable {
  /// A tensor of F32 numbers.
  public struct Extra: Sendable {
    public let name: String
    public let values: [Float]
  }

  /// GGUF's name of the architecture.
  public let architecture: String
  /// In order, with the architecture in front of each key.
  public private(set) var metadata: [(key: String, value: GGUFField)] = []
  public internal(set) var extras: [Extra] = []
  /// Whether a head that is the embedding is written once more, because llama.cpp asks for one.
  public internal(set) var repeatsEmbedding = false
  /// What differs in llama.cpp, for the user to know.
  public internal(set) var remarks: [String] = []

  let model: ModelDescription
  let reader: ConfigurationReader

  /// What GGUF or llama.cpp cannot hold.
  public struct Unsuitable: Error, CustomStringConvertible {
    public let description: String
  }

  /// - Parameters:
  ///   - json: `config.json` of the model
  ///   - file: the name that errors carry
  public init(of model: ModelDescription, json: JSONValue, file: String) throws {
    self.model = model
    reader = ConfigurationReader(json: json, file: file)
    guard let architecture = Self.architecture(of: model.family) else {
      throw Unsuitable(
        description: "\(file): llama.cpp has no \(model.family.architecture), so it cannot be written as GGUF; "
          + "`edge-lora merge --format f16` makes a folder for transformers")
    }
    self.architecture = architecture.rawValue
    try addFamily(architecture)
  }

  /// The architecture by which GGUF calls a family.
  static func architecture(of family: Family) -> GGUFConfiguration.Architecture? {
    switch family {
    case .llama, .mistral: .llama
    case .qwen2: .qwen2
    case .qwen3: .qwen3
    case .smollm3: .smollm3
    case .gemma3: .gemma3
    case .phi3: .phi3
    case .gpt2: .gpt2
    case .gptNeoX: .gptneox
    default: nil
    }
  }

  /// GGUF's name of a family's architecture; `nil` if llama.cpp has none.
  public static func architectureName(of family: Family) -> String? { architecture(of: family)?.rawValue }

  func refuse(_ reason: String) -> Unsuitable { Unsuitable(description: "\(reader.file): \(reason)") }

  mutating func add(_ key: String, _ value: GGUFField) { metadata.append(("\(architecture).\(key)", value)) }

  mutating func add(_ key: String, _ value: Int) { add(key, .uint32(UInt32(clamping: value))) }

  mutating func add(_ key: String, _ value: Double) { add(key, .float32(Float(value))) }

  /// Sizes that every model has.
  mutating func addSizes() throws {
    let attention = model.layers[0].attention
    let same = model.layers.allSatisfy { layer in
      layer.attention.headCount == attention.headCount
        && layer.attention.keyValueHeadCount == attention.keyValueHeadCount
        && layer.attention.headSize == attention.headSize
        && layer.feedForward.intermediateSize == model.layers[0].feedForward.intermediateSize
    }
    guard same else { throw refuse("its layers have different sizes, which is not supported in GGUF") }
    add("block_count", model.layers.count)
    add("context_length", contextLength())
    add("embedding_length", model.hiddenSize)
    add("feed_forward_length", model.layers[0].feedForward.intermediateSize)
    add("attention.head_count", attention.headCount)
  }

  /// The longest text of the model or, of those whose window no reader would find, the longest that llama.cpp computes as the
  /// model does.
  private mutating func contextLength() -> Int {
    guard model.family != .gemma3 else { return model.maximumPositions }
    let windows = model.layers.compactMap { layer in
      if case .window(let count) = layer.attention.span { count } else { nil }
    }
    guard let window = windows.min() else { return model.maximumPositions }
    if model.family == .mistral {
      // As llama.cpp's converter has it; `GGUFLlama` makes a Mistral of the window again.
      add("attention.sliding_window", window)
      remarks.append(
        "llama.cpp has no window for \(architecture): beyond \(window) tokens it sees more than the model did")
      return model.maximumPositions
    }
    remarks.append(
      "llama.cpp has no window for \(architecture): the file says a context of \(window) tokens, up to which it is exact"
    )
    return min(window, model.maximumPositions)
  }

  mutating func addEpsilon(_ norm: NormDescription?) {
    guard let norm else { return }
    add(
      norm.kind == .layer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", .float32(norm.epsilon))
  }

  /// Refuses what llama.cpp computes otherwise.
  func expect(_ activations: [ActivationKind], scale: (Int) -> Float) throws {
    for layer in model.layers {
      guard activations.contains(layer.feedForward.activation) else {
        throw refuse("llama.cpp has no activation \(layer.feedForward.activation.rawValue) for \(architecture)")
      }
      let wanted = scale(layer.attention.headSize)
      guard abs(layer.attention.scale - wanted) <= 1e-5 * wanted else {
        throw refuse("llama.cpp has no attention scale of \(layer.attention.scale) for \(architecture)")
      }
    }
  }
}
