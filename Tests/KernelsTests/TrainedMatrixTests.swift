import Kernels
import Testing

private func matrix(_ rows: Int, _ columns: Int, _ generator: inout Generator, padding: Int = 0) -> (Matrix, Memory) {
  let memory = Memory(rows * (columns + padding) * 4)
  let x = Matrix(memory.bind(Float.self), rows: rows, columns: columns + padding)
  for i in 0..<rows * (columns + padding) { x.base[i] = generator.next() }
  return (x.columns(0..<columns), memory)
}

@Test(arguments: [(1, 5, 3), (37, 300, 40), (16, 128, 64), (50, 131, 96)])
func productsWithATrainedMatrixMatchFP64(tokens: Int, rows: Int, columns: Int) {
  var generator = Generator()
  let pool = ThreadPool(threadCount: 3)
  let (x, w) = (matrix(tokens, columns, &generator), matrix(rows, columns, &generator))
  let (y, dx, dw) = (
    matrix(tokens, rows, &generator, padding: 16), matrix(tokens, columns, &generator),
    matrix(rows, columns, &generator)
  )
  let before = (0..<rows).map { dw.0.row($0).values }
  FloatProduct.forward(x.0, w.0, into: y.0, pool: pool)
  FloatProduct.inputGradient(y.0, w.0, into: dx.0, accumulate: false, pool: pool)
  FloatProduct.weightGradient(y.0, x.0, addingTo: dw.0, groupRows: 16, pool: pool)
  for t in 0..<tokens {
    for r in 0..<rows {
      var sum = 0.0
      for c in 0..<columns { sum += Double(x.0.row(t)[c]) * Double(w.0.row(r)[c]) }
      // sums of up to 96 products below 1, rounded at each step
      #expect(abs(Double(y.0.row(t)[r]) - sum) < 2e-5)
    }
  }
  for c in 0..<columns {
    for t in 0..<tokens {
      var (sum, size) = (0.0, 1.0)
      for r in 0..<rows {
        sum += Double(y.0.row(t)[r]) * Double(w.0.row(r)[c])
        size += abs(Double(y.0.row(t)[r]))
      }
      #expect(abs(Double(dx.0.row(t)[c]) - sum) < 2e-6 * size)
    }
    for r in 0..<rows {
      var (sum, size) = (Double(before[r][c]), 1.0)
      for t in 0..<tokens {
        sum += Double(y.0.row(t)[r]) * Double(x.0.row(t)[c])
        size += abs(Double(y.0.row(t)[r]))
      }
      #expect(abs(Double(dw.0.row(r)[c]) - sum) < 2e-6 * size)
    }
  }
  withExtendedLifetime((x, w, y, dx, dw)) {}
}

/// Chunks of tokens, slices of the matrix and threads change no bit.
@Test func productsWithATrainedMatrixDoNotDependOnHowTheyAreCut() {
  let (tokens, rows, columns) = (70, 1400, 72)
  var results: [[Float]] = []
  for (threads, chunk, slice) in [(1, tokens, rows), (3, 16, rows), (2, 48, 512), (5, tokens, 1024)] {
    var generator = Generator()
    let pool = ThreadPool(threadCount: threads)
    let (x, w) = (matrix(tokens, columns, &generator), matrix(rows, columns, &generator))
    let (y, dx, dw) = (
      matrix(tokens, rows, &generator), matrix(tokens, columns, &generator), matrix(rows, columns, &generator)
    )
    for token in stride(from: 0, to: tokens, by: chunk) {
      let part = token..<min(token + chunk, tokens)
      for first in stride(from: 0, to: rows, by: slice) {
        let range = first..<min(first + slice, rows)
        let logits = y.0.rows(part).columns(range)
        FloatProduct.forward(x.0.rows(part), w.0.rows(range), into: logits, pool: pool)
        FloatProduct.inputGradient(
          logits, w.0.rows(range), into: dx.0.rows(part), accumulate: first > 0, pool: pool)
        FloatProduct.weightGradient(logits, x.0.rows(part), addingTo: dw.0.rows(range), groupRows: 16, pool: pool)
      }
    }
    results.append([y.0, dx.0, dw.0].flatMap { $0.elements.values })
    withExtendedLifetime((x, w, y, dx, dw)) {}
  }
  #expect(results.dropFirst().allSatisfy { $0 == results[0] })
}
