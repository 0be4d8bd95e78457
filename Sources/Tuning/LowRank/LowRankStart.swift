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

/// The factors of an adapter with others that stay as they are, `[A; F]` and `[Bᵀ; Gᵀ]`: those that take its start off the
/// weight, or adapters that were trained before.
final class FixedFactors {
  let a: Matrix  // [rank + fixed, in]
  let bTransposed: Matrix  // [rank + fixed, out]
  private let rank: Int

  init(location: LinearLocation, rank: Int, fixedRank: Int, arena: Arena) {
    self.rank = rank
    let rows = rank + fixedRank
    a = arena.matrix("factors with fixed ones", kind: .adapter, rows: rows, columns: location.shape.in)
    bTransposed = arena.matrix("factors with fixed ones", kind: .adapter, rows: rows, columns: location.shape.out)
  }

  /// Takes off what the factors make now.
  func subtract(a: Matrix, bTransposed: Matrix) {
    for row in 0..<rank {
      self.a.row(rank + row).copy(a.row(row))
      self.bTransposed.row(rank + row).assign(bTransposed.row(row).values.map { -$0 })
    }
    refresh(a: a, bTransposed: bTransposed)
  }

  /// Takes over factors of another adapter.
  ///
  /// - Parameters:
  ///   - scaling: what the product of all factors is multiplied with
  ///   - row: the first one that they take
  func fix(_ part: LowRankFile.Part, over scaling: Float, at row: Int) {
    let scale = part.weight / Double(scaling)
    for index in 0..<part.a.rows {
      a.row(row + index).assign(part.a.row(index).map(Float.init))
      bTransposed.row(row + index).assign(part.b.row(index).map { Float($0 * scale) })
    }
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
  private let inverse: Matrix  // [rank, rank]
  private let given: Vector  // room for a gradient, which all adapters share

  /// - Parameters:
  ///   - inverse: `[rank, rank]`, filled by `prepare`
  ///   - given: `[rank * out]`, working memory
  init(inverse: Matrix, given: Vector) {
    self.inverse = inverse
    self.given = given
  }

  /// To be called when `A` is there, before the first `apply`.
  func prepare(a: Matrix, scaling: Float) {
    let rows = (0..<a.rows).map { a.row($0).values }
    var product = Factor(rows: a.rows, columns: a.rows)
    for i in rows.indices {
      for j in rows.indices {
        var sum = 0.0
        for (x, y) in zip(rows[i], rows[j]) { sum += Double(x) * Double(y) }
        product.values[i * a.rows + j] = i == j ? sum + Self.delta : sum
      }
    }
    let scaled = product.inverse.scaled(by: 1 / Double(scaling * scaling))
    for row in 0..<a.rows { inverse.row(row).assign(scaled.row(row).map(Float.init)) }
  }

  /// - Parameter bTransposed: the gradient, `[rank, out]`
  func apply(to bTransposed: Matrix) {
    let rank = bTransposed.rows
    let given = given.matrix(rows: rank, columns: bTransposed.columns)
    for row in 0..<rank { given.row(row).copy(bTransposed.row(row)) }
    VectorOperations.fill(bTransposed, with: 0)
    for row in 0..<rank {
      for other in 0..<rank {
        VectorOperations.add(given.row(other), scaledBy: inverse.row(row)[other], to: bTransposed.row(row))
      }
    }
  }
}
