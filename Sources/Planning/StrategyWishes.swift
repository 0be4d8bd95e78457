import Formats
import Kernels
import Options
import Transformer

/// What a user wants of a plan, whatever would be fastest.
public struct StrategyWishes: Sendable, Equatable {
  public var layerInputs: LayerInputFormat?
  public var optimizerMoments: MomentFormat?
  /// Layers whose activations are kept.
  public var keptLayers: Int?
  /// Layers whose weights stay in memory; with 0 the vocabulary passes through as well.
  public var residentLayers: Int?
  /// A whole strategy, as `plan --json` prints it.
  public var planFile: String?
  /// What `planFile` holds, once it is read.
  private(set) var strategy: TrainingStrategy?

  public init() {}

  /// `strategy` as wished.
  func apply(to strategy: TrainingStrategy) -> TrainingStrategy {
    if let wished = self.strategy { return wished }
    var strategy = strategy
    if let layerInputs { strategy.layerInputs = layerInputs }
    if let optimizerMoments { strategy.optimizerMoments = optimizerMoments }
    if let keptLayers {
      strategy.keptAttentionLayers = keptLayers
      strategy.keptFeedForwardLayers = keptLayers
    }
    if let residentLayers {
      strategy.residentLayers = residentLayers
      if residentLayers == 0 { strategy.isHeadResident = false }
    }
    return strategy
  }

  /// Reads `planFile`, if there is one.
  ///
  /// - Parameters:
  ///   - rowsPerStep: rows that the plan must be for
  ///   - optimizer: of the run; only AdamW's moments have several forms
  /// - Throws: `OptionError` where a key is missing or out of range
  public mutating func readPlan(rowsPerStep: Int, optimizer: OptimizerKind = .adamw) throws {
    guard let planFile else { return }
    let json = try JSONValue.parse(contentsOf: planFile)
    func number(_ key: String, _ range: ClosedRange<Int>) throws -> Int {
      guard let value = json[key]?.intValue, range.contains(value) else {
        throw OptionError("--plan \(planFile): \(key) is missing or not a number in \(range)")
      }
      return value
    }
    let group = try number("group_rows", 1...rowsPerStep)
    let micro = try number("micro_batch_size", 1...group)
    guard group % micro == 0 else {
      throw OptionError("--plan \(planFile): group_rows \(group) is not a multiple of micro_batch_size \(micro)")
    }
    let headRows = try number("head_rows", 1...1 << 20)
    // A small vocabulary is computed whole, and the file holds its size: none where the model says labels.
    let headColumns = max(CrossEntropy.blockColumns, try number("head_columns", 0...1 << 30))
    guard headRows % LanguageModelHead.groupRows == 0 else {
      throw OptionError("--plan \(planFile): head_rows is not a multiple of \(LanguageModelHead.groupRows)")
    }
    guard let inputs = json["layer_inputs"]?.stringValue.flatMap({ LayerInputFormat(rawValue: $0) }),
      let isHeadResident = json["resident_head"]?.boolValue
    else { throw OptionError("--plan \(planFile): layer_inputs or resident_head is missing or unknown") }
    guard let moments = json["optimizer_moments"]?.stringValue.flatMap({ MomentFormat(rawValue: $0) }) else {
      throw OptionError("--plan \(planFile): optimizer_moments is missing or unknown")
    }
    guard optimizer == .adamw || moments.isLossless else {
      throw OptionError(
        "--plan \(planFile): optimizer_moments is int8, which only AdamW's are; --optim is \(optimizer)")
    }
    // Rows that are shorter than a part are computed whole, and the file holds their length.
    let feedForwardTokens = max(128, try number("feed_forward_tokens", 1...1 << 30))
    strategy = TrainingStrategy(
      groupRows: group, microBatchSize: micro, feedForwardTokens: feedForwardTokens,
      keptAttentionLayers: try number("kept_attention_layers", 0...1 << 20),
      keptFeedForwardLayers: try number("kept_feed_forward_layers", 0...1 << 20), layerInputs: inputs,
      optimizerMoments: moments, headRows: headRows, headColumns: headColumns,
      residentLayers: try number("resident_layers", 0...1 << 20), isHeadResident: isHeadResident)
  }
}
