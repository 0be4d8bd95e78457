import Kernels
import Memory
import Transformer

/// Where the factors of LoRA start.
public enum LowRankInitialisation: Sendable, Equatable, CustomStringConvertible {
  /// `A` uniform in `±1/sqrt(in)`, `B` zero.
  case standard
  /// `A` normal with a deviation of `1/rank`, `B` zero.
  case gaussian
  /// The weight's largest singular values, found in so many rounds of subspace iteration; what they make is taken off, so
  /// that nothing changes at first.
  case pissa(rounds: Int)
  /// The weight's first orthonormal directions; likewise taken off.
  case olora
  /// The best approximation of what quantising has lost.
  case loftq

  /// - Parameter name: as PEFT spells it: `true`, `gaussian`, `pissa`, `pissa_niter_4`, `olora`, `loftq`
  public init?(_ name: String) {
    let name = name.lowercased()
    switch name {
    case "true": self = .standard
    case "gaussian": self = .gaussian
    case "pissa": self = .pissa(rounds: Self.usualRounds)
    case "olora": self = .olora
    case "loftq": self = .loftq
    default:
      let start = "pissa_niter_"
      guard name.hasPrefix(start), let rounds = Int(name.dropFirst(start.count)), (1...1000).contains(rounds) else {
        return nil
      }
      self = .pissa(rounds: rounds)
    }
  }

  static let usualRounds = 16

  public var description: String {
    switch self {
    case .standard: "true"
    case .gaussian: "gaussian"
    case .pissa(let rounds): "pissa_niter_\(rounds)"
    case .olora: "olora"
    case .loftq: "loftq"
    }
  }

  /// Whether what the factors start with is taken off the weight. The stored weight stays: the adapter has twice the rank,
  /// and its second half, which is not trained, takes off what the first one starts with.
  var subtractsStart: Bool {
    switch self {
    case .pissa, .olora: true
    case .standard, .gaussian, .loftq: false
    }
  }

  /// Whether the weight decides the start.
  var readsWeights: Bool { subtractsStart || self == .loftq }
}

/// The factors of an adapter with those that take its start off: `[A; A0]` and `[Bᵀ; -B0ᵀ]`.
final class SubtractedStart {
  let a: Matrix  // [2 rank, in]
  let bTransposed: Matrix  // [2 rank, out]
  private let rank: Int

  init(location: LinearLocation, rank: Int, arena: Arena) {
    self.rank = rank
    a = arena.matrix("factors with their start", kind: .adapter, rows: 2 * rank, columns: location.shape.in)
    bTransposed = arena.matrix("factors with their start", kind: .adapter, rows: 2 * rank, columns: location.shape.out)
  }

  /// Takes what the factors are now as their start.
  func begin(a: Matrix, bTransposed: Matrix) {
    for row in 0..<rank {
      self.a.row(rank + row).copy(a.row(row))
      self.bTransposed.row(rank + row).assign(bTransposed.row(row).values.map { -$0 })
    }
    refresh(a: a, bTransposed: bTransposed)
  }

  /// To be called when the factors have changed.
  func refresh(a: Matrix, bTransposed: Matrix) {
    for row in 0..<rank {
      self.a.row(row).copy(a.row(row))
      self.bTransposed.row(row).copy(bTransposed.row(row))
    }
  }
}

/// LoRA-FA: with `A` frozen, the gradient of `B` becomes the one whose step comes closest to that of the whole weight,
/// `dB (A Aᵀ)⁻¹ / scaling²`.
///
/// Source: Zhang et al. 2023, arXiv 2308.03303; the correction as in PEFT's `LoraFAOptimizer`.
struct FrozenFactorCorrection {
  /// What keeps the inverse finite.
  private static let delta = 1e-8
  private let inverse: Factor

  init(a: Matrix, scaling: Float) {
    let rows = (0..<a.rows).map { a.row($0).values }
    var product = Factor(rows: a.rows, columns: a.rows)
    for i in rows.indices {
      for j in rows.indices {
        product.values[i * a.rows + j] =
          zip(rows[i], rows[j]).reduce(0.0) { $0 + Double($1.0) * Double($1.1) } + (i == j ? Self.delta : 0)
      }
    }
    inverse = product.inverse.scaled(by: 1 / Double(scaling * scaling))
  }

  /// - Parameter bTransposed: the gradient, `[rank, out]`
  func apply(to bTransposed: Matrix) {
    let (rank, columns) = (bTransposed.rows, bTransposed.columns)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: rank * columns) { buffer in
      guard let base = buffer.baseAddress else { return }
      let given = Matrix(base, rows: rank, columns: columns)
      for row in 0..<rank { given.row(row).copy(bTransposed.row(row)) }
      VectorOperations.fill(bTransposed, with: 0)
      for row in 0..<rank {
        for (factor, other) in zip(inverse.row(row), 0..<rank) {
          VectorOperations.add(given.row(other), scaledBy: Float(factor), to: bTransposed.row(row))
        }
      }
    }
  }
}
