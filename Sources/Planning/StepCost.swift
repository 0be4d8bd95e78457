import Kernels
import Transformer

/// How fast this machine is, as measured or assumed.
public struct MachineSpeed: Sendable, Equatable {
  /// Multiply-adds of frozen products per second, in the run's precision.
  public var products: Double
  /// Multiply-adds of attention and other float work per second.
  public var floats: Double
  /// Bytes per second at which weights come back and are dropped again.
  public var read: Double
  /// Bytes per second at which layer inputs go to a file, or come from it.
  public var spill: Double

  public init(products: Double, floats: Double, read: Double, spill: Double) {
    self.products = products
    self.floats = floats
    self.read = read
    self.spill = spill
  }

  /// The proportions of a small board, for choosing between plans before anything is measured.
  public static let assumed = MachineSpeed(products: 60e9, floats: 10e9, read: 1e9, spill: 5e7)
}

/// What one optimiser step costs in operations and bytes, from the model's shapes.
public struct StepCost: Sendable, Equatable {
  /// Multiply-adds with frozen weights.
  public var products = 0.0
  /// Multiply-adds in floats.
  public var floats = 0.0
  /// Numbers that norms, activation functions, the softmax, rounding and other work without a product go through.
  public var elements = 0.0
  /// Bytes of weights that are mapped, or read, again.
  public var weightBytes = 0.0
  /// Bytes of layer inputs that are written to and read from a file.
  public var spilledBytes = 0.0

  /// Decoding a weight is worth so many rows of its product.
  static let decodeRows = 24.0
  /// Going through an element is worth so many multiply-adds in floats.
  private static let elementFloats = 28.0

  /// Predicted seconds.
  public func seconds(_ speed: MachineSpeed) -> Double {
    products / speed.products + (floats + Self.elementFloats * elements) / speed.floats + weightBytes / speed.read
      + spilledBytes / speed.spill
  }

  /// The cost of parts of one layer for a whole step.
  struct Layer {
    /// Multiply-adds per token of the attention block's and the feed-forward block's products.
    let attention: Double
    let feedForward: Double
    /// Multiply-adds per token of scores and mixing, forward.
    let scores: Double
    /// Of the gate and up products alone, which is what is computed again.
    let activate: Double
    /// Of the adapters, forward.
    let adapter: Double
  }

  static func layer(_ model: CausalLanguageModel, rowLength: Int, rank: Int, targets: Int) -> Layer {
    let shape = model.configuration
    func size(_ modules: [LinearModule]) -> Double {
      modules.reduce(0) { $0 + Double(shape.shape(of: $1).out * shape.shape(of: $1).in) }
    }
    let all = Double(LinearModule.allCases.reduce(0) { $0 + shape.shape(of: $1).out + shape.shape(of: $1).in })
    return Layer(
      attention: size([.query, .key, .value, .output]), feedForward: size([.gate, .up, .down]),
      scores: Double(shape.headCount * shape.headSize * rowLength), activate: size([.gate, .up]),
      adapter: all * Double(rank) * Double(targets) / Double(LinearModule.allCases.count * shape.layerCount))
  }

  /// - Parameters:
  ///   - rows: of an optimiser step
  ///   - targets: linear layers with an adapter
  public init(
    model: CausalLanguageModel, strategy: TrainingStrategy, rows: Int, rowLength: Int, rank: Int, targets: Int,
    residency: WeightResidency
  ) {
    let shape = model.configuration
    let layers = Double(shape.layerCount)
    let tokens = Double(rows * rowLength)
    let layer = Self.layer(model, rowLength: rowLength, rank: rank, targets: targets)
    let passRows = Double(min(strategy.microBatchSize, rows) * rowLength)
    let decode = 1 + Self.decodeRows / passRows
    let feedForwardDecode = 1 + Self.decodeRows / min(passRows, Double(strategy.feedForwardTokens))
    let againAttention = max(0, layers - Double(strategy.keptAttentionLayers))
    let againFeedForward = max(0, layers - Double(strategy.keptFeedForwardLayers))
    products =
      tokens
      * ((2 * layers + againAttention) * layer.attention * decode
        + (2 * layers * layer.feedForward + againFeedForward * layer.activate) * feedForwardDecode)
    // the way back of attention costs two and a half times the way forth, or twice where its weights are kept
    let keepsWeights = Attention.weightsPerToken(shape: model.attentionShape, length: rowLength) > 0
    floats = tokens * (((keepsWeights ? 3 : 3.5) * layers + againAttention) * layer.scores + 4 * layers * layer.adapter)
    // the way back takes twice the way forth
    elements =
      tokens
      * ((3 * layers + againAttention) * Double(3 * shape.hiddenSize)
        + (3 * layers + againFeedForward) * Double(2 * shape.intermediateSize))
    let head = Double(shape.vocabularySize * shape.hiddenSize)
    let groups = (Double(rows) / Double(strategy.groupRows)).rounded(.up)
    // With more than one chunk to a slice no logit stays until its gradient is computed.
    let isSliced =
      strategy.headColumns < shape.vocabularySize
      || !strategy.isHeadResident && (strategy.groupRows > 1 || rowLength > strategy.headRows)
    products +=
      tokens * head * (isSliced ? 3 : 2) * (1 + Self.decodeRows / min(passRows, Double(strategy.headRows)))
    elements += tokens * Double(shape.vocabularySize) * (isSliced ? 4.5 : 3)
    weightBytes = 2 * groups * Double(residency.streamedLayerByteCount + residency.streamedHeadByteCount)
    if strategy.layerInputs == .spilled {
      spilledBytes = 2 * tokens * layers * Double(shape.hiddenSize * 4)
    }
  }
}
