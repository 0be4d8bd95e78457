import Foundation
import Kernels
import Testing

/// A made-up term and the matrix that it is added to.
private struct Sum {
  let rows = 45
  let columns = 72
  let rank = 5
  let memory: [Memory]
  let p: Matrix
  let w: Matrix
  let y: Matrix
  let pool = ThreadPool(threadCount: 2)

  init() {
    var generator = Generator()
    let memory = [Memory(rows * rank * 4), Memory(rank * columns * 4), Memory(rows * columns * 4)]
    for piece in memory { for i in 0..<piece.byteCount / 4 { piece.bind(Float.self)[i] = generator.next() } }
    p = Matrix(memory[0].bind(Float.self), rows: rows, columns: rank)
    w = Matrix(memory[1].bind(Float.self), rows: rank, columns: columns)
    y = Matrix(memory[2].bind(Float.self), rows: rows, columns: columns)
    self.memory = memory
  }

  /// `scale * p w`, in fp64.
  func product(scale: Double) -> [Double] {
    (0..<rows * columns).map { i in
      (0..<rank).reduce(0) { $0 + scale * Double(p.row(i / columns)[$1]) * Double(w.row($1)[i % columns]) }
    }
  }
}

@Test func aTermIsAdded() {
  let sum = Sum()
  let before = sum.y.elements.values
  LowRankTerm(p: sum.p, w: sum.w, scale: 0.5).add(to: sum.y, pool: sum.pool)
  for (i, product) in sum.product(scale: 0.5).enumerated() {
    #expect(abs(Double(sum.y.elements[i]) - Double(before[i]) - product) < 1e-5)
  }
}

@Test func aTermIsMaskedAsItsInputWas() {
  let sum = Sum()
  let before = sum.y.elements.values
  let mask = DropoutMask(probability: 0.4, seed: 11, firstRow: 3)
  let memory = Memory(sum.rows * sum.columns * 4)
  let ones = Matrix(memory.bind(Float.self), rows: sum.rows, columns: sum.columns)
  VectorOperations.fill(ones, with: 1)
  VectorOperations.dropout(ones, into: ones, mask: mask, pool: sum.pool)
  LowRankTerm(p: sum.p, w: sum.w, scale: 0.5, mask: mask).add(to: sum.y, pool: sum.pool)
  for (i, product) in sum.product(scale: 0.5).enumerated() {
    #expect(abs(Double(sum.y.elements[i]) - Double(before[i]) - product * Double(ones.elements[i])) < 1e-5)
  }
  #expect(Set(ones.elements.values).count == 2)
  withExtendedLifetime(memory) {}
}
