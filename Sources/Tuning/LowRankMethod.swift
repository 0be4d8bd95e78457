import Kernels
import Memory
import Randomness
import Transformer

/// Working memory that all adapters of a model share.
final class LowRankBuffers {
  /// One for each of the layers that may have the same input.
  private let projectionGradients: [Vector]  // [tokens * rank]
  private let dropped: Vector  // [tokens * widest input], empty without dropout

  /// - Parameter places: the most layers that have the same input
  init(tokens: Int, rank: Int, places: Int, widestInput: Int, dropout: Bool, arena: Arena) {
    projectionGradients = (0..<places).map { _ in
      arena.vector("gradient of x Aᵀ", kind: .adapter, count: tokens * rank)
    }
    dropped = arena.vector("input after dropout", kind: .adapter, count: dropout ? tokens * widestInput : 0)
  }

  func projectionGradient(at location: LinearLocation, rows: Int, rank: Int) -> Matrix {
    projectionGradients[location.place].matrix(rows: rows, columns: rank)
  }

  func droppedInput(rows: Int, columns: Int) -> Matrix { dropped.matrix(rows: rows, columns: columns) }
}

/// LoRA: an adapter at each chosen linear layer.
public final class LowRankMethod: TuningMethod {
  public let configuration: LowRankConfiguration
  public let adapters: [LowRankAdapter]
  /// For each adapter `A`, then `Bᵀ`.
  public let trainables: Trainables
  private let keptColumns: [LinearLocation: Int]
  /// How PEFT writes it down.
  let usesConv1D: Bool

  /// Reserves adapters for `model`; parameters as of `TuningConfiguration.reserve`.
  public init(
    configuration: LowRankConfiguration, model: LanguageModel, trainingTokens: Int, arena: Arena
  ) throws {
    self.configuration = configuration
    usesConv1D = model.description.linears.contains { $0.weight.isTransposed }
    let locations = try configuration.targetModules.locations(in: model)
    let rank = configuration.rank
    let trainables = try Trainables(
      locations.flatMap { location in
        [
          Trainables.Wish(Self.tensorName(location, "A"), rows: rank, columns: location.shape.in),
          Trainables.Wish(Self.tensorName(location, "B"), rows: rank, columns: location.shape.out, isTransposed: true),
        ]
      }, of: model, trains: trainingTokens > 0, arena: arena)
    let buffers = LowRankBuffers(
      tokens: trainingTokens, rank: rank, places: (model.linearLocations.map(\.place).max() ?? 0) + 1,
      widestInput: locations.map(\.shape.in).max() ?? 0, dropout: configuration.dropout > 0, arena: arena)
    adapters = locations.enumerated().map { index, location in
      LowRankAdapter(
        location: location, rank: rank, scaling: configuration.scaling, dropout: Float(configuration.dropout),
        a: trainables.entries[2 * index], bTransposed: trainables.entries[2 * index + 1], buffers: buffers)
    }
    self.trainables = trainables
    keptColumns = Dictionary(uniqueKeysWithValues: adapters.map { ($0.location, $0.keptColumns) })
  }

  public func attach(to model: LanguageModel) {
    for location in model.linearLocations { model.setAdapter(nil, at: location) }
    for adapter in adapters { model.setAdapter(adapter, at: adapter.location) }
    trainables.attachHead()
  }

  public func keptColumns(at location: LinearLocation) -> Int { keptColumns[location] ?? 0 }

  /// PEFT's start: `A` uniform in `±1/sqrt(in)` (Kaiming with `a = sqrt(5)`), `B` zero; reproducible from `seed`.
  public func initialize(seed: UInt64) {
    for (index, adapter) in adapters.enumerated() {
      var generator = SplitMix64(seed: seed &+ UInt64(index) &* 0xD1B5_4A32_D192_ED03)
      let bound = 1 / Float(adapter.a.columns).squareRoot()
      for row in 0..<adapter.a.rows {
        adapter.a.row(row).assign((0..<adapter.a.columns).map { _ in generator.uniform(in: -bound...bound) })
      }
      VectorOperations.fill(adapter.bTransposed, with: 0)
    }
    trainables.initializeHead(seed: seed)
  }
}
