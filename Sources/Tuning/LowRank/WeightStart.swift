import Kernels
import Randomness

/// Factors `B A` that a weight itself gives, as starts of low-rank adapters.
///
/// Sources: Meng et al. 2024, arXiv 2404.02948 (PiSSA); Büyükakyüz 2024, arXiv 2406.01775 (OLoRA); Li et al. 2023,
/// arXiv 2310.08659 (LoftQ).
struct WeightStart {
  let a: Factor  // [rank, in]
  let bTransposed: Factor  // [rank, out]

  /// Directions beside those that are wanted, which make subspace iteration converge.
  private static let spare = 8

  /// The best approximation of `product / scaling` of a rank, with its singular values shared between both factors.
  ///
  /// - Parameter rounds: of subspace iteration
  static func principal(
    of product: DecodedProduct, rank: Int, scaling: Float, rounds: Int, seed: UInt64, pool: ThreadPool
  ) -> WeightStart {
    let count = min(rank + spare, product.rows, product.columns)
    var generator = SplitMix64(seed: seed)
    var q = Factor(
      rows: count, columns: product.columns,
      values: (0..<count * product.columns).map { _ in Double(generator.normal()) })
    for _ in 0..<rounds {
      q = SmallDecomposition.orthogonal(q).q
      let y = product.project(q.floats, count: count, pool: pool)
      q = Factor(rows: count, columns: product.columns, floats: product.projectBack(y, count: count, pool: pool))
    }
    q = SmallDecomposition.orthogonal(q).q
    let y = Factor(
      rows: product.rows, columns: count, floats: product.project(q.floats, count: count, pool: pool))
    var (a, b) = SmallDecomposition.truncated(a: q, b: y.transposed, rank: min(rank, count))
    for row in 0..<a.rows {
      let value = b.row(row).reduce(0.0) { $0 + $1 * $1 }.squareRoot()
      guard value > 0 else { continue }
      let share = (value / Double(scaling)).squareRoot()
      for column in 0..<a.columns { a.values[row * a.columns + column] *= share }
      for column in 0..<b.columns { b.values[row * b.columns + column] *= share / value }
    }
    return WeightStart(a: a.padded(rows: rank), bTransposed: b.padded(rows: rank))
  }

  /// `Q` and `R` of the weight's first columns, as far as the rank goes: `B = Q`, `A = Qᵀ W`.
  static func orthonormal(of product: DecodedProduct, rank: Int, pool: ThreadPool) -> WeightStart {
    let count = min(rank, product.rows, product.columns)
    var unit = [Float](repeating: 0, count: count * product.columns)
    for index in 0..<count { unit[index * product.columns + index] = 1 }
    let columns = Factor(rows: product.rows, columns: count, floats: product.project(unit, count: count, pool: pool))
    let b = SmallDecomposition.orthogonal(columns.transposed).q
    let a = Factor(
      rows: count, columns: product.columns,
      floats: product.projectBack(b.transposed.floats, count: count, pool: pool))
    return WeightStart(a: a.padded(rows: rank), bTransposed: b.padded(rows: rank))
  }
}

extension Factor {
  init(rows: Int, columns: Int, floats: [Float]) {
    self.init(rows: rows, columns: columns, values: floats.map { Double($0) })
  }

  var floats: [Float] { values.map { Float($0) } }

  /// Inverse of a symmetric matrix, by elimination with pivots; a direction without extent stays zero.
  var inverse: Factor {
    let count = rows
    var (work, result) = (self, Factor(rows: count, columns: count))
    for index in 0..<count { result.values[index * count + index] = 1 }
    for column in 0..<count {
      let pivot = (column..<count).max {
        abs(work.values[$0 * count + column]) < abs(work.values[$1 * count + column])
      }
      guard let pivot, work.values[pivot * count + column] != 0 else { continue }
      for other in 0..<count where pivot != column {
        work.values.swapAt(pivot * count + other, column * count + other)
        result.values.swapAt(pivot * count + other, column * count + other)
      }
      let head = work.values[column * count + column]
      for other in 0..<count {
        work.values[column * count + other] /= head
        result.values[column * count + other] /= head
      }
      for row in 0..<count where row != column {
        let factor = work.values[row * count + column]
        if factor == 0 { continue }
        for other in 0..<count {
          work.values[row * count + other] -= factor * work.values[column * count + other]
          result.values[row * count + other] -= factor * result.values[column * count + other]
        }
      }
    }
    return result
  }
}
