import CKernels
import Foundation
import Kernels
import Testing

@Test(arguments: [(1, 1), (5, 16), (130, 37), (128, 64), (3, 15)]) func sumsOverRowsMatchFP64(m: Int, n: Int) {
  var generator = Generator()
  let a = (0..<m * (n + 2)).map { _ in generator.next() }
  let b = (0..<m * (n + 1)).map { _ in generator.next() }
  for table in floatTables() {
    var (sums, dots) = ([Float](repeating: 2, count: n + 1), [Float](repeating: 2, count: n + 1))
    table.pointee.column_sums(m, n, a, n + 2, &sums)
    var (scaled, twice) = ([Float](repeating: 0, count: m * n), dots)
    table.pointee.scaled_dots(m, n, b, nil, a, n + 2, b, n + 1, &scaled, n, &dots)
    for j in 0..<n {
      let column = (0..<m).map { scaled[$0 * n + j] }
      #expect(column == (0..<m).map { a[$0 * (n + 2) + j] * b[j] }, "rows under their factors")
    }
    table.pointee.scaled_dots(m, n, b, [Float](repeating: 2, count: n), a, n + 2, b, n + 1, &scaled, n, &twice)
    for j in 0..<n { #expect(abs(twice[j] - 2 - 2 * (dots[j] - 2)) < 4e-5) }
    table.pointee.scale_columns(m, n, b, a, n + 2, 1, &scaled, n)
    #expect(scaled[m * n - 1] == 2 * a[(m - 1) * (n + 2) + n - 1] * b[n - 1])
    #expect(sums[n] == 2 && dots[n] == 2, "what lies behind the row stays")
    for j in 0..<n {
      // sums of up to 130 numbers below 1, rounded at each step
      let sum: Double = (0..<m).reduce(2.0) { $0 + Double(a[$1 * (n + 2) + j]) }
      #expect(abs(Double(sums[j]) - sum) < 2e-5)
      let dot: Double = (0..<m).reduce(2.0) { $0 + Double(a[$1 * (n + 2) + j]) * Double(b[$1 * (n + 1) + j]) }
      #expect(abs(Double(dots[j]) - dot) < 2e-5)
    }
  }
}

/// With a mean and without, of floats and of halves, whose statistics lie one after the other or further apart.
@Test(arguments: [(1, 1), (5, 16), (130, 37), (3, 15)], [1, 3]) func gradientsOfNormWeightsMatchFP64(
  shape: (rows: Int, columns: Int), step: Int
) {
  let (m, n) = shape
  var generator = Generator()
  let dy = (0..<m * (n + 2)).map { _ in generator.next() }
  let x = (0..<m * (n + 1)).map { _ in generator.next() }
  let inverse = (0..<m * step).map { _ in 1 + generator.next() / 2 }
  let mean = (0..<m).map { _ in generator.next() }
  for table in floatTables() {
    var halves = [UInt16](repeating: 0, count: x.count)
    var rounded = [Float](repeating: 0, count: x.count)
    table.pointee.to_half(x.count, x, &halves)
    table.pointee.from_half(x.count, halves, &rounded)
    var (plain, centred, short) = (
      [Float](repeating: 2, count: n + 1), [Float](repeating: 2, count: n + 1), [Float](repeating: 2, count: n + 1)
    )
    table.pointee.norm_weight_gradient(m, n, dy, n + 2, x, n + 1, inverse, step, nil, &plain)
    table.pointee.norm_weight_gradient(m, n, dy, n + 2, x, n + 1, inverse, step, mean, &centred)
    table.pointee.norm_weight_gradient_half(m, n, dy, n + 2, halves, n + 1, inverse, step, nil, &short)
    #expect(plain[n] == 2 && centred[n] == 2 && short[n] == 2, "what lies behind the row stays")
    for j in 0..<n {
      var sums = [2.0, 2.0, 2.0]
      for i in 0..<m {
        let factor = Double(dy[i * (n + 2) + j]) * Double(inverse[i * step])
        let value = Double(x[i * (n + 1) + j])
        sums[0] += factor * value
        sums[1] += factor * (value - Double(mean[i]))
        sums[2] += factor * Double(rounded[i * (n + 1) + j])
      }
      // sums of up to 130 products below 3, rounded at each step
      for (found, sum) in zip([plain[j], centred[j], short[j]], sums) { #expect(abs(Double(found) - sum) < 1e-4) }
    }
  }
}

/// A batch in parts gives the bits of the whole, at any thread count.
@Test func gradientsOfFactorsDoNotDependOnHowRowsComeTogether() {
  let (rows, columns, rowLength) = (600, 300, 200)
  var generator = Generator()
  func matrix(_ rows: Int) -> (Matrix, Memory) {
    let memory = Memory(rows * columns * 4)
    let x = Matrix(memory.bind(Float.self), rows: rows, columns: columns)
    for i in 0..<rows * columns { x.base[i] = generator.next() }
    return (x, memory)
  }
  let (dy, x, statistics) = (matrix(rows), matrix(rows), matrix(2))
  var results: [[Float]] = []
  for (threads, part) in [(1, rows), (2, rows), (3, rowLength), (7, 2 * rowLength)] {
    let pool = ThreadPool(threadCount: threads)
    let (factor, bias, scaled, weight) = (matrix(1), matrix(1), matrix(rows), matrix(1))
    VectorOperations.fill(weight.0, with: 1)
    VectorOperations.fill(factor.0, with: 1)
    VectorOperations.fill(bias.0, with: 1)
    for first in stride(from: 0, to: rows, by: part) {
      let range = first..<min(first + part, rows)
      ColumnFactors.backward(
        dy.0.rows(range), by: dy.0.row(0), into: scaled.0.rows(range), x: x.0.rows(range),
        addingTo: factor.0.elements, rowLength: rowLength, pool: pool)
      ColumnFactors.biasGradient(dy.0.rows(range), addingTo: bias.0.elements, rowLength: rowLength, pool: pool)
      ColumnFactors.normWeightGradient(
        dy.0.rows(range), x: x.0.rows(range), mean: nil, inverse: statistics.0.elements.part(range),
        addingTo: weight.0.elements, rowLength: rowLength, pool: pool)
    }
    results.append(factor.0.elements.values + bias.0.elements.values + weight.0.elements.values)
    withExtendedLifetime((factor, bias, scaled, weight)) {}
  }
  #expect(results.allSatisfy { $0 == results[0] })
  let expected = (0..<rows).reduce(1.0) { $0 + Double(dy.0.row($1)[5]) * Double(x.0.row($1)[5]) }
  #expect(abs(Double(results[0][5]) - expected) < 1e-4)
  let y = matrix(rows)
  ColumnFactors.scale(x.0, by: dy.0.row(3), into: y.0, pool: ThreadPool(threadCount: 2))
  let (factors, last, scaled) = (dy.0.row(3).values, x.0.row(599).values, y.0.row(599).values)
  #expect(scaled == zip(last, factors).map { $0 * $1 })
  withExtendedLifetime((dy, x, y)) {}
}

@Test func rowsOfATableAreAddedByTheirNumber() {
  let pool = ThreadPool(threadCount: 2)
  let (space, lines) = (Memory(40 * 5 * 4), Memory(3 * 5 * 4))
  let x = Matrix(space.bind(Float.self), rows: 40, columns: 5)
  let table = Matrix(lines.bind(Float.self), rows: 3, columns: 5)
  VectorOperations.fill(x, with: 1)
  for row in 0..<3 { VectorOperations.fill(table.rows(row..<row + 1), with: Float(row)) }
  let rows = (0..<40).map { Int32($0 % 3) }
  VectorOperations.addRows(of: table, at: rows, to: x, pool: pool)
  VectorOperations.scale(x, by: 3, pool: pool)
  for row in 0..<40 {
    let expected = 3 * (1 + Float(rows[row]))
    #expect(x.row(row).values == [Float](repeating: expected, count: 5))
  }
  withExtendedLifetime((space, lines)) {}
}
