import CKernels

/// Float rows in 8 bits: per row and block of columns one scale. What the rows have in common and a few outlier columns
/// stay floats.
///
/// The inputs of a language model's layers have a large mean over the tokens, and a handful of columns far larger than
/// the rest. Both would cost the other values their bits, and an error in the weights times the mean is the same for
/// every token, so that no sum over tokens averages it away. Groups of rows therefore lose their mean, whose product is
/// computed apart, and then the columns with the largest magnitudes. A group never crosses a sequence, so splitting a
/// micro-batch between sequences changes nothing.
///
/// Source of the shift: Wei et al. 2023, arXiv 2304.09145 (Outlier Suppression+).
public struct QuantizedRows: @unchecked Sendable {
  // @unchecked: as for `Matrix`.

  /// Rows that share a mean and a choice of outlier columns.
  public static let groupRows = 128
  /// A group of fewer rows keeps its mean: the product of the mean would cost more than it helps.
  private static let fewestRowsWithMean = 64

  /// What rows are quantised for.
  public enum Role: Sendable {
    /// Input of a forward product: the mean, and so many outlier columns per group, stay floats. With none, the mean stays
    /// in as well. With `meanByRow` a row loses the mean only where that makes it smaller: the error of a row is then small
    /// beside the row, and not only beside its group.
    case input(exactColumns: Int, meanByRow: Bool = false)
    /// Gradient of a product's output, in one bit less.
    case gradient

    var exactColumns: Int { if case .input(let count, _) = self { count } else { 0 } }
    var meanByRow: Bool { if case .input(_, let meanByRow) = self { meanByRow } else { false } }
    var limit: Int32 { if case .input = self { EL_INPUT_LIMIT } else { EL_GRADIENT_LIMIT } }
  }

  struct Group {
    let rows: Range<Int>
    /// Which of `means` was subtracted.
    let mean: Int?
  }

  public let rows: Int
  public let columns: Int
  public let block: Int
  let native: el_rows  // columns are filled up to whole blocks
  let groups: [Group]
  let meanCount: Int
  let means: UnsafeMutablePointer<Float>  // [meanCount, columns]
  let exactCount: Int
  /// Floats per row of `exactValues`: where there are means, each row ends with the factor of its own, 1, or 0 where the
  /// row kept it.
  let exactStride: Int
  let exactValues: UnsafeMutablePointer<Float>  // [rows, exactStride]
  let exactColumns: UnsafeMutablePointer<Int32>  // [groups, exactCount]
  private let meanByRow: Bool

