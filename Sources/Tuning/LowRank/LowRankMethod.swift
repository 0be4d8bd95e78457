import Kernels
import Memory
import Randomness
import Transformer
import WeightStore

/// Working memory that all adapters of a model share.
final class LowRankBuffers {
  /// One for each of the layers that may have the same input.
  private let projectionGradients: [Vector]  // [tokens * rank]
  private let dropped: Vector  // [tokens * widest input], empty without dropout
  private let scaled: Vector  // [tokens * widest output], empty without magnitudes

  /// - Parameters:
  ///   - places: the most layers that have the same input
  ///   - widestScaled: the widest output that has magnitudes; 0 without
  init(tokens: Int, rank: Int, places: Int, widestInput: Int, widestScaled: Int, dropout: Bool, arena: Arena) {
    projectionGradients = (0..<places).map { _ in
      arena.vector("gradient of x Aᵀ", kind: .adapter, count: tokens * rank)
    }
    dropped = arena.vector("input after dropout", kind: .adapter, count: dropout ? tokens * widestInput : 0)
    scaled = arena.vector("gradient under magnitudes", kind: .adapter, count: tokens * widestScaled)
  }

  func projectionGradient(at location: LinearLocation, rows: Int, rank: Int) -> Matrix {
    projectionGradients[location.place].matrix(rows: rows, columns: rank)
  }

  func droppedInput(rows: Int, columns: Int) -> Matrix { dropped.matrix(rows: rows, columns: columns) }

  func scaledGradient(rows: Int, columns: Int) -> Matrix { scaled.matrix(rows: rows, columns: columns) }
}

/// LoRA, or DoRA: an adapter at each chosen linear layer.
public final class LowRankMethod: MergeableMethod {
  public let configuration: LowRankConfiguration
  public let adapters: [LowRankAdapter]
  /// For each adapter `A` unless it is frozen, then `Bᵀ`, then the magnitudes of DoRA; then biases, rows of tokens and
  /// whole modules.
  public let trainables: Trainables
  private let biases: [(location: LinearLocation, trainable: Trainable)]
  private let normBiases: [(name: String, trainable: Trainable)]
  private let tokens: TrainedTokens?
  private let modules: TrainedModules?
  private let keptColumns: [LinearLocation: Int]
  private let model: LanguageModel
  /// Of the gradient of each adapter's `B`, with LoRA-FA.
  private let corrections: [FrozenFactorCorrection]
  private var areCorrectionsReady = false
  /// How PEFT writes it down.
  var usesConv1D: Bool { model.description.linears.contains { $0.weight.isTransposed } }

