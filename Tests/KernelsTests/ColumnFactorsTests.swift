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
  let (dy, x) = (matrix(rows), matrix(rows))
  var results: [[Float]] = []
  for (threads, part) in [(1, rows), (2, rows), (3, rowLength), (7, 2 * rowLength)] {
    let pool = ThreadPool(threadCount: threads)
    let (factor, bias, scaled) = (matrix(1), matrix(1), matrix(rows))
    VectorOperations.fill(factor.0, with: 1)
    VectorOperations.fill(bias.0, with: 1)
    for first in stride(from: 0, to: rows, by: part) {
      let range = first..<min(first + part, rows)
      ColumnFactors.backward(
        dy.0.rows(range), by: dy.0.row(0), into: scaled.0.rows(range), x: x.0.rows(range),
        addingTo: factor.0.elements, rowLength: rowLength, pool: pool)
      ColumnFactors.biasGradient(dy.0.rows(range), addingTo: bias.0.elements, rowLength: rowLength, pool: pool)
    }
    results.append(factor.0.elements.values + bias.0.elements.values)
    withExtendedLifetime((factor, bias, scaled)) {}
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
