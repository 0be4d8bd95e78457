import Architectures
import Formats
import Memory
import Transformer

/// The hyper-parameters of (IA)³, with PEFT's meaning.
public struct ScalingConfiguration: TuningConfiguration, Equatable {
  public var targetModules: TargetModules
  /// Those of the targets whose inputs are scaled; PEFT's for the family where none are named.
  public var feedforwardModules: TargetModules
  public var selection: TargetSelection

  public init(
    targetModules: TargetModules = .familyDefault, feedforwardModules: TargetModules = .familyDefault,
    selection: TargetSelection = TargetSelection()
  ) {
    self.targetModules = targetModules
    self.feedforwardModules = feedforwardModules
    self.selection = selection
  }

  /// - Parameter file: where errors point to
  init(_ ia3: PEFTIA3, file: String) throws {
    guard let targets = ia3.targetModules else {
      throw UnsupportedAdapter(file: file, reason: "target_modules is missing")
    }
    if let reason = ia3.common.reasonAgainstModules {
      throw UnsupportedAdapter(file: file, reason: reason)
    }
    self.init(
      targetModules: TargetModules(targets),
      feedforwardModules: ia3.feedforwardModules.map { TargetModules($0) } ?? .names([]),
      selection: TargetSelection(excluded: ia3.excludeModules.map { TargetModules($0) }))
  }

  /// Where factors stand, and whether on the inputs.
  func places(in model: LanguageModel) throws -> [(location: LinearLocation, isInput: Bool)] {
    let family = model.description.family
    let targets = targetModules == .familyDefault ? .names(family.scalingTargets) : targetModules
    let inner = feedforwardModules == .familyDefault ? .names([family.scalingFeedForward]) : feedforwardModules
    let last = model.lastFeedForwardLocations.union(model.lastAttentionLocations)
    let isInput: (LinearLocation) throws -> Bool =
      if case .names(let names) = inner {
        { location in names.contains { location.name.hasSuffix($0) } }
      } else {
        try inner.matcher()
      }
    return try selection.locations(of: targets, in: model).map { location in
      let isInput = try isInput(location)
      if isInput, !last.contains(location) {
        throw AdapterError.badPattern(
          inner.description,
          reason: "\(location.name) is not the last layer of a block; only inputs of such "
            + "(\(family.scalingFeedForward)) are scaled")
      }
      return (location, isInput)
    }
  }

  public func reserve(for model: LanguageModel, in room: TuningRoom) throws -> any TuningMethod {
    try ScalingMethod(configuration: self, model: model, in: room)
  }

  public func floatProducts(for model: LanguageModel) throws -> Double {
    try places(in: model).reduce(0) { $0 + 4 * Double($1.isInput ? $1.location.shape.in : $1.location.shape.out) }
  }

  public func smaller(for model: LanguageModel) -> [(option: String, configuration: any TuningConfiguration)] { [] }

  public var identity: [(String, String)] {
    [("targets", targetModules.description), ("feedforward", feedforwardModules.description)]
  }
}

extension Family {
  /// PEFT's `TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING`; where it has none that of the most similar family.
  var scalingTargets: [String] {
    switch self {
    case .llama, .mistral, .smollm3: ["k_proj", "v_proj", "down_proj"]
    case .qwen2, .qwen3, .gemma3: ["q_proj", "v_proj", "down_proj"]
    case .phi3: ["qkv_proj", "down_proj"]
    case .gpt2: ["c_attn", "mlp.c_proj"]
    case .opt: ["q_proj", "k_proj", "fc2"]
    case .gptNeoX: ["query_key_value", "dense_4h_to_h"]
    case .bert, .roberta, .xlmRoberta: ["key", "value", "output.dense"]
    case .distilBERT: ["k_lin", "v_lin", "lin2"]
    }
  }

  /// Likewise `TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING`.
  var scalingFeedForward: String { scalingTargets[scalingTargets.count - 1] }
}