  /// Reserves adapters for `model`; parameters as of `TuningConfiguration.reserve`.
  public init(configuration: LowRankConfiguration, model: LanguageModel, in room: TuningRoom) throws {
    self.configuration = configuration
    self.model = model
    let places = try configuration.places(in: model)
    let ratio = configuration.loraPlusRatio
    // Who only applies an adapter reads `A` from where it was written.
    let freezesA = configuration.freezesA && room.isTrained
    let biasPlaces = try configuration.biasPlaces(in: model)
    let choice = try configuration.modules(in: model, isTrained: room.isTrained)
    let wholeNorms = choice.normPaths
    let normBiases =
      configuration.trainsNormBiases
      ? model.normBiases.filter { !wholeNorms.contains(String($0.name.dropLast(".bias".count))) } : []
    let biasWishes =
      biasPlaces.map { place in
        Trainables.Wish(
          Self.biasName(place.location, isAdapted: place.isAdapted), rows: 1, columns: place.location.shape.out,
          isVector: true, learningRateFactor: ratio)
      }
      + normBiases.map { bias in
        Trainables.Wish(
          "base_model.model.\(bias.name)", rows: 1, columns: bias.values.count, isVector: true,
          learningRateFactor: ratio)
      }
    let tokens = try TrainedTokens.tokens(configuration.trainedTokens, in: model)
    let tokenWishes = tokens.isEmpty ? [] : [TrainedTokens.wish(tokens, in: model)]
    let trainables = try Trainables(
      places.filter { $0.rank > 0 }.flatMap { place -> [Trainables.Wish] in
        let location = place.location
        let a = Trainables.Wish(Self.tensorName(location, "A"), rows: place.rank, columns: location.shape.in)
        let b = Trainables.Wish(
          Self.tensorName(location, "B"), rows: place.rank, columns: location.shape.out, isTransposed: true,
          learningRateFactor: ratio)
        let factors = freezesA ? [b] : [a, b]
        guard configuration.useDoRA else { return factors }
        return factors + [
          Trainables.Wish(
            Self.magnitudeName(location), rows: 1, columns: location.shape.out, isVector: true,
            learningRateFactor: ratio)
        ]
      } + biasWishes + tokenWishes + TrainedModules.wishes(choice, in: model, vectorRate: ratio), of: model, in: room,
      headVectorRate: ratio)
    let arena = room.arena
    let buffers = LowRankBuffers(
      tokens: room.tokens, rank: places.map { $0.rank + $0.fixedRank }.max() ?? 0,
      places: (model.linearLocations.map(\.place).max() ?? 0) + 1,
      widestInput: places.map(\.location.shape.in).max() ?? 0,
      widestScaled: configuration.useDoRA ? places.map(\.location.shape.out).max() ?? 0 : 0,
      dropout: configuration.dropout > 0, arena: arena)
    var rest = trainables.entries[...]
    adapters = places.map { place in
      let (location, out) = (place.location, place.location.shape.out)
      /// What is not trained, and belongs to no file.
      func still(_ part: String, columns: Int, isTransposed: Bool) -> Trainable {
        let matrix = arena.matrix("frozen factors", kind: .adapter, rows: place.rank, columns: columns)
        return Trainable(
          name: Self.tensorName(location, part), matrix: matrix, gradient: matrix.rows(0..<0),
          isTransposed: isTransposed, isVector: false, learningRateFactor: 1)
      }
      let isEmpty = place.rank == 0
      let a = freezesA || isEmpty ? still("A", columns: location.shape.in, isTransposed: false) : rest.removeFirst()
      let b = isEmpty ? still("B", columns: out, isTransposed: true) : rest.removeFirst()
      return LowRankAdapter(
        location: location, rank: place.rank, scaling: place.scaling, dropout: Float(configuration.dropout),
        a: a, bTransposed: b,
        fixed: place.fixedRank > 0
          ? FixedFactors(location: location, rank: place.rank, fixedRank: place.fixedRank, arena: arena) : nil,
        magnitude: !configuration.useDoRA
          ? nil
          : LowRankMagnitude(
            rest.removeFirst(),
            factor: arena.vector("magnitudes over norms", kind: .adapter, count: out),
            inverseNorms: arena.vector("norms of rows", kind: .adapter, count: out)),
        buffers: buffers)
    }
    let given = arena.vector(
      "gradient before its correction", kind: .adapter,
      count: freezesA ? places.map { $0.rank * $0.location.shape.out }.max() ?? 0 : 0)
    corrections = (freezesA ? places : []).map { place in
      FrozenFactorCorrection(
        inverse: arena.matrix("correction of a gradient", kind: .adapter, rows: place.rank, columns: place.rank),
        given: given)
    }
    biases = zip(biasPlaces, rest).map { ($0.location, $1) }
    rest = rest.dropFirst(biases.count)
    self.normBiases = zip(normBiases, rest).map { ($0.name, $1) }
    rest = rest.dropFirst(normBiases.count)
    self.tokens = tokens.isEmpty ? nil : TrainedTokens(tokens, rows: rest.removeFirst(), model: model, in: room)
    modules = choice.isEmpty ? nil : TrainedModules(choice, rest, model: model, in: room)
    self.trainables = trainables
    keptColumns = Dictionary(uniqueKeysWithValues: adapters.map { ($0.location, $0.keptColumns) })
  }

  public func hook(into model: LanguageModel) {
    for adapter in adapters { model.setAdapter(adapter, at: adapter.location) }
    for (location, bias) in biases {
      model.setBias(TrainedBias(values: bias.matrix.row(0), gradient: bias.gradient.elements), at: location)
    }
    for (name, bias) in normBiases {
      model.setNormBias(TrainedBias(values: bias.matrix.row(0), gradient: bias.gradient.elements), named: name)
    }
    tokens?.hook(into: model)
    modules?.hook(into: model)
    trainables.attachHead()
  }

  public func keptColumns(at location: LinearLocation) -> Int { keptColumns[location] ?? 0 }

  public var replaced: ReplacedTables {
    modules.map { ReplacedTables(embedding: $0.choice.embedding, head: $0.choice.trainsHead) } ?? .none
  }

