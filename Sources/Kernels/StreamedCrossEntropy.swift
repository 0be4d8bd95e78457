import CKernels
import Glibc

/// Softmax cross-entropy over logits that are never kept. A thread computes a stretch of the vocabulary for all rows of a
/// chunk, and while it has those logits in cache they become exponentials: their sum, and where a gradient is wanted, codes
/// in 8 bits. What the scales of these lack is known when the rows' sums are.
///
/// The gradient of a logit is its probability, less one at the label. The labels' elements are far larger than the others of
/// their row, so they are computed apart, and zero among the codes.
public struct StreamedCrossEntropy: Sendable {
  /// Columns of a stretch: their logits fit the second-level cache, and sums are made stretch by stretch, so they do not
  /// depend on the slices.
  public static let stretch = 256

  private let logits: [Matrix]  // of each worker, [rows, stretch]
  private let largest: Matrix  // [rows, stretches of a slice]: the largest logit
  private let sums: Matrix  // [rows, stretches of a slice]: of the exponentials of what is less than it
  private let codes: Scratch?

  /// The softmax of some rows, as far as it is known.
  public struct Sums: Sendable {
    let largest: Vector  // [rows]: the largest logit so far
    let total: Vector  // [rows]: sum of the exponentials of what logits are less than it
    let labelLogits: Vector  // [rows]

    public init(largest: Vector, total: Vector, labelLogits: Vector) {
      self.largest = largest
      self.total = total
      self.labelLogits = labelLogits
    }

    public func part(_ rows: Range<Int>) -> Sums {
      Sums(largest: largest.part(rows), total: total.part(rows), labelLogits: labelLogits.part(rows))
    }

    /// Logarithm of the sum of the exponentials of a row's logits, once all slices were there.
    public func logSumExp(_ row: Int) -> Float { largest.base[row] + log(total.base[row]) }

    /// Loss of a row once all slices were there.
    public func loss(_ row: Int) -> Double { Double(logSumExp(row) - labelLogits.base[row]) }
  }

  /// - Parameters:
  ///   - logits: one for each worker, `[rows, stretch]`
  ///   - largest: `[rows, stretchCount(columns)]` for the most columns of a slice; `sums` likewise
  ///   - codes: of `codeByteCount`; `nil` where no gradient is wanted
  public init(logits: [Matrix], largest: Matrix, sums: Matrix, codes: Scratch?) {
    self.logits = logits
    self.largest = largest
    self.sums = sums
    self.codes = codes
  }

  public static func stretchCount(_ columns: Int) -> Int { (columns + stretch - 1) / stretch }

  /// Memory of the codes, in bytes.
  public static func codeByteCount(rows: Int, columns: Int, weight: StoredMatrix) -> Int {
    QuantizedRows.byteCount(
      rows: rows, columns: columns, block: weight.gradientBlock, as: .gradient, threadCount: 1)
  }

  /// Room for the codes of some rows and columns.
  public func gradient(rows: Int, columns: Int, of weight: StoredMatrix) -> QuantizedRows? {
    codes.map { QuantizedRows.gradient(rows: rows, columns: columns, block: weight.gradientBlock, storage: $0) }
  }

  /// Computes the logits of a slice and what is kept of them.
  ///
  /// - Parameters:
  ///   - x: prepared input of the head, `[rows, hidden]`
  ///   - columns: rows of `weight`, from a multiple of `stretch`
  ///   - start: the column that `gradient` begins with
  ///   - labels: `[rows]`
  ///   - softmax: is given the labels' logits
  ///   - gradient: takes the codes of all but the labels' elements; `nil` if they are not wanted
  ///   - dither: of the gradient
  ///   - replace: may change the logits of some columns, `[rows, columns]`
  public func exponentials(
    _ x: QuantizedRows, _ weight: StoredMatrix, columns: Range<Int>, from start: Int, labels: [Int32], softmax: Sums,
    into gradient: QuantizedRows?, dither: UInt32, pool: ThreadPool, scratch: [Scratch],
    replacing replace: (@Sendable (_ columns: Range<Int>, _ logits: Matrix) -> Void)? = nil
  ) {
    let kernels = KernelTables.float
    MatrixProduct.forEachStretch(
      x, weight, rows: columns, length: Self.stretch, space: logits, pool: pool, scratch: scratch
    ) { part, y in
      let index = (part.lowerBound - start) / Self.stretch
      replace?(part, y)
      for row in 0..<y.rows {
        let line = y.base + row * y.stride
        let label = Int(labels[row])
        let isHere = part.contains(label)
        if isHere { softmax.labelLogits.base[row] = line[label - part.lowerBound] }
        sums.row(row).base[index] = kernels.pointee.exp_from_largest(part.count, line, largest.row(row).base + index)
        guard let gradient else { continue }
        if isHere { line[label - part.lowerBound] = 0 }
        gradient.put(line, count: part.count, row: row, first: part.lowerBound - start, dither: dither)
      }
    }
  }

  /// Takes a slice, whose `exponentials` are there, into the rows' sums. The first slice, whose columns begin at 0, starts
  /// them.
  public func accumulate(columns: Range<Int>, from start: Int, into softmax: Sums, rows: Int, pool: ThreadPool) {
    VectorOperations.forEachRow(rows, pool: pool) { row in
      if columns.lowerBound == 0 {
        softmax.largest.base[row] = -.infinity
        softmax.total.base[row] = 0
      }
      for index in stretches(columns, from: start) {
        let (part, sum) = (largest.row(row).base[index], sums.row(row).base[index])
        let before = softmax.largest.base[row]
        if part > before {
          softmax.total.base[row] = softmax.total.base[row] * exp(before - part) + sum
          softmax.largest.base[row] = part
        } else {
          softmax.total.base[row] += sum * exp(part - before)
        }
      }
    }
  }

  private func stretches(_ columns: Range<Int>, from start: Int) -> Range<Int> {
    (columns.lowerBound - start) / Self.stretch..<Self.stretchCount(columns.upperBound - start)
  }

  /// Completes the codes of a slice: with the labels' elements, which are returned, they become the gradient of
  /// `scale * sum(losses)`.
  public func complete(
    _ gradient: QuantizedRows, columns: Range<Int>, from start: Int, labels: [Int32], softmax: Sums, scale: Float,
    pool: ThreadPool
  ) -> [CrossEntropy.Element] {
    let kernels = KernelTables.float
    let stretches = stretches(columns, from: start)
    let blocks = Self.stretch / gradient.block
    let last = (columns.upperBound - start + gradient.block - 1) / gradient.block
    VectorOperations.forEachRow(gradient.rows, pool: pool) { row in
      let factors = largest.row(row).base
      _ = kernels.pointee.exp_shifted(stretches.count, softmax.logSumExp(row), scale, factors + stretches.lowerBound)
      let scales = gradient.scales(row)
      for index in stretches {
        for block in index * blocks..<min((index + 1) * blocks, last) { scales[block] *= factors[index] }
      }
    }
    return (0..<gradient.rows).compactMap { row in
      let label = Int(labels[row])
      guard columns.contains(label) else { return nil }
      let probability = exp(softmax.labelLogits.base[row] - softmax.logSumExp(row))
      return CrossEntropy.Element(row: row, column: label, value: scale * (probability - 1))
    }
  }
}
