import CKernels

/// Root-mean-square normalisation: `y = x / rms(x) * weight`, `rms(x) = sqrt(mean(x²) + epsilon)`.
///
/// Source: Zhang & Sennrich 2019, arXiv 1910.07467.
extension VectorOperations {
  /// `y = x / rms(x) * weight` row by row; `inverseRMS`: `[rows]`. `y` may be `x`.
  public static func rmsNorm(
    _ x: Matrix, weight: Vector, epsilon: Float, into y: Matrix, keeping inverseRMS: Vector, pool: ThreadPool
  ) {
    precondition(weight.count == x.columns && y.columns == x.columns && inverseRMS.count >= x.rows, "shapes of a norm")
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      inverseRMS.base[row] = kernels.pointee.rms_norm(
        x.columns, x.base + row * x.stride, weight.base, epsilon, y.base + row * y.stride)
    }
  }

  /// `dx += inverseRMS * (w·dy - x̂ mean(w·dy·x̂))` row by row.
  public static func rmsNormBackward(
    _ dy: Matrix, x: Matrix, weight: Vector, inverseRMS: Vector, addingTo dx: Matrix, pool: ThreadPool
  ) {
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      kernels.pointee.rms_norm_backward(
        x.columns, dy.base + row * dy.stride, x.base + row * x.stride, weight.base, inverseRMS.base[row],
        dx.base + row * dx.stride)
    }
  }

  /// Every head of every row by itself, in place; `weight`: `[head size]`, `inverseRMS`: `[rows, heads]`.
  public static func rmsNorm(
    _ x: HeadMatrix, weight: Vector, epsilon: Float, keeping inverseRMS: Matrix, pool: ThreadPool
  ) {
    precondition(
      weight.count == x.size && inverseRMS.rows >= x.rows && inverseRMS.columns == x.count, "shapes of a norm of heads")
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      for head in 0..<x.count {
        let values = x.address(row: row, head: head)
        inverseRMS.base[row * inverseRMS.stride + head] = kernels.pointee.rms_norm(
          x.size, values, weight.base, epsilon, values)
      }
    }
  }

  /// On entry `dy` is the gradient of the normalised heads, on return that of the heads `x` that went in.
  public static func rmsNormBackward(
    _ dy: HeadMatrix, x: HeadMatrix, weight: Vector, inverseRMS: Matrix, pool: ThreadPool
  ) {
    precondition(x.rows == dy.rows && x.count == dy.count && x.size == dy.size, "heads of one shape")
    precondition(
      weight.count == x.size && inverseRMS.rows >= x.rows && inverseRMS.columns == x.count, "shapes of a norm of heads")
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      for head in 0..<x.count {
        kernels.pointee.rms_norm_gradient(
          x.size, x.address(row: row, head: head), weight.base, inverseRMS.base[row * inverseRMS.stride + head],
          dy.address(row: row, head: head))
      }
    }
  }

  /// The same of heads that were kept one after the other, `[rows, heads * head size]`, in floats or halves.
  public static func rmsNormBackward(
    _ dy: HeadMatrix, x: KeptMatrix, weight: Vector, inverseRMS: Matrix, pool: ThreadPool
  ) {
    if let x = x.floats {
      return rmsNormBackward(
        dy, x: HeadMatrix(x, size: dy.size), weight: weight, inverseRMS: inverseRMS, pool: pool)
    }
    precondition(
      x.format == .f16 && x.rows == dy.rows && x.columns == dy.count * dy.size && weight.count == dy.size
        && inverseRMS.rows >= x.rows && inverseRMS.columns == dy.count, "shapes of a norm of heads")
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      for head in 0..<dy.count {
        kernels.pointee.rms_norm_gradient_half(
          dy.size, x.codes(row) + head * dy.size, weight.base, inverseRMS.base[row * inverseRMS.stride + head],
          dy.address(row: row, head: head))
      }
    }
  }
}

/// Layer normalisation: `y = x̂ * weight + bias`, `x̂ = (x - mean(x)) / sqrt(variance(x) + epsilon)`.
///
/// Source: Ba et al. 2016, arXiv 1607.06450.
extension VectorOperations {
  /// Row by row. `y` may be `x`.
  ///
  /// - Parameters:
  ///   - weight: `[columns]`; `nil` is all ones
  ///   - bias: `[columns]`; `nil` is none
  ///   - mean: kept for the way back, `[rows]`
  ///   - inverseDeviation: likewise `1 / sqrt(variance + epsilon)`, `[rows]`
  public static func layerNorm(
    _ x: Matrix, weight: Vector?, bias: Vector?, epsilon: Float, into y: Matrix, keeping mean: Vector,
    _ inverseDeviation: Vector, pool: ThreadPool
  ) {
    precondition(weight.map { $0.count == x.columns } ?? true, "weight of a norm")
    precondition(bias.map { $0.count == x.columns } ?? true, "bias of a norm")
    precondition(
      y.rows == x.rows && y.columns == x.columns && mean.count >= x.rows && inverseDeviation.count >= x.rows,
      "shapes of a norm")
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      inverseDeviation.base[row] = kernels.pointee.layer_norm(
        x.columns, x.base + row * x.stride, weight?.base, bias?.base, epsilon, y.base + row * y.stride,
        mean.base + row)
    }
  }

  /// `dx += inverseDeviation * (w·dy - mean(w·dy) - x̂ mean(w·dy·x̂))` row by row.
  public static func layerNormBackward(
    _ dy: Matrix, x: Matrix, weight: Vector?, mean: Vector, inverseDeviation: Vector, addingTo dx: Matrix,
    pool: ThreadPool
  ) {
    precondition(
      dy.rows == x.rows && dx.rows == x.rows && dy.columns == x.columns && dx.columns == x.columns
        && mean.count >= x.rows && inverseDeviation.count >= x.rows
        && weight.map { $0.count == x.columns } ?? true, "shapes of a norm")
    let kernels = KernelTables.float
    forEachRow(x.rows, pool: pool) { row in
      kernels.pointee.layer_norm_backward(
        x.columns, dy.base + row * dy.stride, x.base + row * x.stride, weight?.base, mean.base[row],
        inverseDeviation.base[row], dx.base + row * dx.stride)
    }
  }
}
