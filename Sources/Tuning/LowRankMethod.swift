import Kernels
import Memory
import Randomness
import Transformer

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
  /// For each adapter `A`, then `Bᵀ`, then the magnitudes of DoRA.
  public let trainables: Trainables
  private let keptColumns: [LinearLocation: Int]
  private let model: LanguageModel
  /// How PEFT writes it down.
  var usesConv1D: Bool { model.description.linears.contains { $0.weight.isTransposed } }

  /// Reserves adapters for `model`; parameters as of `TuningConfiguration.reserve`.
  public init(
    configuration: LowRankConfiguration, model: LanguageModel, trainingTokens: Int, arena: Arena
  ) throws {
    self.configuration = configuration
    self.model = model
    let places = try configuration.places(in: model)
    let ratio = configuration.loraPlusRatio
    let trainables = try Trainables(
      places.flatMap { place -> [Trainables.Wish] in
        let location = place.location
        let a = Trainables.Wish(Self.tensorName(location, "A"), rows: place.rank, columns: location.shape.in)
        let b = Trainables.Wish(
          Self.tensorName(location, "B"), rows: place.rank, columns: location.shape.out, isTransposed: true,
          learningRateFactor: ratio)
        guard configuration.useDoRA else { return [a, b] }
        return [
          a, b,
          Trainables.Wish(
            Self.magnitudeName(location), rows: 1, columns: location.shape.out, isVector: true,
            learningRateFactor: ratio),
        ]
      }, of: model, trains: trainingTokens > 0, arena: arena)
    let buffers = LowRankBuffers(
      tokens: trainingTokens, rank: places.map(\.rank).max() ?? 0,
      places: (model.linearLocations.map(\.place).max() ?? 0) + 1,
      widestInput: places.map(\.location.shape.in).max() ?? 0,
      widestScaled: configuration.useDoRA ? places.map(\.location.shape.out).max() ?? 0 : 0,
      dropout: configuration.dropout > 0, arena: arena)
    let each = configuration.useDoRA ? 3 : 2
    adapters = places.enumerated().map { index, place in
      let out = place.location.shape.out
      return LowRankAdapter(
        location: place.location, rank: place.rank, scaling: place.scaling, dropout: Float(configuration.dropout),
        a: trainables.entries[each * index], bTransposed: trainables.entries[each * index + 1],
        magnitude: !configuration.useDoRA
          ? nil
          : LowRankMagnitude(
            trainables.entries[each * index + 2],
            factor: arena.vector("magnitudes over norms", kind: .adapter, count: out),
            inverseNorms: arena.vector("norms of rows", kind: .adapter, count: out)),
        buffers: buffers)
    }
    self.trainables = trainables
    keptColumns = Dictionary(uniqueKeysWithValues: adapters.map { ($0.location, $0.keptColumns) })
  }

  public func attach(to model: LanguageModel) {
    model.removeHooks()
    for adapter in adapters { model.setAdapter(adapter, at: adapter.location) }
    trainables.attachHead()
  }

  public func keptColumns(at location: LinearLocation) -> Int { keptColumns[location] ?? 0 }

  /// PEFT's start: `A` uniform in `±1/sqrt(in)` (Kaiming with `a = sqrt(5)`) or normal, `B` zero, magnitudes those of the
  /// weight; reproducible from `seed`.
  public func initialize(seed: UInt64) {
    let pool = ThreadPool(threadCount: 1)
    for (index, adapter) in adapters.enumerated() {
      var generator = SplitMix64(seed: seed &+ UInt64(index) &* 0xD1B5_4A32_D192_ED03)
      let bound = 1 / Float(adapter.a.columns).squareRoot()
      for row in 0..<adapter.a.rows {
        switch configuration.initialisation {
        case .standard:
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
    trainables.initializeHead(seed: seed)
  }

  public func parametersChanged(pool: ThreadPool) {
    for adapter in adapters { adapter.magnitude?.parametersChanged() }
  }

  public func merges() -> [(location: LinearLocation, merge: WeightMerge)] {
    let pool = ThreadPool(threadCount: 1)
    return adapters.map { ($0.location, $0.merge(model.weight(at: $0.location), pool: pool)) }
  }
}

extension SplitMix64 {
  /// Of the standard normal distribution. Source: Box & Muller 1958.
  mutating func normal() -> Float {
    let radius = (-2 * logarithm(1 - Double(uniform(in: 0...1)) + 1e-12)).squareRoot()
    return Float(radius * cosine(2 * Double.pi * Double(uniform(in: 0...1))))
  }
}
