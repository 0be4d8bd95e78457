import Kernels
import Memory
import Transformer

/// Working memory that all adapters of a set share.
final class LowRankBuffers {
  /// One for each of the layers that may have the same input: queries, keys and values, or gate and up.
  private let projectionGradients: [Vector]  // [tokens * rank]
  private let dropped: Vector  // [tokens * widest input], empty without dropout

  init(tokens: Int, rank: Int, widestInput: Int, dropout: Bool, arena: Arena) {
    projectionGradients = (0..<3).map { _ in
      arena.vector("gradient of x Aᵀ", kind: .adapter, count: tokens * rank)
    }
    dropped = arena.vector("input after dropout", kind: .adapter, count: dropout ? tokens * widestInput : 0)
  }

  func projectionGradient(of module: LinearModule, rows: Int, rank: Int) -> Matrix {
    let place =
      switch module {
      case .query, .output, .gate, .down: 0
      case .key, .up: 1
      case .value: 2
      }
    return projectionGradients[place].matrix(rows: rows, columns: rank)
  }

  func droppedInput(rows: Int, columns: Int) -> Matrix { dropped.matrix(rows: rows, columns: columns) }
}

/// The LoRA adapters of a model: their parameters, and their gradients where they are trained, lie in one piece each.
public final class LowRankAdapterSet {
  public let configuration: LowRankConfiguration
  public let adapters: [LowRankAdapter]
  /// All parameters: for each adapter `A`, then `Bᵀ`.
  public let parameters: Vector
  /// Laid out as `parameters`; empty unless trained.
  public let gradients: Vector

  private let keptColumns: [LinearLocation: Int]

  /// Reserves adapters for `model`, which does not know of them before `attach`.
  ///
  /// - Parameters:
  ///   - locations: what the configuration's target modules are, if that is known already
  ///   - trainingTokens: tokens of the largest micro-batch; 0 if the adapters are only applied
  ///   - arena: gives the memory; parameters are zero until `initialize` or `load`, after the arena's commit
  public init(
    configuration: LowRankConfiguration, model: CausalLanguageModel, locations: [LinearLocation]? = nil,
    trainingTokens: Int, arena: Arena
  ) throws {
    self.configuration = configuration
    let locations = try locations ?? configuration.targetModules.locations(in: model)
    let rank = configuration.rank
    let shapes = locations.map { model.configuration.shape(of: $0.module) }
    let count = shapes.reduce(0) { $0 + rank * ($1.in + $1.out) }
    let parameters = arena.vector("adapter parameters", kind: .adapter, count: count)
    let gradients = arena.vector("adapter gradients", kind: .gradients, count: trainingTokens > 0 ? count : 0)
    let buffers = LowRankBuffers(
      tokens: trainingTokens, rank: rank, widestInput: shapes.map(\.in).max() ?? 0,
      dropout: configuration.dropout > 0, arena: arena)
    var offset = 0
    func matrix(_ source: Vector, _ offset: Int, rows: Int, columns: Int) -> Matrix {
      source.count == 0
        ? Matrix(source.base, rows: 0, columns: columns) : source.matrix(at: offset, rows: rows, columns: columns)
    }
    self.adapters = zip(locations, shapes).map { location, shape in
      defer { offset += rank * (shape.in + shape.out) }
      let bOffset = offset + rank * shape.in
      return LowRankAdapter(
        location: location, rank: rank, scaling: configuration.scaling, dropout: Float(configuration.dropout),
        a: matrix(parameters, offset, rows: rank, columns: shape.in),
        bTransposed: matrix(parameters, bOffset, rows: rank, columns: shape.out),
        aGradient: matrix(gradients, offset, rows: rank, columns: shape.in),
        bTransposedGradient: matrix(gradients, bOffset, rows: rank, columns: shape.out),
        buffers: buffers)
    }
    self.parameters = parameters
    self.gradients = gradients
    keptColumns = Dictionary(uniqueKeysWithValues: adapters.map { ($0.location, $0.keptColumns) })
  }

  /// Wraps the layers of `model` with these adapters and no others.
  public func attach(to model: CausalLanguageModel) {
    for location in model.linearLocations { model.setAdapter(nil, at: location) }
    for adapter in adapters { model.setAdapter(adapter, at: adapter.location) }
  }

  /// Floats per token that the adapter at `location` keeps for the way back; 0 if there is none.
  public func keptColumns(at location: LinearLocation) -> Int { keptColumns[location] ?? 0 }

  /// Elements of each matrix, in the order of `parameters`.
  public var matrixCounts: [Int] {
    adapters.flatMap { [$0.a.rows * $0.a.columns, $0.bTransposed.rows * $0.bTransposed.columns] }
  }

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
  }
}

/// A small reproducible generator.
///
/// Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".
public struct SplitMix64: Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// Uniform in `range`, from 24 random bits.
  public mutating func uniform(in range: ClosedRange<Float>) -> Float {
    let unit = Float(next() >> 40) / Float(1 << 24)
    return range.lowerBound + unit * (range.upperBound - range.lowerBound)
  }
}
