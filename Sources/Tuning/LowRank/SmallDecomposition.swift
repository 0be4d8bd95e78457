/// Singular values of products of thin matrices, without the product.
enum SmallDecomposition {
  /// The best approximation of `Bᵀ A` of a rank: `A` gets the right singular vectors, `B` the left ones times the values.
  ///
  /// - Parameters:
  ///   - a: `[r, in]`
  ///   - b: `[r, out]`
  static func truncated(a: Factor, b: Factor, rank: Int) -> (a: Factor, b: Factor) {
    let (qa, ra) = orthogonal(a)
    let (qb, rb) = orthogonal(b)
    // bᵀ a = qbᵀ (rb raᵀ) qa with the rows of q orthonormal
    let count = a.rows
    var core = Factor(rows: count, columns: count)
    for i in 0..<count {
      for j in 0..<count {
        var sum = 0.0
        for k in 0..<count { sum += rb.values[i * count + k] * ra.values[j * count + k] }
        core.values[i * count + j] = sum
      }
    }
    let (left, singular, right) = decomposed(core)
    let order = singular.indices.sorted { singular[$0] > singular[$1] }.prefix(rank)
    func rows(_ vectors: Factor, of q: Factor, scaled: Bool) -> Factor {
      Factor(
        joining: order.map { index in
          var row = Factor(rows: 1, columns: q.columns)
          for i in 0..<count {
            let factor = vectors.values[i * count + index] * (scaled ? singular[index] : 1)
            if factor == 0 { continue }
            for (column, value) in q.row(i).enumerated() { row.values[column] += factor * value }
          }
          return row
        })
    }
    return (rows(right, of: qa, scaled: false), rows(left, of: qb, scaled: true))
  }

  /// `x = rᵀ q` with orthonormal rows of `q`, or zero rows where those of `x` depend on each other: `x[k] = Σ r[i][k] q[i]`.
  /// Gram-Schmidt, twice.
  static func orthogonal(_ x: Factor) -> (q: Factor, r: Factor) {
    var (q, r) = (x, Factor(rows: x.rows, columns: x.rows))
    let columns = x.columns
    for k in 0..<x.rows {
      let before = norm(q, k)
      for _ in 0..<2 {
        for i in 0..<k {
          var share = 0.0
          for c in 0..<columns { share += q.values[i * columns + c] * q.values[k * columns + c] }
          r.values[i * x.rows + k] += share
          for c in 0..<columns { q.values[k * columns + c] -= share * q.values[i * columns + c] }
        }
      }
      let length = norm(q, k)
      let isNew = length > 1e-12 * before && length > 0
      r.values[k * x.rows + k] = isNew ? length : 0
      for c in 0..<columns { q.values[k * columns + c] = isNew ? q.values[k * columns + c] / length : 0 }
    }
    return (q, r)
  }

  private static func norm(_ x: Factor, _ row: Int) -> Double {
    x.row(row).reduce(0.0) { $0 + $1 * $1 }.squareRoot()
  }

  /// `m = left diag(singular) rightᵀ`, by one-sided Jacobi rotations of the columns (Hestenes 1958).
  private static func decomposed(_ m: Factor) -> (left: Factor, singular: [Double], right: Factor) {
    let count = m.rows
    var (work, right) = (m, Factor(rows: count, columns: count))
    for i in 0..<count { right.values[i * count + i] = 1 }
    for _ in 0..<60 {
      var rotated = false
      for p in 0..<count {
        for q in p + 1..<max(count, p + 1) {
          var (pp, qq, pq) = (0.0, 0.0, 0.0)
          for i in 0..<count {
            let (x, y) = (work.values[i * count + p], work.values[i * count + q])
            pp += x * x
            qq += y * y
            pq += x * y
          }
          guard abs(pq) > 1e-15 * (pp * qq).squareRoot(), pq != 0 else { continue }
          rotated = true
          let zeta = (qq - pp) / (2 * pq)
          let t = (zeta >= 0 ? 1.0 : -1.0) / (abs(zeta) + (1 + zeta * zeta).squareRoot())
          let c = 1 / (1 + t * t).squareRoot()
          let s = c * t
          func rotate(_ x: inout Factor) {
            for i in 0..<count {
              let (u, v) = (x.values[i * count + p], x.values[i * count + q])
              x.values[i * count + p] = c * u - s * v
              x.values[i * count + q] = s * u + c * v
            }
          }
          rotate(&work)
          rotate(&right)
        }
      }
      if !rotated { break }
    }
    var singular = [Double](repeating: 0, count: count)
    for column in 0..<count {
      var sum = 0.0
      for i in 0..<count {
        let value = work.values[i * count + column]
        sum += value * value
      }
      singular[column] = sum.squareRoot()
      for i in 0..<count where singular[column] > 0 { work.values[i * count + column] /= singular[column] }
    }
    return (work, singular, right)
  }
}
