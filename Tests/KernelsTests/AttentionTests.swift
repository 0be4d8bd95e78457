import Foundation
import Kernels
import Testing

@Test func attentionGradientMatchesFiniteDifferences() throws {
  var generator = Generator()
  let shape = AttentionShape(headCount: 2, keyValueHeadCount: 1, headSize: 8)
  let tokens = 11
  let segments = [0, 4, 11]
  let pool = ThreadPool(threadCount: 2)
  func storage(_ count: Int) -> Vector {
    Vector(UnsafeMutablePointer<Float>.allocate(capacity: max(count, 1)), count: count)
  }
  let q = storage(tokens * 16).matrix(rows: tokens, columns: 16)
  let k = storage(tokens * 8).matrix(rows: tokens, columns: 8)
  let v = storage(tokens * 8).matrix(rows: tokens, columns: 8)
  let dO = storage(tokens * 16).matrix(rows: tokens, columns: 16)
  for matrix in [q, k, v, dO] { for i in 0..<matrix.rows * matrix.columns { matrix.base[i] = generator.next() } }
  let o = storage(tokens * 16).matrix(rows: tokens, columns: 16)
  let lse = storage(tokens * 2)
  let bytes = Attention.scratchByteCount(shape: shape, length: tokens)
  let scratch = (0..<2).map { _ in
    Scratch(UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64), byteCount: bytes)
  }
  func value() -> Double {
    Attention.forward(
      query: q, key: k, value: v, shape: shape, segments: segments, into: o, keeping: lse, pool: pool, scratch: scratch)
    return (0..<tokens * 16).reduce(0) { $0 + Double(o.base[$1]) * Double(dO.base[$1]) }
  }
  _ = value()
  let dq = storage(tokens * 16).matrix(rows: tokens, columns: 16)
  let dk = storage(tokens * 8).matrix(rows: tokens, columns: 8)
  let dv = storage(tokens * 8).matrix(rows: tokens, columns: 8)
  Attention.backward(
    dO, output: o, query: q, key: k, value: v, shape: shape, segments: segments, logSumExp: lse, dQuery: dq, dKey: dk,
    dValue: dv, pool: pool, scratch: scratch)
  for (matrix, gradient) in [(q, dq), (k, dk), (v, dv)] {
    for index in stride(from: 0, to: matrix.rows * matrix.columns, by: 7) {
      let old = matrix.base[index]
      let step: Float = 0.01
      matrix.base[index] = old + step
      let high = value()
      matrix.base[index] = old - step
      let low = value()
      matrix.base[index] = old
      #expect(abs((high - low) / Double(2 * step) - Double(gradient.base[index])) < 2e-3)
    }
  }
}
