import CKernels

/// Rows of a frozen weight with a low-rank change: `W + scale B A`.
public enum MergedRows {
  private static let tileRows = 16

  /// Euclidean norms of the rows of `W + scale B A`. Every row is one sum in a fixed order, in double precision.
  ///
  /// - Parameters:
  ///   - weight: `W`, `[out, in]`
  ///   - a: `[rank, in]`
  ///   - bTransposed: `Bᵀ`, `[rank, out]`
  ///   - norms: `[out]`
  public static func norms(
    _ weight: StoredMatrix, a: Matrix, bTransposed: Matrix, scale: Float, into norms: Vector, pool: ThreadPool
  ) {
    precondition(norms.count == weight.rows, "a norm for every row")
    forEachNorm(weight, a: a, bTransposed: bTransposed, scale: scale, pool: pool) { norms.base[$0] = $1 }
  }

  /// `1 / norm` of each row, and `magnitude / norm`; parameters as above.
  public static func inverseNorms(
    _ weight: StoredMatrix, a: Matrix, bTransposed: Matrix, scale: Float, into inverse: Vector, magnitudes: Vector,
    factors: Vector, pool: ThreadPool
  ) {
    precondition([inverse, magnitudes, factors].allSatisfy { $0.count == weight.rows }, "a norm for every row")
    forEachNorm(weight, a: a, bTransposed: bTransposed, scale: scale, pool: pool) { row, norm in
      inverse.base[row] = 1 / norm
      factors.base[row] = magnitudes.base[row] * inverse.base[row]
    }
  }

  private static func forEachNorm(
    _ weight: StoredMatrix, a: Matrix, bTransposed: Matrix, scale: Float, pool: ThreadPool,
    _ body: @Sendable (_ row: Int, _ norm: Float) -> Void
  ) {
    precondition(
      a.columns == weight.columns && bTransposed.columns == weight.rows && a.rows == bTransposed.rows,
      "shapes of a low-rank change")
    let kernels = KernelTables.float
    pool.run((weight.rows + tileRows - 1) / tileRows, as: .adapter) { task, _ in
      let rows = task * tileRows..<min((task + 1) * tileRows, weight.rows)
      withUnsafeTemporaryAllocation(byteCount: rows.count * weight.columns * 4, alignment: 64) { bytes in
        guard let base = bytes.baseAddress?.assumingMemoryBound(to: Float.self) else { return }
        let tile = Matrix(base, rows: rows.count, columns: weight.columns)
        weight.decode(rows: rows, into: tile)
        kernels.pointee.gemm(
          rows.count, tile.columns, a.rows, scale, bTransposed.base + rows.lowerBound, 1, bTransposed.stride, a.base,
          a.stride, 1, tile.base, tile.stride)
        for row in rows {
          let squares = kernels.pointee.sum_of_squares(
            tile.columns, tile.base + (row - rows.lowerBound) * tile.stride)
          body(row, Float(squares.squareRoot()))
        }
      }
    }
  }
}
