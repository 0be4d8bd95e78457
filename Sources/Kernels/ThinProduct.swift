import CKernels

/// The products of low-rank adapters beside `LowRankTerm`: one dimension is the rank, 1 to a few hundred.
///
/// Both factors are stored with the rank as rows (`A` `[rank, in]`, `Bᵀ` `[rank, out]`), so every product runs along
/// contiguous memory. Sums run over whole rows or over all tokens in one task: their order is fixed.
public enum ThinProduct {
  private static let tileTokens = 32
  private static let tileColumns = 128

  /// Runs `body` for every tile of tokens.
  static func forEachTile(_ tokens: Int, pool: ThreadPool, _ body: @Sendable (Range<Int>) -> Void) {
    forEachTile(tokens, of: tileTokens, pool: pool, body)
  }

  private static func forEachTile(_ count: Int, of tile: Int, pool: ThreadPool, _ body: @Sendable (Range<Int>) -> Void)
  {
    pool.run((count + tile - 1) / tile, as: .adapter) { task, _ in body(task * tile..<min((task + 1) * tile, count)) }
  }

  /// `p = scale * x wᵀ`; `x`: `[tokens, n]`, `w`: `[rank, n]`, `p`: `[tokens, rank]`.
  public static func project(_ x: Matrix, _ w: Matrix, scale: Float = 1, into p: Matrix, pool: ThreadPool) {
    precondition(x.columns == w.columns && p.columns == w.rows && p.rows == x.rows, "shapes of a projection")
    let kernels = KernelTables.float
    forEachTile(x.rows, pool: pool) { rows in
      kernels.pointee.gemm_rows(
        rows.count, w.rows, x.columns, scale, x.base + rows.lowerBound * x.stride, x.stride, w.base, w.stride, 0,
        p.base + rows.lowerBound * p.stride, p.stride)
    }
  }

  /// `dw += scale * pᵀ x`; `p`: `[tokens, rank]`, `x`: `[tokens, n]`, `dw`: `[rank, n]`.
  ///
  /// - Parameter rowLength: the sum is made part by part of so many tokens and never across them, so that it does not
  ///   depend on how many rows of a batch come together
  public static func weightGradient(
    _ p: Matrix, _ x: Matrix, scale: Float = 1, addingTo dw: Matrix, rowLength: Int = .max, pool: ThreadPool
  ) {
    precondition(p.rows == x.rows && dw.rows == p.columns && dw.columns == x.columns, "shapes of a weight gradient")
    let kernels = KernelTables.float
    forEachTile(x.columns, of: tileColumns, pool: pool) { columns in
      QuantizedRows.forEachGroup(rows: x.rows, rowsPerSequence: rowLength) { rows in
        kernels.pointee.gemm_transposed(
          p.columns, columns.count, rows.count, scale, p.base + rows.lowerBound * p.stride, p.stride,
          x.base + rows.lowerBound * x.stride + columns.lowerBound, x.stride, dw.base + columns.lowerBound, dw.stride)
      }
    }
  }
}
