import CKernels

/// Element-wise and row-wise work, spread over fixed tiles of rows.
public enum VectorOperations {
  private static let tileRows = 16

  /// Runs `body` for every row, a tile of rows per task.
  static func forEachRow(_ rows: Int, pool: ThreadPool, _ body: @Sendable (Int) -> Void) {
    pool.run((rows + tileRows - 1) / tileRows) { task, _ in
      for row in task * tileRows..<min((task + 1) * tileRows, rows) { body(row) }
    }
  }

  /// `y[row] += bias` for every row.
  public static func addBias(_ bias: Vector, to y: Matrix, pool: ThreadPool) {
    let kernels = KernelTables.float
    forEachRow(y.rows, pool: pool) { row in kernels.pointee.add_scaled(y.columns, 1, bias.base, y.base + row * y.stride)
    }
  }

  /// `y += x`
  public static func add(_ x: Matrix, to y: Matrix, pool: ThreadPool) {
    let kernels = KernelTables.float
    forEachRow(y.rows, pool: pool) { row in
      kernels.pointee.add_scaled(y.columns, 1, x.base + row * x.stride, y.base + row * y.stride)
    }
  }

  /// `y += scale * x`
  public static func add(_ x: Vector, scaledBy scale: Float, to y: Vector) {
    precondition(x.count == y.count, "vectors of one length")
    KernelTables.float.pointee.add_scaled(y.count, scale, x.base, y.base)
  }

  /// `sum(x * y)`
  public static func dot(_ x: Vector, _ y: Vector) -> Float {
    precondition(x.count == y.count, "vectors of one length")
    return KernelTables.float.pointee.dot(x.count, x.base, y.base)
  }

  /// `y = x`
  public static func copy(_ x: Matrix, into y: Matrix, pool: ThreadPool) {
    precondition(x.rows == y.rows && x.columns == y.columns, "matrices of one shape")
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      kernels.pointee.copy(x.columns, x.base + row * x.stride, y.base + row * y.stride)
    }
  }

  /// Every element becomes `value`.
  public static func fill(_ x: Matrix, with value: Float) {
    for row in 0..<x.rows { (x.base + row * x.stride).update(repeating: value, count: x.columns) }
  }

  /// Every element becomes `value`.
  public static func fill(_ x: Vector, with value: Float) { x.base.update(repeating: value, count: x.count) }

  /// `x *= factor`
  public static func scale(_ x: Vector, by factor: Float) { KernelTables.float.pointee.scale(x.count, factor, x.base) }

  /// `y[i] = x[rows[i]]`
  public static func gatherRows(of x: Matrix, at rows: [Int], into y: Matrix, pool: ThreadPool) {
    let kernels = KernelTables.float
    forEachRow(rows.count, pool: pool) { row in
      kernels.pointee.copy(x.columns, x.base + rows[row] * x.stride, y.base + row * y.stride)
    }
  }

  /// `y[rows[i]] = x[i]`
  public static func scatterRows(_ x: Matrix, to rows: [Int], of y: Matrix, pool: ThreadPool) {
    let kernels = KernelTables.float
    forEachRow(rows.count, pool: pool) { row in
      kernels.pointee.copy(x.columns, x.base + row * x.stride, y.base + rows[row] * y.stride)
    }
  }

  /// `x *= factor`
  public static func scale(_ x: Matrix, by factor: Float, pool: ThreadPool) {
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in kernels.pointee.scale(x.columns, factor, x.base + row * x.stride) }
  }

  /// `x[i] += table[rows[i]]`: learned positions and token types join the embedded text.
  public static func addRows(of table: Matrix, at rows: [Int32], to x: Matrix, pool: ThreadPool) {
    precondition(rows.count == x.rows && table.columns == x.columns, "one row of the table for every row")
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      let place = Int(rows[row])
      precondition(place >= 0 && place < table.rows, "row \(place) of a table of \(table.rows)")
      kernels.pointee.add_scaled(x.columns, 1, table.base + place * table.stride, x.base + row * x.stride)
    }
  }

  /// `y = x`, head by head, wherever each lies.
  public static func copy(_ x: HeadMatrix, into y: HeadMatrix, pool: ThreadPool) {
    precondition(x.rows == y.rows && x.count == y.count && x.size == y.size, "heads of one shape")
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      for head in 0..<x.count {
        kernels.pointee.copy(x.size, x.address(row: row, head: head), y.address(row: row, head: head))
      }
    }
  }
}
