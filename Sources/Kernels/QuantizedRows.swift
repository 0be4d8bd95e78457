import CKernels

/// Float rows in 8 bits: per row and block of columns one scale, and a few outlier columns kept as floats.
///
/// A handful of input columns of a language model are far larger than the rest and would cost the other columns of
/// their block their bits. Per group of rows the columns with the largest magnitude are therefore taken out; the group
/// never crosses a sequence, so splitting a micro-batch between sequences changes nothing.
public struct QuantizedRows: @unchecked Sendable {
  // @unchecked: as for `Matrix`.

  /// Rows that share a choice of outlier columns.
  public static let groupRows = 128

  public let rows: Int
  public let columns: Int
  public let block: Int
  let native: el_rows  // columns are filled up to whole blocks
  let exactCount: Int
  let exactValues: UnsafeMutablePointer<Float>  // [rows, exactCount]
  let exactColumns: UnsafeMutablePointer<Int32>  // [groups, exactCount]
  let rowsPerSequence: Int

  /// The groups, in order: rows that share outlier columns.
  var groups: [Range<Int>] { Self.groups(rows: rows, rowsPerSequence: rowsPerSequence) }

  private static func groups(rows: Int, rowsPerSequence: Int) -> [Range<Int>] {
    var result: [Range<Int>] = []
    forEachGroup(rows: rows, rowsPerSequence: rowsPerSequence) { result.append($0) }
    return result
  }

  /// Parts of `rows` of at most `groupRows` that never cross a multiple of `rowsPerSequence`.
  static func forEachGroup(rows: Int, rowsPerSequence: Int, _ body: (Range<Int>) -> Void) {
    var start = 0
    var sequenceEnd = min(rows, rowsPerSequence)
    while start < rows {
      let end = min(start + groupRows, sequenceEnd)
      body(start..<end)
      start = end
      if start == sequenceEnd { sequenceEnd = rowsPerSequence < rows - start ? start + rowsPerSequence : rows }
    }
  }

  private static func align(_ byteCount: Int) -> Int { (byteCount + 63) / 64 * 64 }

  private static func codeByteCount(rows: Int, columns: Int, block: Int) -> Int {
    KernelTables.int8.pointee.row_code_bytes(rows, columns, block)
  }

  /// Memory that `quantize` needs, in bytes.
  public static func byteCount(rows: Int, columns: Int, block: Int, exactColumns: Int) -> Int {
    let blocks = (columns + block - 1) / block
    // groups are at most one per row
    return align(codeByteCount(rows: rows, columns: blocks * block, block: block)) + align(rows * blocks * 4)
      + 2 * align(rows * exactColumns * 4)
  }

  /// Quantises the rows of `x`.
  ///
  /// - Parameters:
  ///   - x: `[rows, columns]`; changed while it runs, restored at the end
  ///   - block: columns that share a scale, 32 or 64
  ///   - exactColumns: outlier columns per group that stay floats
  ///   - rowsPerSequence: groups of rows do not cross a multiple of this
  ///   - dither: if not zero, rounding is stochastic, reproducibly: for gradients whose many tiny values would
  ///     otherwise all be rounded to zero
  ///   - storage: at least `byteCount` bytes
  public static func quantize(
    _ x: Matrix, block: Int, exactColumns: Int, rowsPerSequence: Int, dither: UInt32 = 0, storage: Scratch,
    pool: ThreadPool
  ) -> QuantizedRows {
    let blocks = (x.columns + block - 1) / block
    precondition(
      storage.byteCount >= byteCount(rows: x.rows, columns: x.columns, block: block, exactColumns: exactColumns),
      "storage for quantised rows is too small")
    var address = storage.base
    func take<T>(_ byteCount: Int, _ type: T.Type) -> UnsafeMutablePointer<T> {
      defer { address += align(byteCount) }
      return address.assumingMemoryBound(to: type)
    }
    let codes = take(codeByteCount(rows: x.rows, columns: blocks * block, block: block), UInt8.self)
    let native = el_rows(
      rows: x.rows, columns: blocks * block, block: block, codes: codes,
      scales: take(x.rows * blocks * 4, Float.self))
    let result = QuantizedRows(
      rows: x.rows, columns: x.columns, block: block, native: native, exactCount: min(exactColumns, x.columns),
      exactValues: take(x.rows * exactColumns * 4, Float.self),
      exactColumns: take(x.rows * exactColumns * 4, Int32.self), rowsPerSequence: max(rowsPerSequence, 1))
    let groups = result.groups
    pool.run(groups.count, as: .quantize) { task, _ in
      result.quantize(group: task, rows: groups[task], of: x, dither: dither)
    }
    return result
  }

  private func quantize(group: Int, rows range: Range<Int>, of x: Matrix, dither: UInt32) {
    let kernels = KernelTables.int8
    var native = native
    let chosen = exactColumns + group * exactCount
    if exactCount > 0 { chooseExactColumns(of: x.rows(range), into: chosen) }
    for row in range {
      let values = x.base + row * x.stride
      for index in 0..<exactCount {
        exactValues[row * exactCount + index] = values[Int(chosen[index])]
      }
      for index in 0..<exactCount { values[Int(chosen[index])] = 0 }
      let seed = dither == 0 ? 0 : (dither &+ UInt32(truncatingIfNeeded: row) &* RowDither.rowFactor) | 1
      kernels.pointee.quantize_row(&native, row, columns, values, seed)
      for index in 0..<exactCount { values[Int(chosen[index])] = exactValues[row * exactCount + index] }
    }
  }

  /// The columns with the largest magnitudes; of equals the first.
  private func chooseExactColumns(of x: Matrix, into chosen: UnsafeMutablePointer<Int32>) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { largest in
      guard let base = largest.baseAddress else { return }
      KernelTables.int8.pointee.column_absmax(x.rows, columns, x.base, x.stride, base)
      for index in 0..<exactCount {
        let column = KernelTables.float.pointee.argmax(columns, base)
        chosen[index] = Int32(column)
        base[column] = -1
      }
    }
  }
}

/// Seeds of stochastic rounding: the threshold of an element follows from its place alone.
public enum RowDither {
  static let rowFactor: UInt32 = 0x85EB_CA6B
  static let columnFactor: UInt32 = 0x9E37_79B9

  /// The seed for a matrix whose first element stands at `row` and `column` of a larger one; `column` is even.
  public static func seed(row: Int, column: Int) -> UInt32 {
    let place = UInt32(truncatingIfNeeded: row) &* rowFactor &+ UInt32(truncatingIfNeeded: column) &* columnFactor
    return place &+ 0x2545_F491
  }
}
