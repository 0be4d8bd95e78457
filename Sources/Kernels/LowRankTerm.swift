import CKernels

/// A product of low rank that joins a frozen one: `y += scale * p w`, under a dropout mask if there is one. It is added
/// tile by tile, while the frozen product has the output in cache.
public struct LowRankTerm: Sendable {
  public let p: Matrix  // [tokens, rank]
  public let w: Matrix  // [rank, columns]
  public let scale: Float
  public let mask: DropoutMask?

  public init(p: Matrix, w: Matrix, scale: Float = 1, mask: DropoutMask? = nil) {
    precondition(p.columns == w.rows, "factors of one rank")
    self.p = p
    self.w = w
    self.scale = scale
    self.mask = mask
  }

  /// Whether the term has the shape of `y`, `[tokens, columns]`.
  func fits(_ y: Matrix) -> Bool { p.rows == y.rows && w.columns == y.columns }

  /// Rows of a masked tile that are computed together, and the most columns of one.
  private static let maskedRows = 8
  private static let maskedColumns = Int(EL_PANEL)

  /// `tile (+)= scale * p w`, for the part of the term that `tile` is.
  func add(rows: Range<Int>, columns: Range<Int>, to tile: Matrix, accumulate: Bool) {
    let kernels = KernelTables.float
    guard let mask else {
      kernels.pointee.gemm(
        rows.count, columns.count, w.rows, scale, p.base + rows.lowerBound * p.stride, p.stride, 1,
        w.base + columns.lowerBound, w.stride, accumulate ? 1 : 0, tile.base, tile.stride)
      return
    }
    withUnsafeTemporaryAllocation(of: Float.self, capacity: Self.maskedRows * Self.maskedColumns) { space in
      guard let part = space.baseAddress else { return }
      for column in stride(from: columns.lowerBound, to: columns.upperBound, by: Self.maskedColumns) {
        let width = min(Self.maskedColumns, columns.upperBound - column)
        for row in stride(from: rows.lowerBound, to: rows.upperBound, by: Self.maskedRows) {
          let count = min(Self.maskedRows, rows.upperBound - row)
          kernels.pointee.gemm(
            count, width, w.rows, scale, p.base + row * p.stride, p.stride, 1, w.base + column, w.stride, 0, part, width
          )
          for line in 0..<count {
            let y = tile.base + (row - rows.lowerBound + line) * tile.stride + column - columns.lowerBound
            let values = part + line * width
            mask.apply(
              row: row + line, column: column, of: w.columns, to: values, count: width, into: accumulate ? values : y)
            if accumulate { kernels.pointee.add_scaled(width, 1, values, y) }
          }
        }
      }
    }
  }

  /// The whole term, added to `y`, `[tokens, columns]`.
  public func add(to y: Matrix, pool: ThreadPool) {
    precondition(fits(y), "shapes of a term")
    ThinProduct.forEachTile(y.rows, pool: pool) { rows in
      add(rows: rows, columns: 0..<y.columns, to: y.rows(rows), accumulate: true)
    }
  }
}
