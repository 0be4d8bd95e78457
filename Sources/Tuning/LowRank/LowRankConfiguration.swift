import Architectures
import Formats
import Memory
import Transformer

/// Which biases LoRA trains along, by PEFT's names.
public enum TrainedBiases: String, Sendable, CaseIterable {
  case none
  /// Those of the layers that have adapters.
  case adapted = "lora_only"
  /// Those of all linear layers and norms.
  case all
}

/// The hyper-parameters of LoRA and DoRA, with PEFT's meaning.
public struct LowRankConfiguration: TuningConfiguration, Equatable {
  public var rank: Int
  public var alpha: Double
  public var dropout: Double
  public var targetModules: TargetModules
  public var useRSLoRA: Bool
  /// Whether the length of every row of the changed weight is trained on its own: DoRA.
  public var useDoRA = false
  /// Ranks of layers whose name a pattern fits.
  public var rankPattern: [PEFTPattern<Int>] = []
  public var alphaPattern: [PEFTPattern<Double>] = []
  public var selection = TargetSelection()
  public var initialisation = LowRankInitialisation.standard
  /// Folder of the model before it was quantised, for a start that makes up for that.
  public var originalModel: String?
  /// Whether `A` stays as it starts: LoRA-FA.
  public var freezesA = false
  /// Which biases of the model are trained along.
  public var biases = TrainedBiases.none
  /// Rows of the embedding that are trained along, whole.
  public var trainedTokens: [PEFTLoRA.TokenRows] = []
  /// Names of modules that are trained along, whole: ends of their paths.
  public var wholeModules: [String] = []
  /// Whether a head that is tied to the embedding stays so where one of them is trained whole.
  public var ensuresWeightTying = false
  /// How many times the learning rate of `A` that of `B` is: LoRA+.
  public var loraPlusRatio = 1.0

  /// Adapters that take part and stay as they are, beside the one that is trained.
  public var frozen: FrozenAdapters?
  /// Whether there are others than the frozen ones.
  private(set) var isTrained = true

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

  /// Adapters that take part as they are, and nothing that is trained.
  public init(frozen: FrozenAdapters) {
    self.init()
    self.frozen = frozen
    isTrained = false
  }

  /// `alpha / rank`, or `alpha / sqrt(rank)` with rsLoRA; where no pattern says otherwise.
  public var scaling: Float { scaling(rank: rank, alpha: alpha) }

  private func scaling(rank: Int, alpha: Double) -> Float {
    Float(useRSLoRA ? alpha / Double(rank).squareRoot() : alpha / Double(rank))
  }

  /// An adapter that is to be made.
  struct Place {
    let location: LinearLocation
    /// 0 where there are fixed factors alone.
    let rank: Int
    let scaling: Float
    /// Of the factors that are not trained.
    var fixedRank: Int
  }

  /// Rank of what takes off the start of factors of a rank.
  func startRank(_ rank: Int) -> Int { initialisation.subtractsStart ? rank : 0 }

  func places(in model: LanguageModel) throws -> [Place] {
    let locations = isTrained ? try selection.locations(of: targetModules, in: model) : []
    var places = try locations.map { location in
      let rank = try rankPattern.value(for: location.name) ?? rank
      let alpha = try alphaPattern.value(for: location.name) ?? alpha
      return Place(
        location: location, rank: rank, scaling: scaling(rank: rank, alpha: alpha), fixedRank: startRank(rank))
    }
    for part in try frozen?.parts(in: model) ?? [] {
      if let index = places.firstIndex(where: { $0.location == part.location }) {
        places[index].fixedRank += part.rank
      } else {
        places.append(Place(location: part.location, rank: 0, scaling: 1, fixedRank: part.rank))
      }
    }
    return places
  }

  /// Layers of `model` whose biases are trained, and whether they have adapters.
  func biasPlaces(in model: LanguageModel) throws -> [(location: LinearLocation, isAdapted: Bool)] {
    guard biases != .none, isTrained else { return [] }
    let adapted = Set(try selection.locations(of: targetModules, in: model))
    return model.linearLocations.filter { model.bias(at: $0) != nil && (biases == .all || adapted.contains($0)) }
      .map { ($0, adapted.contains($0)) }
  }

  private var tokenNames: String {
    trainedTokens.map { rows in
      (rows.module.map { "\($0): " } ?? "") + rows.tokens.map(String.init).joined(separator: ",")
    }.joined(separator: "; ")
  }

  /// The modules that are trained whole.
  func modules(in model: LanguageModel, isTrained trains: Bool) throws -> TrainedModules.Choice {
    let choice = try TrainedModules.Choice(
      isTrained ? wholeModules : [], ensuresTying: ensuresWeightTying, in: model, refusesOthers: trains)
    if choice.embedding, !trainedTokens.isEmpty {
      throw AdapterError.unsuitableModel(
        "trainable_token_indices and modules_to_save both mean the embedding; give one of them")
    }
    return choice
  }

  /// Whether biases of norms are trained too.
  var trainsNormBiases: Bool { biases == .all && isTrained }

  public func reserve(for model: LanguageModel, in room: TuningRoom) throws -> any TuningMethod {
    try LowRankMethod(configuration: self, model: model, in: room)
  }

  public func floatProducts(for model: LanguageModel) throws -> Double {
    let choice = try modules(in: model, isTrained: false)
    let head = choice.trainsHead ? model.vocabularyHeadShape.map { Double($0.rows * $0.columns) } ?? 0 : 0
    return try places(in: model).reduce(head) { sum, place in
      let shape = place.location.shape
      let factors = (place.rank + place.fixedRank) * (shape.in + shape.out)
      return sum + Double(factors + (useDoRA ? 4 * shape.out : 0))
    }
  }

  public func smaller(for model: LanguageModel) -> [(option: String, configuration: any TuningConfiguration)] {
    var changes: [(String, any TuningConfiguration)] = []
    if rank > 1 {
      var changed = self
      changed.rank = rank / 2
      changes.append(("--rank \(rank / 2)", changed))
    }
    if !wholeModules.isEmpty {
      var changed = self
      changed.wholeModules = []
      changes.append(("no --modules-to-save", changed))
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
    var entries: [(String, String)] = [
      ("rank", "\(rank)"), ("alpha", "\(alpha)"), ("dropout", "\(dropout)"), ("targets", targetModules.description),
      ("rslora", "\(useRSLoRA)"), ("dora", "\(useDoRA)"),
    ]
    if initialisation.readsWeights { entries.append(("start", initialisation.description)) }
    if freezesA { entries.append(("lora_fa", "true")) }
    if biases != .none { entries.append(("bias", biases.rawValue)) }
    if !trainedTokens.isEmpty { entries.append(("trainable_token_indices", tokenNames)) }
    if !wholeModules.isEmpty { entries.append(("modules_to_save", wholeModules.joined(separator: ","))) }
    if ensuresWeightTying { entries.append(("ensure_weight_tying", "true")) }
    if let frozen { entries.append(("frozen_adapters", frozen.identity)) }
    return entries
  }
}
