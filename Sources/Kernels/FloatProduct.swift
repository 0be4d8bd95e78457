import CKernels

/// Products with a matrix of floats that is trained whole, such as a vocabulary head, `[out, in]`: many rows, each as long as
/// the input. No sum depends on threads, or on how many tokens or rows of the matrix are taken at a time.
public enum FloatProduct {
  /// Rows of `W` whose part of an input gradient is summed before the next ones: parts of `W` begin at multiples of it.
  public static let blockRows = 128
  /// Rows of `W` in a task. The part of its gradient that they make should fit the second-level cache.
  private static let tileRows = 64
  /// Columns of an input gradient in a task: so many of `blockRows` rows of `W` fit the first-level cache.
  private static let tileColumns = 64
  /// Bytes of rows of `W` that pass over all tokens together; they fit the first-level cache.
  private static let stripBytes = 24 << 10

  /// `y = x Wᵀ`; `x`: `[tokens, in]`, `w`: `[rows, in]`, `y`: `[tokens, rows]`.
  public static func forward(_ x: Matrix, _ w: Matrix, into y: Matrix, pool: ThreadPool) {
    precondition(x.columns == w.columns && y.rows == x.rows && y.columns == w.rows, "matrices that fit each other")
    let kernels = KernelTables.float
    let strip = max(4, stripBytes / (4 * max(1, w.columns)) / 4 * 4)
    forEachTile(w.rows, of: tileRows, pool: pool) { tile in
      for first in stride(from: tile.lowerBound, to: tile.upperBound, by: strip) {
        kernels.pointee.gemm_rows(
          x.rows, min(strip, tile.upperBound - first), x.columns, 1, x.base, x.stride, w.base + first * w.stride,
          w.stride, 0, y.base + first, y.stride)
      }
    }
  }

  /// `dx (+)= dy W`; `dy`: `[tokens, rows]`, `w`: `[rows, in]`, `dx`: `[tokens, in]`.
  public static func inputGradient(_ dy: Matrix, _ w: Matrix, into dx: Matrix, accumulate: Bool, pool: ThreadPool) {
    precondition(dy.columns == w.rows && dx.rows == dy.rows && dx.columns == w.columns, "matrices that fit each other")
    let kernels = KernelTables.float
    forEachTile(w.columns, of: tileColumns, pool: pool) { columns in
      for first in stride(from: 0, to: w.rows, by: blockRows) {
        kernels.pointee.gemm(
          dy.rows, columns.count, min(blockRows, w.rows - first), 1, dy.base + first, dy.stride, 1,
          w.base + first * w.stride + columns.lowerBound, w.stride, accumulate || first > 0 ? 1 : 0,
          dx.base + columns.lowerBound, dx.stride)
      }
    }
  }

  /// `dW += dyᵀ x`; `dy`: `[tokens, rows]`, `x`: `[tokens, in]`, `dw`: `[rows, in]`.
  ///
  /// - Parameter groupRows: tokens whose part of the sum is made before the next ones: tokens come in multiples of it, but
  ///   for the last ones of a row of the batch
  public static func weightGradient(
    _ dy: Matrix, _ x: Matrix, addingTo dw: Matrix, groupRows: Int, pool: ThreadPool
  ) {
    precondition(
      dy.rows == x.rows && dw.rows == dy.columns && dw.columns == x.columns && groupRows > 0,
      "shapes of a weight gradient")
    let kernels = KernelTables.float
    forEachTile(dw.rows, of: tileRows, pool: pool) { tile in
      for first in stride(from: 0, to: x.rows, by: groupRows) {
        kernels.pointee.gemm(
          tile.count, x.columns, min(groupRows, x.rows - first), 1, dy.base + first * dy.stride + tile.lowerBound, 1,
          dy.stride, x.base + first * x.stride, x.stride, 1, dw.base + tile.lowerBound * dw.stride, dw.stride)
      }
    }
  }

  private static func forEachTile(_ count: Int, of tile: Int, pool: ThreadPool, _ body: @Sendable (Range<Int>) -> Void)
  {
    pool.run((count + tile - 1) / tile) { task, _ in body(task * tile..<min((task + 1) * tile, count)) }
  }
}
