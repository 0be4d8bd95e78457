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
  ///
  /// - Parameter together: runs of this cost that do a step each while the weights pass through once
  public func seconds(_ speed: MachineSpeed, together: Int = 1) -> Double {
    let own =
      products / speed.products + (floats + Self.elementFloats * elements) / speed.floats + spilledBytes / speed.spill
    return Double(together) * own + weightBytes / speed.read
  }

  /// - Parameters:
  ///   - rows: of an optimiser step
  ///   - attentionLength: tokens that attend to each other, where rows hold samples that do not; `rowLength` if `nil`
  ///   - methodProducts: multiply-adds in floats that the tuning method adds to a token's way forth
  public init(
    model: LanguageModel, strategy: TrainingStrategy, rows: Int, rowLength: Int, attentionLength: Int? = nil,
    methodProducts: Double, residency: WeightResidency
  ) {
    let tokens = Double(rows * rowLength)
    let passRows = Double(min(strategy.microBatchSize, rows) * rowLength)
    let decode = 1 + Self.decodeRows / passRows
    let feedForwardDecode = 1 + Self.decodeRows / min(passRows, Double(strategy.feedForwardTokens))
    // the way back takes as many products as the way forth, and as floats and elements twice as many; what was not kept is
    // computed again
    for (index, layer) in model.layers.enumerated() {
      let (attention, feedForward) = layer.cost(rowLength: attentionLength ?? rowLength)
      let attentionAgain = index < model.layers.count - strategy.keptAttentionLayers ? 1.0 : 0
      let feedForwardAgain = index < model.layers.count - strategy.keptFeedForwardLayers ? 1.0 : 0
      products +=
        tokens
        * ((2 + attentionAgain) * attention.products * decode
          + (2 * feedForward.products + feedForwardAgain * feedForward.productsAgain) * feedForwardDecode)
      // the way back of attention costs two and a half times the way forth, or twice where its weights are kept
      floats += tokens * ((attention.keepsScores ? 3 : 3.5) + attentionAgain) * attention.scores
      elements +=
        tokens * ((3 + attentionAgain) * attention.elements + (3 + feedForwardAgain) * feedForward.elements)
    }
    floats += tokens * 4 * methodProducts
    let groups = (Double(rows) / Double(strategy.groupRows)).rounded(.up)
    weightBytes = 2 * groups * Double(residency.streamedLayerByteCount + residency.streamedHeadByteCount)
    if strategy.layerInputs == .spilled {
      spilledBytes = 2 * tokens * Double(model.layers.count) * Double(model.description.hiddenSize * 4)
    }
    guard let weight = model.description.head.weight else { return }
    let (vocabulary, width) = (model.description.vocabularySize, weight.shape[1])
    let head = Double(vocabulary * width)
    // With more than one chunk to a slice no logit stays until its gradient is computed.
    let isSliced =
      strategy.headColumns < vocabulary
      || !strategy.isHeadResident && (strategy.groupRows > 1 || rowLength > strategy.headRows)
    products +=
      tokens * head * (isSliced ? 3 : 2) * (1 + Self.decodeRows / min(passRows, Double(strategy.headRows)))
    elements += tokens * Double(vocabulary) * (isSliced ? 4.5 : 3)
  }
}
