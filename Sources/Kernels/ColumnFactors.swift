import CKernels

/// Factors and biases of columns, and their gradients: sums over rows, made part by part of so many rows and never across
/// them, so that they depend neither on threads nor on how many rows of a batch come together.
public enum ColumnFactors {
  private static let tileColumns = 128

  /// `y[t][j] = x[t][j] * factor[j]`; `y` may be `x`.
  public static func scale(_ x: Matrix, by factor: Vector, into y: Matrix, pool: ThreadPool) {
    precondition(
      factor.count == x.columns && y.rows == x.rows && y.columns == x.columns, "a factor for every column")
    let kernels = KernelTables.float
    VectorOperations.forEachRow(x.rows, pool: pool) { row in
      kernels.pointee.multiply(x.columns, x.base + row * x.stride, factor.base, y.base + row * y.stride)
    }
  }

  /// `y[t][j] += x[t][j] * factor[j]`
  public static func scale(_ x: Matrix, by factor: Vector, addingTo y: Matrix, pool: ThreadPool) {
    precondition(
      factor.count == x.columns && y.rows == x.rows && y.columns == x.columns, "a factor for every column")
    let kernels = KernelTables.float
    VectorOperations.forEachRow(x.rows, pool: pool) { row in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: tileColumns) { part in
        guard let part = part.baseAddress else { return }
        for column in stride(from: 0, to: x.columns, by: tileColumns) {
          let count = min(tileColumns, x.columns - column)
          kernels.pointee.multiply(count, x.base + row * x.stride + column, factor.base + column, part)
          kernels.pointee.add_scaled(count, 1, part, y.base + row * y.stride + column)
        }
      }
    }
  }

  /// `dFactor[j] += sum_t dy[t][j] * x[t][j]`, the gradient of the factors of `x`.
  ///
  /// - Parameter rowLength: no part of the sum crosses a multiple of so many rows
  public static func factorGradient(
    _ dy: Matrix, x: Matrix, addingTo dFactor: Vector, rowLength: Int = .max, pool: ThreadPool
  ) {
    precondition(
      dy.rows == x.rows && dy.columns == x.columns && dFactor.count == x.columns, "a factor for every column")
    let kernels = KernelTables.float
    forEachTile(x.columns, pool: pool) { columns in
      QuantizedRows.forEachGroup(rows: x.rows, rowsPerSequence: rowLength) { rows in
        kernels.pointee.column_dots(
          rows.count, columns.count, dy.base + rows.lowerBound * dy.stride + columns.lowerBound, dy.stride,
          x.base + rows.lowerBound * x.stride + columns.lowerBound, x.stride, dFactor.base + columns.lowerBound)
      }
    }
  }

  /// `dBias[j] += sum_t dy[t][j]`, the gradient of a bias; `rowLength` as above.
  public static func biasGradient(
    _ dy: Matrix, addingTo dBias: Vector, rowLength: Int = .max, pool: ThreadPool
  ) {
    precondition(dBias.count == dy.columns, "a bias for every column")
    let kernels = KernelTables.float
    forEachTile(dy.columns, pool: pool) { columns in
      QuantizedRows.forEachGroup(rows: dy.rows, rowsPerSequence: rowLength) { rows in
        kernels.pointee.column_sums(
          rows.count, columns.count, dy.base + rows.lowerBound * dy.stride + columns.lowerBound, dy.stride,
          dBias.base + columns.lowerBound)
      }
    }
  }

  private static func forEachTile(_ columns: Int, pool: ThreadPool, _ body: @Sendable (Range<Int>) -> Void) {
    pool.run((columns + tileColumns - 1) / tileColumns) { task, _ in
      body(task * tileColumns..<min((task + 1) * tileColumns, columns))
    }
  }
}
