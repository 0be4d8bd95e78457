import Kernels

/// How the inputs of layers are kept between the forward and the backward pass.
public enum LayerInputFormat: String, Sendable, CaseIterable {
  /// Exact, 4 bytes an element.
  case f32
  /// Exact, in a file: no memory, but every element is written and read once per step.
  case spilled
  /// Rounded to 8 bits of mantissa, 2 bytes an element. Changes the gradients a little.
  case bf16
  /// In blocks of 64 with one scale each, about 1 byte an element. Changes the gradients a little more.
  case int8

  /// Whether gradients are those of `f32`.
  public var isLossless: Bool { self == .f32 || self == .spilled }
}

/// How a training step spends memory: what is kept, what is computed again, what is read again. The gradient is the same
/// whatever is chosen, but for layer inputs in fewer bits, and so is the update, but for moments in fewer bits.
public struct TrainingStrategy: Sendable, Hashable {
  /// Rows whose layer inputs live at the same time: one pass over the weights serves them all.
  public var groupRows: Int
  /// Rows that a layer computes together; divides `groupRows`.
  public var microBatchSize: Int
  /// Tokens that a feed-forward block computes together.
  public var feedForwardTokens: Int
  /// Layers, counted from the last, whose attention activations stay for the way back.
  public var keptAttentionLayers: Int
  /// Layers, counted from the last, whose feed-forward activations stay for the way back.
  public var keptFeedForwardLayers: Int
  public var layerInputs: LayerInputFormat
  public var optimizerMoments: MomentFormat
  /// Tokens of one chunk of the vocabulary head.
  public var headRows: Int
  /// Logits of one slice of the vocabulary; if it is not the whole, every logit is computed twice.
  public var headColumns: Int
  /// Layers, counted from the first, whose weights stay in memory; the others are dropped behind and read again.
  public var residentLayers: Int
  /// Whether embedding and vocabulary head stay in memory.
  public var isHeadResident: Bool

  /// What is chosen in fewer bits, which changes results a little.
  public var losses: [String] {
    (layerInputs.isLossless ? [] : ["layer inputs as \(layerInputs.rawValue)"])
      + (optimizerMoments.isLossless ? [] : ["optimiser moments as \(optimizerMoments.rawValue)"])
  }

  public init(
    groupRows: Int, microBatchSize: Int, feedForwardTokens: Int = .max, keptAttentionLayers: Int,
    keptFeedForwardLayers: Int, layerInputs: LayerInputFormat = .f32, optimizerMoments: MomentFormat = .f32,
    headRows: Int, headColumns: Int = .max, residentLayers: Int = .max, isHeadResident: Bool = true
  ) {
    self.groupRows = groupRows
    self.microBatchSize = microBatchSize
    self.feedForwardTokens = feedForwardTokens
    self.keptAttentionLayers = keptAttentionLayers
    self.keptFeedForwardLayers = keptFeedForwardLayers
    self.layerInputs = layerInputs
    self.optimizerMoments = optimizerMoments
    self.headRows = headRows
    self.headColumns = headColumns
    self.residentLayers = residentLayers
    self.isHeadResident = isHeadResident
  }
}