  /// PEFT's start: `A` uniform in `±1/sqrt(in)` (Kaiming with `a = sqrt(5)`) or normal, `B` zero, magnitudes those of the
  /// weight; reproducible from `seed`.
  public func initialize(seed: UInt64) {
    let pool = ThreadPool(threadCount: 1)
    for (index, adapter) in adapters.enumerated() where adapter.rank > 0 {
      var generator = SplitMix64(seed: seed &+ UInt64(index) &* 0xD1B5_4A32_D192_ED03)
      let bound = 1 / Float(adapter.a.columns).squareRoot()
      for row in 0..<adapter.a.rows {
        switch configuration.initialisation {
        case .standard, .pissa, .olora, .loftq:
          adapter.a.row(row).assign((0..<adapter.a.columns).map { _ in generator.uniform(in: -bound...bound) })
        case .gaussian:
          adapter.a.row(row).assign(
            (0..<adapter.a.columns).map { _ in generator.normal() / Float(adapter.rank) })
        }
      }
      VectorOperations.fill(adapter.bTransposed, with: 0)
      if let magnitude = adapter.magnitude {
        magnitude.initialize(
          model.weight(at: adapter.location), a: adapter.a, bTransposed: adapter.bTransposed, pool: pool)
        model.store.dropPages()
      }
    }
    for (location, bias) in biases { if let own = model.bias(at: location) { bias.assign(own.values) } }
    let own = Dictionary(uniqueKeysWithValues: model.normBiases.map { ($0.name, $0.values) })
    for (name, bias) in normBiases { if let values = own[name] { bias.assign(values.values) } }
    tokens?.initialize()
    modules?.initialize()
    trainables.initializeHead(seed: seed)
  }

  /// Takes over the adapters that stay as they are.
  private func readFrozen() throws {
    guard let frozen = configuration.frozen else { return }
    var rows = Dictionary(
      uniqueKeysWithValues: adapters.map { ($0.location, $0.rank + configuration.startRank($0.rank)) })
    for part in try frozen.parts(in: model) {
      guard let adapter = adapters.first(where: { $0.location == part.location }), let fixed = adapter.fixed else {
        continue
      }
      let row = rows[part.location] ?? 0
      rows[part.location] = row + part.rank
      try fixed.fix(part.read(), over: adapter.scaling, at: row)
    }
    for adapter in adapters { adapter.fixed?.refresh(a: adapter.a, bTransposed: adapter.bTransposed) }
  }

  public func parametersChanged(pool: ThreadPool) {
    for adapter in adapters {
      adapter.magnitude?.parametersChanged()
      adapter.fixed?.refresh(a: adapter.a, bTransposed: adapter.bTransposed)
    }
    tokens?.begin()
    modules?.parametersChanged()
  }

  public func completeGradients(pool: ThreadPool) {
    tokens?.completeGradients(pool: pool)
    modules?.completeGradients(pool: pool)
  }

  public var rowMerges: [RowMerge] {
    let biases = normBiases.map { name, trainable in
      let row = trainable.matrix.row(0)
      return RowMerge(tensor: name) { _ in row }
    }
    return biases + (tokens.map { [$0.merge] } ?? []) + (modules?.merges ?? [])
  }

  public var unties: Bool { modules?.unties ?? false }

  /// Starts that the weights decide: those of the model, or what quantising has taken from those of its original.
  public func initialize(seed: UInt64, for model: LanguageModel, workspace: Workspace, pass: Pass) throws {
    initialize(seed: seed)
    try readFrozen()
    guard configuration.initialisation.readsWeights else { return }
    let pool = pass.engine.pool
    let original = try originalModel()
    for (index, adapter) in adapters.enumerated() where adapter.rank > 0 {
      let weight = model.weight(at: adapter.location)
      let seed = seed &+ UInt64(index) &* 0xD1B5_4A32_D192_ED03
      let start: WeightStart
      switch configuration.initialisation {
      case .pissa(let rounds):
        start = .principal(
          of: DecodedProduct(weight), rank: adapter.rank, scaling: adapter.scaling, rounds: rounds, seed: seed,
          pool: pool)
      case .loftq:
        guard let original else { continue }
        start = .principal(
          of: DecodedProduct(original.weight(at: adapter.location), minus: weight), rank: adapter.rank,
          scaling: adapter.scaling, rounds: LowRankInitialisation.usualRounds, seed: seed, pool: pool)
        original.store.dropPages()
      default: start = .orthonormal(of: DecodedProduct(weight), rank: adapter.rank, pool: pool)
      }
      adapter.a.elements.assign(start.a.floats)
      adapter.bTransposed.elements.assign(start.bTransposed.floats)
      if configuration.initialisation.subtractsStart {
        adapter.fixed?.subtract(a: adapter.a, bTransposed: adapter.bTransposed)
      }
      model.store.dropPages()
    }
  }

