import CKernels
import Foundation
import Kernels
import Testing

@Test func everyInstructionSetHasALoopForItsCeiling() {
  for table in floatTables() where String(cString: table.pointee.name) != "portable" {
    #expect(el_peak_fp32(table.pointee.name, 1) > 0, "\(String(cString: table.pointee.name))")
  }
  for set in InstructionSet.available where set.name != "portable" { #expect(el_peak_int8(set.name, 1) > 0) }
}

/// How the left operand lies in memory.
private enum Order: CaseIterable {
  case rows, columns, strided
}

@Test(arguments: [
  (17, 29, 13), (8, 8, 4), (32, 64, 33), (1, 7, 3), (9, 40, 1), (14, 70, 8), (7, 80, 17), (5, 40, 33),
])
func floatProductsMatchFP64(m: Int, n: Int, k: Int) {
  var generator = Generator()
  let b = (0..<k * (n + 3)).map { _ in generator.next() }
  for order in Order.allCases {
    let row = order == .rows ? k + 1 : order == .columns ? 1 : 2 * k + 1
    let column = order == .rows ? 1 : order == .columns ? m + 2 : 2
    let a = (0..<m * row + k * column).map { _ in generator.next() }
    for beta in [Float(0), 1] {
      var portable: [Float] = []
      for table in floatTables() {
        var c = (0..<m * (n + 1)).map { Float($0 % 11) / 4 }
        let before = c
        table.pointee.gemm(m, n, k, 0.5, a, row, column, b, n + 3, beta, &c, n + 1)
        for i in 0..<m {
          for j in 0..<n {
            var sum = 0.0
            for p in 0..<k { sum += Double(a[i * row + p * column]) * Double(b[p * (n + 3) + j]) }
            let expected = Double(beta) * Double(before[i * (n + 1) + j]) + 0.5 * sum
            // sums of up to 33 products below 1, rounded at each step
            #expect(abs(Double(c[i * (n + 1) + j]) - expected) < 1e-5)
          }
          #expect(c[i * (n + 1) + n] == before[i * (n + 1) + n], "what lies between the rows stays")
        }
        if portable.isEmpty { portable = c }
        // vectors of the same width in the same order
        if String(cString: table.pointee.name) == "neon" { #expect(c == portable) }
      }
    }
  }
}

/// `x` rounded to bfloat16, to nearest even.
private func bfloat16(_ x: Float) -> Double {
  Double(Float(bitPattern: (x.bitPattern &+ 0x7FFF &+ (x.bitPattern >> 16 & 1)) & 0xFFFF_0000))
}

/// Both ways of packing, and a product whose left operand lies in rows or in columns.
@Test(arguments: [(24, 48, 33), (7, 64, 1), (9, 16, 64), (31, 32, 70)])
func productsOfPairsMatchRoundedOperands(m: Int, n: Int, k: Int) {
  var generator = Generator()
  let a = (0..<m * k).map { _ in generator.next() }
  let b = (0..<k * n).map { _ in generator.next() }
  // the left operand as columns, of whole vectors
  let width = (m + 15) / 16 * 16
  let transposed = (0..<k * width).map { place -> Float in
    let (row, column) = (place % width, place / width)
    return row < m ? a[row * k + column] : 0
  }
  let words = (k + 1) / 2
  for pairs in floatTables().compactMap({ $0.pointee.pairs?.pointee }) {
    var (rows, columns) = ([Float](repeating: 0, count: m * (words + 1)), [Float](repeating: 0, count: words * width))
    var right = [Float](repeating: 0, count: words * n)
    pairs.pack_rows(m, k, a, k, &rows, words + 1)
    pairs.pack_columns(k, width, transposed, width, &columns, width)
    pairs.pack_columns(k, n, b, n, &right, n)
    for beta in [Float(0), 1] {
      var (c, d) = ([Float](repeating: 2, count: m * n), [Float](repeating: 2, count: m * n))
      pairs.gemm(m, n, words, 0.5, rows, words + 1, 1, right, n, beta, &c, n)
      pairs.gemm(m, n, words, 0.5, columns, 1, width, right, n, beta, &d, n)
      #expect(c == d)
      for i in 0..<m {
        for j in 0..<n {
          let sum = (0..<k).reduce(0.0) { $0 + bfloat16(a[i * k + $1]) * bfloat16(b[$1 * n + j]) }
          #expect(abs(Double(c[i * n + j]) - (2 * Double(beta) + 0.5 * sum)) < 1e-5)
        }
      }
    }
  }
}

/// Rows of all kinds: one large number beside small ones, all alike, nothing but zeros; and right operands longer than the left.
@Test(arguments: [(24, 48, 64), (7, 16, 32), (15, 80, 256)]) func productsOfWordsAreThoseOfTheirNumbers(
  m: Int, n: Int, k: Int
) {
  var generator = Generator()
  func rows(_ count: Int, scale: Float) -> [Float] {
    (0..<count * k).map { index in
      switch index / k % 4 {
      case 0: generator.next() * scale
      case 1: index % k == 5 ? scale : generator.next() * scale / 1000
      case 2: scale
      default: index / k == 3 ? 0 : -scale
      }
    }
  }
  let (a, b) = (rows(m, scale: 3), rows(n, scale: 50))
  func row(_ x: [Float], _ index: Int) -> [Double] { x[index * k..<(index + 1) * k].map(Double.init) }
  func length(_ x: [Double]) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }
  for words in floatTables().compactMap({ $0.pointee.words?.pointee }) {
    let stride = k / 2 + 1
    var (left, leftUnits) = ([Float](repeating: 0, count: m * stride), [Float](repeating: 0, count: m))
    var (right, rightUnits) = ([Float](repeating: 0, count: n * k / 2), [Float](repeating: 0, count: n))
    words.quantise_rows(m, k, a, k, &left, stride, &leftUnits)
    words.quantise_rows(n, k, b, k, &right, k / 2, &rightUnits)
    var columns = [Float](repeating: 0, count: n * k / 2)
    for j in 0..<n { for p in 0..<k / 2 { columns[p * n + j] = right[j * k / 2 + p] } }
    var c = [Float](repeating: 2, count: m * n)
    words.gemm(m, n, k / 2, 0.5, left, stride, leftUnits, columns, n, rightUnits, &c, n)
    func numbers(_ word: Float) -> [Int] {
      [Int(Int16(truncatingIfNeeded: word.bitPattern)), Int(Int16(truncatingIfNeeded: word.bitPattern >> 16))]
    }
    for i in 0..<m {
      let x = (0..<k / 2).flatMap { numbers(left[i * stride + $0]) }
      for j in 0..<n {
        let y = (0..<k / 2).flatMap { numbers(right[j * k / 2 + $0]) }
        let sum = zip(x, y).reduce(0) { $0 + $1.0 * $1.1 }
        #expect(sum == Int(Int32(truncatingIfNeeded: sum)))
        #expect(c[i * n + j] == Float(sum) * (0.5 * leftUnits[i] * rightUnits[j]))
        let exact = 0.5 * zip(row(a, i), row(b, j)).reduce(0) { $0 + $1.0 * $1.1 }
        #expect(
          abs(Double(c[i * n + j]) - exact) <= Double(k).squareRoot() / 32767 * length(row(a, i)) * length(row(b, j)))
      }
    }
  }
}

