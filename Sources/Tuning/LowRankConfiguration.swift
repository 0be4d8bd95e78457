import Architectures
import Memory
import Transformer

/// The hyper-parameters of LoRA, with PEFT's meaning.
public struct LowRankConfiguration: TuningConfiguration, Equatable {
  public var rank: Int
  public var alpha: Double
  public var dropout: Double
  public var targetModules: TargetModules
  public var useRSLoRA: Bool

  public init(
    rank: Int = 8, alpha: Double = 16, dropout: Double = 0, targetModules: TargetModules = .familyDefault,
    useRSLoRA: Bool = false
  ) {
    self.rank = rank
    self.alpha = alpha
    self.dropout = dropout
    self.targetModules = targetModules
    self.useRSLoRA = useRSLoRA
  }

  /// `alpha / rank`, or `alpha / sqrt(rank)` with rsLoRA.
  public var scaling: Float { Float(useRSLoRA ? alpha / Double(rank).squareRoot() : alpha / Double(rank)) }

  public func reserve(for model: LanguageModel, trainingTokens: Int, arena: Arena) throws -> any TuningMethod {
    try LowRankMethod(configuration: self, model: model, trainingTokens: trainingTokens, arena: arena)
  }

  public func floatProducts(for model: LanguageModel) throws -> Double {
    try targetModules.locations(in: model).reduce(0) { $0 + Double(rank * ($1.shape.in + $1.shape.out)) }
  }

  public func smaller(for model: LanguageModel) -> [(option: String, configuration: any TuningConfiguration)] {
    var changes: [(String, any TuningConfiguration)] = []
    if rank > 1 {
      var changed = self
      changed.rank = rank / 2
      changes.append(("--rank \(rank / 2)", changed))
    }
    let names = model.description.family.defaultTargets
    if targetModules != .familyDefault, targetModules != .names(names) {
      var changed = self
      changed.targetModules = .familyDefault
      changes.append(("--target-modules \(names.joined(separator: ","))", changed))
    }
    return changes
  }

  public var identity: [(String, String)] {
    [
      ("rank", "\(rank)"), ("alpha", "\(alpha)"), ("dropout", "\(dropout)"), ("targets", targetModules.description),
      ("rslora", "\(useRSLoRA)"),
    ]
  }
}
