import CKernels

/// Factors and biases of columns, and their gradients: sums over rows, made part by part of so many rows and never across
/// them, so that they depend neither on threads nor on how many rows of a batch come together.
public enum ColumnFactors {
  private static let tileColumns = 128

  /// `y[t][j] (+)= x[t][j] * factor[j]`; `y` may be `x`.
  public static func scale(
    _ x: Matrix, by factor: Vector, into y: Matrix, accumulate: Bool = false, pool: ThreadPool
  ) {
    ScaledColumns(factor: factor, y: y, accumulate: accumulate).take(x, pool: pool)
  }

  /// The way back through `y = x * factor`: `dx[t][j] = dy[t][j] * factor[j]`, and
  /// `dFactor[j] += weight[j] * sum_t dy[t][j] * x[t][j]`.
  ///
  /// - Parameters:
  ///   - dx: may be `dy`
  ///   - weights: all 1 if `nil`
  ///   - rowLength: no part of the sum crosses a multiple of so many rows
  public static func backward(
    _ dy: Matrix, by factor: Vector, into dx: Matrix, x: Matrix, weights: Vector? = nil, addingTo dFactor: Vector,
    rowLength: Int = .max, pool: ThreadPool
  ) {
    precondition(
      [x, dx].allSatisfy { $0.rows == dy.rows && $0.columns == dy.columns }
        && [factor, weights ?? factor, dFactor].allSatisfy { $0.count == dy.columns }, "a factor for every column")
    let kernels = KernelTables.float
    forEachTile(dy.columns, pool: pool) { columns in
      let first = columns.lowerBound
      QuantizedRows.forEachGroup(rows: dy.rows, rowsPerSequence: rowLength) { rows in
        let row = rows.lowerBound
        kernels.pointee.scaled_dots(
          rows.count, columns.count, factor.base + first, weights.map { UnsafePointer($0.base + first) },
          dy.base + row * dy.stride + first,
          dy.stride, x.base + row * x.stride + first, x.stride, dx.base + row * dx.stride + first, dx.stride,
          dFactor.base + first)
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

  /// The gradient of a norm's weights, `dWeight[j] += sum_t dy[t][j] * x̂[t][j]`, `x̂ = (x - mean) * inverse`; `rowLength` as
  /// above.
  ///
  /// - Parameters:
  ///   - x: what went into the norm, `[tokens, size]`
  ///   - mean: `[tokens]`; `nil` where it is not taken off
  ///   - inverse: one over the root mean square or the deviation, `[tokens]`
  public static func normWeightGradient(
    _ dy: Matrix, x: Matrix, mean: Vector?, inverse: Vector, addingTo dWeight: Vector, rowLength: Int = .max,
    pool: ThreadPool
  ) {
    precondition(
      x.rows == dy.rows && x.columns == dy.columns && dWeight.count == dy.columns && inverse.count >= dy.rows
        && mean.map { $0.count >= dy.rows } ?? true, "shapes of a norm")
    let kernels = KernelTables.float
    forEachTile(dy.columns, pool: pool) { columns in
      let first = columns.lowerBound
      QuantizedRows.forEachGroup(rows: dy.rows, rowsPerSequence: rowLength) { rows in
        let row = rows.lowerBound
        kernels.pointee.norm_weight_gradient(
          rows.count, columns.count, dy.base + row * dy.stride + first, dy.stride, x.base + row * x.stride + first,
          x.stride, inverse.base + row, 1, mean.map { UnsafePointer($0.base + row) }, dWeight.base + first)
      }
    }
  }

  /// The same where every head of every row is normalised by itself, by its root mean square; all heads have one weight.
  ///
  /// - Parameters:
  ///   - x: what went in, `[tokens, heads * head size]`, in floats or halves
  ///   - inverse: `[tokens, heads]`
  ///   - dWeight: `[head size]`
  public static func normWeightGradient(
    _ dy: HeadMatrix, x: KeptMatrix, inverse: Matrix, addingTo dWeight: Vector, rowLength: Int = .max,
    pool: ThreadPool
  ) {
    precondition(
      x.rows == dy.rows && x.columns == dy.count * dy.size && dWeight.count == dy.size && inverse.rows >= dy.rows
        && inverse.columns == dy.count, "shapes of a norm of heads")
    precondition(x.format != .bf16, "floats or halves")
    let kernels = KernelTables.float
    QuantizedRows.forEachGroup(rows: dy.rows, rowsPerSequence: rowLength) { rows in
      let row = rows.lowerBound
      for head in 0..<dy.count {
        let (d, scale) = (dy.address(row: row, head: head), inverse.base + row * inverse.stride + head)
        if let floats = x.floats {
          kernels.pointee.norm_weight_gradient(
            rows.count, dy.size, d, dy.matrix.stride, floats.base + row * floats.stride + head * dy.size, floats.stride,
            scale, inverse.stride, nil, dWeight.base)
        } else {
          kernels.pointee.norm_weight_gradient_half(
            rows.count, dy.size, d, dy.matrix.stride, x.codes(row) + head * dy.size, x.stride, scale, inverse.stride,
            nil, dWeight.base)
        }
      }
    }
  }

  private static func forEachTile(_ columns: Int, pool: ThreadPool, _ body: @Sendable (Range<Int>) -> Void) {
    pool.run((columns + tileColumns - 1) / tileColumns) { task, _ in
      body(task * tileColumns..<min((task + 1) * tileColumns, columns))
    }
  }
}

/// Where the columns of a product go under factors of their own: `y[t][j] (+)= x[t][j] * factor[j]`. It is done tile by tile,
/// while the product has them in cache.
public struct ScaledColumns: Sendable {
  let factor: Vector  // [columns]
  let y: Matrix  // [tokens, columns]
  let accumulate: Bool

  public init(factor: Vector, y: Matrix, accumulate: Bool) {
    self.factor = factor
    self.y = y
    self.accumulate = accumulate
  }

  /// Whether `x` has the shape of what is scaled.
  func fits(_ x: Matrix) -> Bool { factor.count == x.columns && y.rows == x.rows && y.columns == x.columns }

  /// Takes over a part of `x`.
  func take(_ x: Matrix, rows: Range<Int>, columns: Range<Int>) {
    let (row, column) = (rows.lowerBound, columns.lowerBound)
    KernelTables.float.pointee.scale_columns(
      rows.count, columns.count, factor.base + column, x.base + row * x.stride + column, x.stride, accumulate ? 1 : 0,
      y.base + row * y.stride + column, y.stride)
  }
  /// Takes over the whole of `x`.
  public func take(_ x: Matrix, pool: ThreadPool) {
    precondition(fits(x), "a factor for every column")
    VectorOperations.forEachRow(x.rows, pool: pool) { take(x, rows: $0..<$0 + 1, columns: 0..<x.columns) }
  }
}