/// Nothing that is no finite number becomes one.
@Test func wordsOfARowKeepWhatIsNoNumber() {
  for words in floatTables().compactMap({ $0.pointee.words?.pointee }) {
    for bad in [Float.nan, .infinity, -.infinity] {
      var x = [Float](repeating: 1, count: 32)
      x[17] = bad
      var (y, unit) = ([Float](repeating: 0, count: 16), Float(0))
      words.quantise_rows(1, 32, x, 32, &y, 16, &unit)
      #expect(!unit.isFinite)
    }
  }
}

@Test(arguments: [(7, 9, 13), (3, 4, 8), (1, 1, 3), (10, 5, 65)])
func dotProductsOfRowsMatchFP64(m: Int, n: Int, k: Int) {
  var generator = Generator()
  let a = (0..<m * (k + 2)).map { _ in generator.next() }
  let b = (0..<n * (k + 1)).map { _ in generator.next() }
  for table in floatTables() {
    for beta in [Float(0), 1] {
      var c = (0..<m * (n + 1)).map { Float($0 % 11) / 4 }
      let before = c
      table.pointee.gemm_rows(m, n, k, 0.5, a, k + 2, b, k + 1, beta, &c, n + 1)
      for i in 0..<m {
        for j in 0..<n {
          var sum = 0.0
          for p in 0..<k { sum += Double(a[i * (k + 2) + p]) * Double(b[j * (k + 1) + p]) }
          let expected = Double(beta) * Double(before[i * (n + 1) + j]) + 0.5 * sum
          // sums of up to 65 products below 1, rounded at each step
          #expect(abs(Double(c[i * (n + 1) + j]) - expected) < 1e-5)
        }
        #expect(c[i * (n + 1) + n] == before[i * (n + 1) + n], "what lies between the rows stays")
      }
    }
  }
}