  private static func groups(rows: Int, rowsPerSequence: Int, means: Bool) -> [Group] {
    var result: [Group] = []
    var meanCount = 0
    forEachGroup(rows: rows, rowsPerSequence: max(rowsPerSequence, 1)) { range in
      let hasMean = means && range.count >= fewestRowsWithMean
      result.append(Group(rows: range, mean: hasMean ? meanCount : nil))
      if hasMean { meanCount += 1 }
    }
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

  /// The means that some rows lost.
  func means(of rows: Range<Int>) -> Range<Int> {
    var range = 0..<0
    for group in groups where group.rows.overlaps(rows) {
      if let mean = group.mean { range = (range.isEmpty ? mean : range.lowerBound)..<mean + 1 }
    }
    return range
  }

  private static func codeByteCount(rows: Int, columns: Int, block: Int) -> Int {
    KernelTables.int8.pointee.row_code_bytes(rows, columns, block)
  }

  /// The most means that so many rows have.
  static func mostMeans(rows: Int) -> Int { rows / fewestRowsWithMean }

  /// Memory that `quantize` needs, in bytes.
  public static func byteCount(rows: Int, columns: Int, block: Int, as role: Role, threadCount: Int) -> Int {
    let blocks = (columns + block - 1) / block
    let exactColumns = role.exactColumns
    let codes =
      Scratch.aligned(codeByteCount(rows: rows, columns: blocks * block, block: block))
      + Scratch.aligned(rows * blocks * 4)
    guard exactColumns > 0 else { return codes }
    // groups are at most one per row
    return codes + Scratch.aligned(mostMeans(rows: rows) * columns * 4) + Scratch.aligned(rows * (exactColumns + 1) * 4)
      + Scratch.aligned(rows * exactColumns * 4) + lineCount(threadCount: threadCount)
      * Lines.byteCount(columns: columns)
  }

  /// Groups that are in work at the same time.
  private static func lineCount(threadCount: Int) -> Int { 2 * threadCount }

  /// Working memory of a group.
  private struct Lines {
    /// Sums of the columns; zeros where nothing is subtracted.
    let sums: UnsafeMutablePointer<Float>
    let lowest: UnsafeMutablePointer<Float>
    let highest: UnsafeMutablePointer<Float>
    /// All ones for columns that are rounded, none for exact ones; in the place of `lowest`.
    let keep: UnsafeMutablePointer<UInt32>

    static func byteCount(columns: Int) -> Int { Scratch.aligned(3 * columns * 4) }

    init(_ address: UnsafeMutableRawPointer, columns: Int) {
      sums = address.assumingMemoryBound(to: Float.self)
      lowest = sums + columns
      highest = lowest + columns
      keep = UnsafeMutableRawPointer(lowest).assumingMemoryBound(to: UInt32.self)
    }
  }

  /// Quantises the rows of `x`.
  ///
  /// - Parameters:
  ///   - x: `[rows, columns]`
  ///   - block: columns that share a scale, 32 or 64
  ///   - rowsPerSequence: groups of rows do not cross a multiple of this
  ///   - storage: at least `byteCount` bytes
  public static func quantize(
    _ x: Matrix, as role: Role, block: Int, rowsPerSequence: Int, storage: Scratch, pool: ThreadPool
  ) -> QuantizedRows {
    let blocks = (x.columns + block - 1) / block
    let needed = byteCount(
      rows: x.rows, columns: x.columns, block: block, as: role, threadCount: pool.threadCount)
    precondition(storage.byteCount >= needed, "storage for quantised rows is too small")
    var address = storage.base
    func take<T>(_ byteCount: Int, _ type: T.Type) -> UnsafeMutablePointer<T> {
      defer { address += Scratch.aligned(byteCount) }
      return address.assumingMemoryBound(to: type)
    }
    let codes = take(codeByteCount(rows: x.rows, columns: blocks * block, block: block), UInt8.self)
    let native = el_rows(
      rows: x.rows, columns: blocks * block, block: block, limit: role.limit, codes: codes,
      scales: take(x.rows * blocks * 4, Float.self))
    let groups = groups(rows: x.rows, rowsPerSequence: rowsPerSequence, means: role.exactColumns > 0)
    let meanCount = groups.count { $0.mean != nil }
    let exactCount = min(role.exactColumns, x.columns)
    let exactStride = exactCount + (meanCount > 0 ? 1 : 0)
    let result = QuantizedRows(
      rows: x.rows, columns: x.columns, block: block, native: native, groups: groups, meanCount: meanCount,
      means: take(meanCount * x.columns * 4, Float.self), exactCount: exactCount, exactStride: exactStride,
      exactValues: take(x.rows * exactStride * 4, Float.self),
      exactColumns: take(x.rows * exactCount * 4, Int32.self), meanByRow: role.meanByRow)
    if exactCount > 0 {
      let lineBytes = Lines.byteCount(columns: x.columns)
      let lines = Scratch(address, byteCount: lineCount(threadCount: pool.threadCount) * lineBytes)
      result.quantizeInput(x, pool: pool) { Lines(lines.base + $0 * lineBytes, columns: x.columns) }
    } else {
      result.quantizeRows(of: x, pool: pool)
    }
    return result
  }

  /// Room for a gradient that is filled part by part.
  ///
  /// - Parameter storage: at least `byteCount` bytes
  static func gradient(rows: Int, columns: Int, block: Int, storage: Scratch) -> QuantizedRows {
    let blocks = (columns + block - 1) / block
    let codeBytes = Scratch.aligned(codeByteCount(rows: rows, columns: blocks * block, block: block))
    precondition(
      storage.byteCount >= codeBytes + Scratch.aligned(rows * blocks * 4), "storage for quantised rows is too small")
    let native = el_rows(
      rows: rows, columns: blocks * block, block: block, limit: Role.gradient.limit, codes: storage.base,
      scales: (storage.base + codeBytes).assumingMemoryBound(to: Float.self))
    // Gradients have no columns that stay floats, and so nothing of what those need.
    let nothing: UnsafeMutablePointer<Float> = native.scales
    return QuantizedRows(
      rows: rows, columns: columns, block: block, native: native, groups: [], meanCount: 0, means: nothing,
      exactCount: 0, exactStride: 0, exactValues: nothing,
      exactColumns: UnsafeMutableRawPointer(nothing).assumingMemoryBound(to: Int32.self), meanByRow: false)
  }

  /// Quantises some values of a row, whose columns begin at `first`, a multiple of the block. Rounding is stochastic,
  /// reproducibly: for gradients whose many tiny values would otherwise all be rounded to zero.
  ///
  /// - Parameter dither: seed of the first element of all rows
  func put(_ values: UnsafePointer<Float>, count: Int, row: Int, first: Int, dither: UInt32) {
    var native = native
    KernelTables.int8.pointee.quantize_row(&native, row, first, count, values, RowDither.seed(dither, row: row))
  }

  /// The scales of a row's blocks.
  func scales(_ row: Int) -> UnsafeMutablePointer<Float> { native.scales + row * (native.columns / block) }

  /// Rows of one task, where rows do not depend on each other.
  private static let tileRows = 16

  private func quantizeRows(of x: Matrix, pool: ThreadPool) {
    let kernels = KernelTables.int8
    pool.run((rows + Self.tileRows - 1) / Self.tileRows, as: .quantize) { task, _ in
      var native = native
      for row in task * Self.tileRows..<min((task + 1) * Self.tileRows, rows) {
        kernels.pointee.quantize_row(&native, row, 0, columns, x.base + row * x.stride, 0)
      }
    }
  }

  /// A group at a time, which stays in cache from its sums to its codes; or all groups together, by columns and then by
  /// rows, where the threads would not have as much to do each and there are rows for all of them.
  private func quantizeInput(_ x: Matrix, pool: ThreadPool, lines: @Sendable (Int) -> Lines) {
    let threads = pool.threadCount
    if groups.count >= 2 * threads || groups.count % threads == 0 || rows < threads * Self.tileRows {
      pool.run(groups.count, as: .quantize) { task, worker in
        let lines = lines(worker)
        sum(columns: 0..<columns, group: task, of: x, lines)
        choose(group: task, lines)
        round(rows: groups[task].rows, group: task, of: x, lines)
      }
      return
    }
    let parts = (columns + Self.tileColumns - 1) / Self.tileColumns
    pool.run(groups.count * parts, as: .quantize) { task, _ in
      let first = task % parts * Self.tileColumns
      sum(columns: first..<min(first + Self.tileColumns, columns), group: task / parts, of: x, lines(task / parts))
    }
    for group in groups.indices { choose(group: group, lines(group)) }
    // No group is longer than the first.
    let tiles = (groups[0].rows.count + Self.tileRows - 1) / Self.tileRows
    pool.run(groups.count * tiles, as: .quantize) { task, _ in
      let group = groups[task / tiles].rows
      let first = min(group.lowerBound + task % tiles * Self.tileRows, group.upperBound)
      round(
        rows: first..<min(first + Self.tileRows, group.upperBound), group: task / tiles, of: x, lines(task / tiles))
    }
  }

  /// Columns of one task, where columns do not depend on each other.
  private static let tileColumns = 128

  /// Sums, least and largest of some columns of a group.
  private func sum(columns range: Range<Int>, group: Int, of x: Matrix, _ lines: Lines) {
    let part = x.rows(groups[group].rows).columns(range)
    let first = range.lowerBound
    KernelTables.int8.pointee.column_statistics(
      part.rows, part.columns, part.base, part.stride, lines.sums + first, lines.lowest + first, lines.highest + first)
  }

  /// The mean of a group, and the columns that reach farthest from it; of equals the first.
  private func choose(group index: Int, _ lines: Lines) {
    let group = groups[index]
    let mean = mean(group, lines)
    let chosen = exactColumns + index * exactCount
    for j in 0..<columns {
      mean[j] = group.mean == nil ? 0 : lines.sums[j] / Float(group.rows.count)
      lines.highest[j] = max(lines.highest[j] - mean[j], mean[j] - lines.lowest[j])
    }
    for number in 0..<exactCount {
      let column = KernelTables.float.pointee.argmax(columns, lines.highest)
      chosen[number] = Int32(column)
      lines.highest[column] = -1
    }
    for j in 0..<columns { lines.keep[j] = .max }
    for number in 0..<exactCount { lines.keep[Int(chosen[number])] = 0 }
    // The sums have become the mean; a row that keeps it subtracts nothing.
    if meanByRow { lines.sums.update(repeating: 0, count: columns) }
  }

  /// `x · y` outside a group's exact columns.
  private func dot(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, group index: Int) -> Float {
    var product = KernelTables.float.pointee.dot(columns, x, y)
    for number in 0..<exactCount {
      let column = Int(exactColumns[index * exactCount + number])
      product -= x[column] * y[column]
    }
    return product
  }

  /// Codes and exact values of some rows of a group.
  private func round(rows range: Range<Int>, group index: Int, of x: Matrix, _ lines: Lines) {
    let kernels = KernelTables.int8
    var native = native
    let groupMean = mean(groups[index], lines)
    let hasMean = groups[index].mean != nil
    let chosen = exactColumns + index * exactCount
    let rowsChoose = meanByRow && hasMean
    let square = rowsChoose ? dot(groupMean, groupMean, group: index) : 0
    for row in range {
      let values = x.base + row * x.stride
      // `|x - m|² <= |x|²`
      let losesMean = !rowsChoose || 2 * dot(values, groupMean, group: index) >= square
      let mean = losesMean ? groupMean : lines.sums
      let exact = exactValues + row * exactStride
      for number in 0..<exactCount {
        let column = Int(chosen[number])
        exact[number] = values[column] - mean[column]
      }
      if hasMean { exact[exactCount] = losesMean ? 1 : 0 }
      kernels.pointee.quantize_input(&native, row, columns, values, mean, lines.keep)
    }
  }

  /// What is subtracted from the rows of a group.
  private func mean(_ group: Group, _ lines: Lines) -> UnsafeMutablePointer<Float> {
    group.mean.map { means + $0 * columns } ?? lines.sums
  }
}

/// Seeds of stochastic rounding: the threshold of an element follows from its place alone.
public enum RowDither {
  static let rowFactor: UInt32 = 0x85EB_CA6B
  static let columnFactor: UInt32 = 0x9E37_79B9

  /// The seed of a row of a matrix.
  static func seed(_ dither: UInt32, row: Int) -> UInt32 {
    (dither &+ UInt32(truncatingIfNeeded: row) &* rowFactor) | 1
  }

  /// The seed for a matrix whose first element stands at `row` and `column` of a larger one; `column` is even.
  public static func seed(row: Int, column: Int) -> UInt32 {
    let place = UInt32(truncatingIfNeeded: row) &* rowFactor &+ UInt32(truncatingIfNeeded: column) &* columnFactor
    return place &+ 0x2545_F491
  }
}
