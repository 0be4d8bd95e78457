import Foundation
import Kernels
import Testing

private func storage(_ rows: Int, _ columns: Int) -> Matrix {
  let count = max(rows * columns, 1)
  let base = UnsafeMutablePointer<Float>.allocate(capacity: count)
  base.initialize(repeating: 0, count: count)
  return Vector(base, count: count).matrix(rows: rows, columns: columns)
}

private func scratch(_ shape: AttentionShape, length: Int, workers: Int) -> [Scratch] {
  let bytes = Attention.scratchByteCount(shape: shape, length: length, hasGradient: true)
  return (0..<workers).map { _ in
    Scratch(UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64), byteCount: bytes)
  }
}

private func elements(_ x: Matrix) -> [Float] { (0..<x.rows * x.columns).map { x.base[$0] } }

/// - Parameter length: of the longest sample whose weights are kept; 0 keeps none
private func kept(_ shape: AttentionShape, tokens: Int, length: Int) -> Attention.Kept {
  let columns = length == 0 ? 0 : Attention.weightsPerToken(shape: shape, length: length)
  let bytes = KeptMatrix.byteCount(rows: tokens, columns: columns, format: .f16)
  let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes + 64, alignment: 64)
  return Attention.Kept(
    sums: storage(tokens, shape.headCount).elements,
    weights: KeptMatrix(memory, rows: tokens, columns: columns, format: .f16))
}

/// Output and gradients of made-up operands.
private func attention(_ shape: AttentionShape, isExact: Bool, threads: Int, keepsWeights: Bool = false) -> [[Float]] {
  // from the fourth tile of queries on, a sample may be two tasks
  let segments = [0, 30, 137, 250]
  let tokens = 250
  func heads(_ x: Matrix) -> HeadMatrix { HeadMatrix(x, size: shape.headSize) }
  let (width, sharedWidth) = (shape.headCount * shape.headSize, shape.keyValueHeadCount * shape.headSize)
  var generator = Generator()
  func random(_ columns: Int) -> Matrix {
    let x = storage(tokens, columns)
    for i in 0..<tokens * columns { x.base[i] = generator.next() }
    return x
  }
  let (q, k, v, dO) = (random(width), random(sharedWidth), random(sharedWidth), random(width))
  let pool = ThreadPool(threadCount: threads)
  let memory = scratch(shape, length: 113, workers: threads)
  let o = storage(tokens, width)
  let kept = kept(shape, tokens: tokens, length: keepsWeights ? 113 : 0)
  Attention.forward(
    query: heads(q), key: heads(k), value: heads(v), shape: shape, segments: segments, into: o, keeping: kept,
    isExact: isExact, pool: pool,
    scratch: memory)
  let output = elements(o)
  let (dq, dk, dv) = (storage(tokens, width), storage(tokens, sharedWidth), storage(tokens, sharedWidth))
  Attention.backward(
    dO, query: heads(q), key: heads(k), value: heads(v), shape: shape, segments: segments, kept: kept,
    dQuery: heads(dq),
    dKey: heads(dk), dValue: heads(dv), isExact: isExact, pool: pool, scratch: memory)
  return [output] + [dq, dk, dv].map(elements)
}

/// Whether a group of heads is one task or several, its sums are the same.
@Test(arguments: [1, 2, 4], [16, 32]) func attentionGradientDoesNotDependOnThreads(keyValueHeads: Int, headSize: Int) {
  let shape = AttentionShape(headCount: 4, keyValueHeadCount: keyValueHeads, headSize: headSize)
  for keepsWeights in [false, true] {
    let results = [1, 2, 3, 5, 16].map {
      attention(shape, isExact: false, threads: $0, keepsWeights: keepsWeights)
    }
    #expect(results.allSatisfy { $0 == results[0] })
    #expect(results[0].allSatisfy { $0.contains { $0 != 0 } })
  }
}

/// bfloat16 has 8 significant bits; the error is measured over all elements.
@Test(arguments: [1, 2, 4], [false, true]) func fasterAttentionIsCloseToTheExactOne(
  keyValueHeads: Int, keepsWeights: Bool
) {
  let shape = AttentionShape(headCount: 4, keyValueHeadCount: keyValueHeads, headSize: 32)
  let (fast, exact) = (
    attention(shape, isExact: false, threads: 2, keepsWeights: keepsWeights),
    attention(shape, isExact: true, threads: 2)
  )
  for (a, b) in zip(fast, exact) {
    let error = zip(a, b).reduce(0.0) { $0 + pow(Double($1.0 - $1.1), 2) }
    let size = b.reduce(0.0) { $0 + pow(Double($1), 2) }
    #expect((error / size).squareRoot() < 0.004)
  }
}

/// Weights are kept where they take no more memory than queries, keys and values do.
@Test func weightsOfShortSamplesAreKept() {
  let shape = AttentionShape(headCount: 9, keyValueHeadCount: 3, headSize: 64)
  #expect(Attention.weightsPerToken(shape: shape, length: 1) == 9 * 16)
  #expect((9 * 128..<9 * 160).contains(Attention.weightsPerToken(shape: shape, length: 256)))
  #expect(Attention.weightsPerToken(shape: shape, length: 512) == 0)
}

@Test(arguments: [11, 104]) func attentionGradientMatchesFiniteDifferences(tokens: Int) throws {
  var generator = Generator()
  let shape = AttentionShape(headCount: 2, keyValueHeadCount: 1, headSize: 8)
  let segments = [0, 4, tokens]
  func heads(_ x: Matrix) -> HeadMatrix { HeadMatrix(x, size: 8) }
  let pool = ThreadPool(threadCount: 2)
  let (q, dO, o) = (storage(tokens, 16), storage(tokens, 16), storage(tokens, 16))
  let (k, v) = (storage(tokens, 8), storage(tokens, 8))
  for matrix in [q, k, v, dO] { for i in 0..<matrix.rows * matrix.columns { matrix.base[i] = generator.next() } }
  let kept = kept(shape, tokens: tokens, length: 0)
  let scratch = scratch(shape, length: tokens, workers: 2)
  func value() -> Double {
    Attention.forward(
      query: heads(q), key: heads(k), value: heads(v), shape: shape, segments: segments, into: o, keeping: kept,
      isExact: true, pool: pool,
      scratch: scratch)
    return (0..<tokens * 16).reduce(0) { $0 + Double(o.base[$1]) * Double(dO.base[$1]) }
  }
  _ = value()
  let (dq, dk, dv) = (storage(tokens, 16), storage(tokens, 8), storage(tokens, 8))
  func copied(_ x: Matrix) -> Matrix {
    let y = storage(x.rows, x.columns)
    VectorOperations.copy(x, into: y, pool: pool)
    return y
  }
  Attention.backward(
    copied(dO), query: heads(copied(q)), key: heads(k), value: heads(v), shape: shape, segments: segments, kept: kept,
    dQuery: heads(dq), dKey: heads(dk), dValue: heads(dv), isExact: true, pool: pool, scratch: scratch)
  for (matrix, gradient) in [(q, dq), (k, dk), (v, dv)] {
    for index in stride(from: 0, to: matrix.rows * matrix.columns, by: tokens - 4) {
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
