import CKernels

/// Which elements of a matrix dropout zeroes, each with `probability`: it depends on `seed` and the element's place alone.
public struct DropoutMask: Sendable {
  public let probability: Float
  public let seed: UInt64
  /// What the first row counts as: a part of a batch is masked as if it were whole.
  public let firstRow: Int

  public init(probability: Float, seed: UInt64, firstRow: Int) {
    self.probability = probability
    self.seed = seed
    self.firstRow = firstRow
  }

  /// Masks `count` elements of a row of `width`, from `column`.
  func apply(
    row: Int, column: Int = 0, of width: Int, to x: UnsafePointer<Float>, count: Int,
    into y: UnsafeMutablePointer<Float>
  ) {
    KernelTables.float.pointee.dropout(
      count, probability, seed, UInt64((firstRow + row) * width + column), x, y)
  }
}

extension VectorOperations {
  /// `y = x` with the elements zeroed that `mask` chooses and the rest divided by `1 - probability`. `y` may be `x`.
  public static func dropout(_ x: Matrix, into y: Matrix, mask: DropoutMask, pool: ThreadPool) {
    forEachRow(x.rows, pool: pool) { row in
      mask.apply(row: row, of: x.columns, to: x.base + row * x.stride, count: x.columns, into: y.base + row * y.stride)
    }
  }
}