  /// The model before it was quantised, whose layers must be those of this one.
  private func originalModel() throws -> LanguageModel? {
    guard configuration.initialisation == .loftq, let directory = configuration.originalModel else { return nil }
    let original = try LanguageModel(store: try WeightStore.open(directory))
    func shapes(_ model: LanguageModel) -> [String] {
      model.linearLocations.map { "\($0.name) \($0.shape)" }
    }
    guard shapes(original) == shapes(model) else {
      throw AdapterError.unsuitableModel(
        "\(directory): has other layers than the model that is trained; name the model that it was quantised from")
    }
    return original
  }

  public func prepareUpdate() {
    if !areCorrectionsReady {
      for (adapter, correction) in zip(adapters, corrections) {
        correction.prepare(a: adapter.a, scaling: adapter.scaling)
      }
      areCorrectionsReady = true
    }
    for (adapter, correction) in zip(adapters, corrections) { correction.apply(to: adapter.bTransposedGradient) }
  }

  /// What a file holds again under another name.
  var repeated: [Trainable] { modules?.repeated ?? [] }

  /// What a file holds: the factors with the start that is taken off, if there is one.
  var stored: [Trainable] {
    guard configuration.freezesA || configuration.initialisation.subtractsStart else { return trainables.entries }
    func entry(_ name: String, _ matrix: Matrix, isTransposed: Bool) -> Trainable {
      Trainable(
        name: name, matrix: matrix, gradient: matrix, isTransposed: isTransposed, isVector: false,
        learningRateFactor: 1)
    }
    let factors = adapters.filter { $0.rank > 0 }.flatMap { adapter in
      let rows = 0..<adapter.rank + configuration.startRank(adapter.rank)
      return [
        entry(Self.tensorName(adapter.location, "A"), adapter.factors.a.rows(rows), isTransposed: false),
        entry(Self.tensorName(adapter.location, "B"), adapter.factors.bTransposed.rows(rows), isTransposed: true),
      ]
    }
    let names = Set(factors.map(\.name))
    return factors + trainables.entries.filter { !names.contains($0.name) }
  }

  /// Reads what files hold of it, and the adapters that stay as they are.
  public func load(from directory: String) throws {
    if !stored.isEmpty {
      let repeated = Set(repeated.map(\.name))
      // With biases PEFT also writes those of the head as its wrapper calls them.
      try TrainableFiles.read(stored, from: "\(directory)/\(TrainableFiles.weightsName)") {
        $0.contains(".modules_to_save.") || $0.contains(".original_module.") || repeated.contains($0)
          || trainables.isOtherHead($0)
      }
    }
    try readFrozen()
    tokens?.readFrozen()
    modules?.parametersChanged()
  }

  public func merges() -> [(location: LinearLocation, merge: WeightMerge)] {
    let pool = ThreadPool(threadCount: 1)
    let new = Dictionary(uniqueKeysWithValues: biases.map { ($0.location, $0.trainable.values) })
    let adapted = adapters.map { adapter in
      let bias = new[adapter.location].map { WeightMerge.Bias.replaced($0) } ?? .kept
      return (adapter.location, adapter.merge(model.weight(at: adapter.location), bias: bias, pool: pool))
    }
    let locations = Set(adapters.map(\.location))
    return adapted
      + new.filter { !locations.contains($0.key) }.map { ($0.key, WeightMerge(bias: .replaced($0.value))) }
  }
}

extension SplitMix64 {
  /// Of the standard normal distribution. Source: Box & Muller 1958.
  mutating func normal() -> Float {
    // A draw of 0, one of 2^24, must not take the logarithm above 0.
    let radius = (-2 * logarithm(min(1, 1 - Double(uniform(in: 0...1)) + 1e-12))).squareRoot()
    return Float(radius * cosine(2 * Double.pi * Double(uniform(in: 0...1))))
  }
}
