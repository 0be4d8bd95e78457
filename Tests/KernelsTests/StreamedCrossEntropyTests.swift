import Foundation
import Kernels
import Testing

/// A made-up head: tokens, a vocabulary and labels, some of which are not the likely ones.
private final class Head {
  let weight: MadeUpMatrix
  let labels: [Int32]
  let scale: Float = 0.25
  private let pool: ThreadPool
  private let x: Matrix
  private var memory: [Memory] = []

  init(rows: Int, vocabulary: Int, threadCount: Int = 2) {
    weight = MadeUpMatrix(.f16, rows: vocabulary, columns: 64)
    pool = ThreadPool(threadCount: threadCount)
    labels = (0..<rows).map { Int32($0 * 131 % vocabulary) }
    let values = Memory(rows * 64 * 4)
    memory = [values]
    x = Matrix(values.bind(Float.self), rows: rows, columns: 64)
    var generator = Generator()
    for i in 0..<rows * 64 { x.base[i] = 3 * generator.next() }
  }

  private func matrix(_ rows: Int, _ columns: Int) -> Matrix {
    memory.append(Memory(rows * columns * 4))
    return Matrix(memory[memory.count - 1].bind(Float.self), rows: rows, columns: columns)
  }

  private func scratch(_ byteCount: Int, count: Int) -> [Scratch] {
    (0..<count).map { _ in
      memory.append(Memory(byteCount))
      return Scratch(memory[memory.count - 1].base, byteCount: byteCount)
    }
  }

  private func quantized() -> QuantizedRows {
    let block = weight.matrix.reductionBlock
    let bytes = QuantizedRows.byteCount(
      rows: x.rows, columns: x.columns, block: block, as: .input(exactColumns: 4), threadCount: pool.threadCount)
    return QuantizedRows.quantize(
      x, as: .input(exactColumns: 4), block: block, rowsPerSequence: 16, storage: scratch(bytes, count: 1)[0],
      pool: pool)
  }

  private func forwardScratch() -> [Scratch] {
    scratch(MatrixProduct.forwardScratchByteCount(weight.matrix, rows: x.rows), count: pool.threadCount)
  }

  /// - Parameter keepsCodes: from the softmax to the gradient; if not, every slice is computed twice
  /// - Returns: each row's loss, and the gradient of the input, `[rows, 64]`
  func lossAndGradient(slices: [Range<Int>], keepsCodes: Bool) -> (losses: [Double], gradient: [Float]) {
    let w = weight.matrix
    let (rows, columns) = (x.rows, keepsCodes ? w.rows : slices.map(\.count).max() ?? 0)
    let stretches = StreamedCrossEntropy.stretchCount(columns)
    let codeBytes = StreamedCrossEntropy.codeByteCount(rows: rows, columns: columns, weight: w)
    let streamed = StreamedCrossEntropy(
      logits: (0..<pool.threadCount).map { _ in matrix(rows, StreamedCrossEntropy.stretch) },
      largest: matrix(rows, stretches), sums: matrix(rows, stretches), codes: scratch(codeBytes, count: 1)[0])
    let sums = StreamedCrossEntropy.Sums(
      largest: matrix(1, rows).row(0), total: matrix(1, rows).row(0), labelLogits: matrix(1, rows).row(0))
    let dx = matrix(rows, w.columns)
    let prepared = quantized()
    let forward = forwardScratch()
    let backward = scratch(MatrixProduct.gradientScratchByteCount(w, rows: rows), count: pool.threadCount)
    func codes(_ slice: Range<Int>) throws -> (QuantizedRows, start: Int) {
      let columns = keepsCodes ? w.rows : slice.count
      return (try #require(streamed.gradient(rows: rows, columns: columns, of: w)), keepsCodes ? 0 : slice.lowerBound)
    }
    func exponentials(_ slice: Range<Int>) throws {
      let (codes, start) = try codes(slice)
      streamed.exponentials(
        prepared, w, columns: slice, from: start, labels: labels, softmax: sums, into: codes,
        dither: RowDither.seed(row: 5, column: start), pool: pool, scratch: forward)
    }
    var elements: [CrossEntropy.Element] = []
    do {
      for slice in slices {
        try exponentials(slice)
        streamed.accumulate(
          columns: slice, from: try codes(slice).start, into: sums, rows: rows, pool: pool)
      }
      for slice in slices {
        if !keepsCodes { try exponentials(slice) }
        let (codes, start) = try codes(slice)
        elements += streamed.complete(
          codes, columns: slice, from: start, labels: labels, softmax: sums, scale: scale, pool: pool)
        MatrixProduct.inputGradient(
          codes, w, rows: slice, from: slice.lowerBound - start, into: dx, accumulate: slice.lowerBound > 0, pool: pool,
          scratch: backward)
      }
    } catch { Issue.record(error) }
    let row = matrix(1, w.columns).row(0)
    for element in elements {
      w.decodeRow(element.column, into: row)
      VectorOperations.add(row, scaledBy: element.value, to: dx.row(element.row))
    }
    return ((0..<rows).map { sums.loss($0) }, (0..<rows).flatMap { dx.row($0).values })
  }

  /// The same in double precision, of the same logits.
  func reference() -> (losses: [Double], gradient: [Double]) {
    let w = weight.matrix
    let logits = matrix(x.rows, w.rows)
    MatrixProduct.forward(
      quantized(), w, into: logits, accumulate: false, few: .likeMany, pool: pool,
      scratch: forwardScratch())
    var losses: [Double] = []
    var gradient = [Double](repeating: 0, count: x.rows * w.columns)
    let line = matrix(1, w.columns).row(0)
    for row in 0..<x.rows {
      let values = logits.row(row).values.map(Double.init)
      let largest = values.max() ?? 0
      let sum = values.reduce(0) { $0 + exp($1 - largest) }
      losses.append(largest + log(sum) - values[Int(labels[row])])
      for column in 0..<w.rows {
        let element = Double(scale) * (exp(values[column] - largest) / sum - (column == Int(labels[row]) ? 1 : 0))
        w.decodeRow(column, into: line)
        for j in 0..<w.columns { gradient[row * w.columns + j] += element * Double(line[j]) }
      }
    }
    return (losses, gradient)
  }
}

/// A vocabulary that fills neither its last stretch nor its last block.
@Test func streamedLossMatchesFP64() {
  let head = Head(rows: 21, vocabulary: 1157)
  let exact = head.reference()
  let result = head.lossAndGradient(slices: [0..<1157], keepsCodes: true)
  for (loss, expected) in zip(result.losses, exact.losses) { #expect(abs(loss - expected) < 1e-5 * (1 + expected)) }
  let difference = zip(result.gradient, exact.gradient).reduce(0.0) { $0 + pow(Double($1.0) - $1.1, 2) }
  let error = (difference / exact.gradient.reduce(0.0) { $0 + $1 * $1 }).squareRoot()
  // what rounding probabilities to 8 bits costs, next to the labels' exact elements
  #expect(error < 0.02, "relative error \(error)")
}

@Test func streamedLossDoesNotDependOnSlicesOrThreads() {
  let whole = Head(rows: 21, vocabulary: 1157).lossAndGradient(slices: [0..<1157], keepsCodes: true)
  for threads in [1, 3] {
    let head = Head(rows: 21, vocabulary: 1157, threadCount: threads)
    for keepsCodes in [true, false] {
      let parts = head.lossAndGradient(slices: [0..<512, 512..<1024, 1024..<1157], keepsCodes: keepsCodes)
      #expect(parts.losses == whole.losses && parts.gradient == whole.gradient, "codes kept: \(keepsCodes)")
    }
  }
}