@Test(arguments: [(8, 150, 128), (3, 7, 5), (17, 128, 9), (1, 1, 1)])
func productsOfColumnsMatchFP64(m: Int, n: Int, k: Int) {
  var generator = Generator()
  let a = (0..<k * (m + 2)).map { _ in generator.next() }
  let b = (0..<k * (n + 1)).map { _ in generator.next() }
  for table in floatTables() {
    var c = (0..<m * (n + 3)).map { Float($0 % 11) / 4 }
    let before = c
    table.pointee.gemm_transposed(m, n, k, 0.5, a, m + 2, b, n + 1, &c, n + 3)
    for i in 0..<m {
      for j in 0..<n {
        let sum = (0..<k).reduce(0.0) { $0 + Double(a[$1 * (m + 2) + i]) * Double(b[$1 * (n + 1) + j]) }
        // sums of up to 128 products below 1, rounded at each step
        #expect(abs(Double(c[i * (n + 3) + j]) - Double(before[i * (n + 3) + j]) - 0.5 * sum) < 1e-5)
      }
      #expect(c[i * (n + 3) + n] == before[i * (n + 3) + n], "what lies between the rows stays")
    }
  }
}

@Test(arguments: [(8, 8), (5, 7), (33, 64), (1, 3)]) func transposingMovesEveryElement(m: Int, n: Int) {
  let x = (0..<m * (n + 2)).map { Float($0) }
  for table in floatTables() {
    var y = [Float](repeating: -1, count: n * (m + 3))
    table.pointee.transpose(m, n, x, n + 2, &y, m + 3)
    for j in 0..<n {
      for i in 0..<m + 3 { #expect(y[j * (m + 3) + i] == (i < m ? x[i * (n + 2) + j] : -1)) }
    }
  }
}

@Test(arguments: [1, 7, 16, 61]) func exponentialsFromTheLargestMatchFP64(count: Int) {
  var generator = Generator()
  var x = (0..<count).map { _ in generator.next() * 40 }
  if count > 2 { x[1] = -.infinity }
  for table in floatTables() {
    var y = x
    var largest: Float = 0
    let sum = table.pointee.exp_from_largest(count, &y, &largest)
    #expect(largest == x.max())
    var expected = 0.0
    for (x, y) in zip(x, y) {
      let value = exp(Double(x) - Double(largest))
      expected += value
      // the relative error of the exponential function, and of the difference of numbers up to 80
      #expect(abs(Double(y) - value) <= value * 6e-6 + 1e-37)
    }
    #expect(abs(Double(sum) / expected - 1) < 6e-6)
  }
  for table in floatTables() {
    var y = x
    y[0] = .nan
    var largest: Float = 0
    #expect(table.pointee.exp_from_largest(count, &y, &largest).isNaN || y[0].isNaN, "what is no number stays none")
  }
}
