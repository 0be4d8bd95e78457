import Foundation
import Kernels
import Testing

/// An attention and how its operands lie.
private struct Case: CustomStringConvertible, Sendable {
  var heads = 4
  var keyValueHeads = 2
  var headSize = 8
  var scale: Float?
  var visibility = Visibility.causal
  var prefix = 0
  var segments = [0, 30, 137, 250]
  /// Queries, keys and values of a head side by side in one matrix, as one product makes them.
  var isFused = false

  var tokens: Int { segments[segments.count - 1] }
  var longest: Int { zip(segments, segments.dropFirst()).map { $1 - $0 }.max() ?? 0 }
  var shape: AttentionShape {
    AttentionShape(headCount: heads, keyValueHeadCount: keyValueHeads, headSize: headSize, scale: scale)
  }
  var description: String {
    "\(heads)/\(keyValueHeads) heads of \(headSize), \(visibility), prefix \(prefix), samples at \(segments)"
  }

  /// Those that generation meets: it looks back, and keys and values lie in a cache.
  static let generating = all.filter { !$0.visibility.looksAhead && !$0.isFused }

  static let all: [Case] =
    [
      Case(), Case(heads: 3, keyValueHeads: 3, headSize: 24, scale: 0.5),
      Case(heads: 2, keyValueHeads: 2, headSize: 128, segments: [0, 101], isFused: true),
      Case(heads: 3, keyValueHeads: 1, headSize: 32, prefix: 5),
      Case(heads: 2, keyValueHeads: 2, headSize: 64, prefix: 17, segments: [0, 1, 40, 139], isFused: true),
      Case(heads: 4, keyValueHeads: 1, headSize: 40, prefix: 1, segments: [0, 24, 48, 97]),
      Case(heads: 2, keyValueHeads: 1, headSize: 32, prefix: 5, segments: Array(stride(from: 0, through: 230, by: 23))),
      // tiles that look past the end of what the window's first rows see
      Case(visibility: .window(1)), Case(visibility: .window(30), segments: [0, 5, 205, 230]),
      Case(heads: 3, keyValueHeads: 1, headSize: 32, visibility: .window(47), prefix: 5, segments: [0, 300, 301]),
      Case(heads: 5, keyValueHeads: 5, headSize: 64, visibility: .window(16), prefix: 17, isFused: true),
      Case(headSize: 96, visibility: .window(1000)),
      Case(visibility: .full), Case(heads: 3, keyValueHeads: 3, headSize: 32, visibility: .full, isFused: true),
      Case(heads: 6, keyValueHeads: 2, headSize: 64, visibility: .full, prefix: 17, segments: [0, 7, 130]),
      Case(heads: 3, keyValueHeads: 1, headSize: 16, visibility: .fullWindow(20), prefix: 1),
      Case(heads: 2, keyValueHeads: 2, headSize: 32, visibility: .fullWindow(33)),
    ]
}

/// Operands and results in memory of their own.
private final class Workload {
  let of: Case
  let query: HeadMatrix
  let key: HeadMatrix
  let value: HeadMatrix
  let dQuery: HeadMatrix
  let dKey: HeadMatrix
  let dValue: HeadMatrix
  let output: Matrix
  let dOutput: Matrix
  let prefix: (key: Matrix, value: Matrix)
  let dPrefix: (key: Matrix, value: Matrix)
  private var memory: [Memory] = []

  init(_ given: Case) {
    of = given
    var memory: [Memory] = []
    var generator = Generator(state: 11)
    func matrix(_ rows: Int, _ columns: Int, random: Bool) -> Matrix {
      let space = Memory(rows * columns * 4)
      memory.append(space)
      let x = Matrix(space.bind(Float.self), rows: rows, columns: columns)
      for i in 0..<rows * columns { x.base[i] = random ? generator.next() : .nan }
      return x
    }
    func heads(random: Bool) -> (HeadMatrix, HeadMatrix, HeadMatrix) {
      let (size, tokens) = (given.headSize, given.tokens)
      if given.isFused {
        let x = matrix(tokens, 3 * given.heads * size, random: random)
        func part(_ index: Int) -> HeadMatrix {
          HeadMatrix(x, size: size, count: given.heads, offset: index * size, stride: 3 * size)
        }
        return (part(0), part(1), part(2))
      }
      func all(_ count: Int) -> HeadMatrix { HeadMatrix(matrix(tokens, count * size, random: random), size: size) }
      return (all(given.heads), all(given.keyValueHeads), all(given.keyValueHeads))
    }
    (query, key, value) = heads(random: true)
    (dQuery, dKey, dValue) = heads(random: false)
    output = matrix(given.tokens, given.heads * given.headSize, random: false)
    dOutput = matrix(given.tokens, given.heads * given.headSize, random: true)
    let width = given.keyValueHeads * given.headSize
    prefix = (matrix(given.prefix, width, random: true), matrix(given.prefix, width, random: true))
    dPrefix = (matrix(given.prefix, width, random: false), matrix(given.prefix, width, random: false))
    VectorOperations.fill(dPrefix.key, with: 0)
    VectorOperations.fill(dPrefix.value, with: 0)
    self.memory = memory
  }

  private func elements(_ x: HeadMatrix) -> [Float] {
    (0..<x.rows).flatMap { row in (0..<x.count).flatMap { x.head($0).row(row).values } }
  }

  private func elements(_ x: Matrix) -> [Float] { (0..<x.rows).flatMap { x.row($0).values } }

  /// Output, gradients of query, key and value, and of the prefix.
  func run(threads: Int, isExact: Bool, keepsWeights: Bool) -> [[Float]] {
    let (shape, longest) = (of.shape, of.longest)
    let pool = ThreadPool(threadCount: threads)
    var spaces: [Memory] = []
    func memory(_ byteCount: Int) -> Memory {
      let space = Memory(byteCount)
      memset(space.base, 0xFF, byteCount)  // not numbers: nobody may read what nobody wrote
      spaces.append(space)
      return space
    }
    let bytes = Attention.scratchByteCount(
      shape: shape, length: longest, visibility: of.visibility, prefixCount: of.prefix, hasGradient: true)
    let scratch = (0..<threads).map { _ in Scratch(memory(bytes).base, byteCount: bytes) }
    let columns =
      keepsWeights
      ? Attention.weightsPerToken(
        shape: shape, length: longest, visibility: of.visibility, prefixCount: of.prefix) : 0
    let kept = Attention.Kept(
      sums: Vector(memory(of.tokens * of.heads * 4).bind(Float.self), count: of.tokens * of.heads),
      weights: KeptMatrix(
        memory(of.tokens * columns * 2 + 64).base, rows: of.tokens, columns: columns, format: .f16))
    let front = of.prefix == 0 ? nil : Attention.Prefix(key: prefix.key, value: prefix.value, shape: shape)
    Attention.forward(
      query: query, key: key, value: value, shape: shape, visibility: of.visibility, prefix: front,
      segments: of.segments, into: output, keeping: kept, isExact: isExact, pool: pool, scratch: scratch)
    let result = elements(output)
    let partBytes = Attention.PrefixGradient.byteCount(shape: shape, count: of.prefix)
    let gradient = Attention.PrefixGradient(
      key: dPrefix.key, value: dPrefix.value, shape: shape,
      samples: Scratch(memory(partBytes).base, byteCount: partBytes))
    Attention.backward(
      dOutput, query: query, key: key, value: value, shape: shape, visibility: of.visibility, prefix: front,
      segments: of.segments, kept: kept, dQuery: dQuery, dKey: dKey, dValue: dValue,
      prefixGradient: of.prefix == 0 ? nil : gradient, isExact: isExact, pool: pool, scratch: scratch)
    withExtendedLifetime(spaces) {}
    return [result] + [dQuery, dKey, dValue].map(elements) + [dPrefix.key, dPrefix.value].map(elements)
  }

  /// The same as its definition says, in fp64.
  func reference() -> [[Double]] {
    let (size, perKey) = (of.headSize, of.heads / of.keyValueHeads)
    let scale = Double(of.shape.scale)
    func doubles(_ x: [Float]) -> [Double] { x.map(Double.init) }
    let (q, k, v) = (doubles(elements(query)), doubles(elements(key)), doubles(elements(value)))
    let dO = doubles(elements(dOutput))
    let (pk, pv) = (doubles(elements(prefix.key)), doubles(elements(prefix.value)))
    var (o, dq) = ([Double](repeating: 0, count: q.count), [Double](repeating: 0, count: q.count))
    var (dk, dv) = ([Double](repeating: 0, count: k.count), [Double](repeating: 0, count: k.count))
    var (dpk, dpv) = ([Double](repeating: 0, count: pk.count), [Double](repeating: 0, count: pk.count))
    for (start, end) in zip(of.segments, of.segments.dropFirst()) {
      for token in start..<end {
        let own = (start..<end).filter { key in
          let distance = token - key
          let isNear = of.visibility.window.map { abs(distance) < $0 } ?? true
          return isNear && (of.visibility.looksAhead || distance >= 0)
        }
        for head in 0..<of.heads {
          let row = (token * of.heads + head) * size
          func place(_ key: Int) -> Int { (key * of.keyValueHeads + head / perKey) * size }
          // first of a key's elements, and whether it belongs to the prefix
          let front = (0..<of.prefix).filter { key in
            of.visibility.window.map { token - start + of.prefix - key < $0 } ?? true
          }
          let keys = front.map { (place($0), true) } + own.map { (place($0), false) }
          func product(_ x: [Double], _ y: [Double], at place: Int) -> Double {
            var sum = 0.0
            for i in 0..<size { sum += x[row + i] * y[place + i] }
            return sum
          }
          let scores = keys.map { at, isPrefix in scale * product(q, isPrefix ? pk : k, at: at) }
          let largest = scores.max() ?? 0
          let sum = scores.reduce(0) { $0 + exp($1 - largest) }
          let weights = scores.map { exp($0 - largest) / sum }
          let dWeights = keys.map { at, isPrefix in product(dO, isPrefix ? pv : v, at: at) }
          let mean = zip(weights, dWeights).reduce(0) { $0 + $1.0 * $1.1 }
          for (index, (at, isPrefix)) in keys.enumerated() {
            let dScore = weights[index] * (dWeights[index] - mean) * scale
            for i in 0..<size {
              o[row + i] += weights[index] * (isPrefix ? pv : v)[at + i]
              dq[row + i] += dScore * (isPrefix ? pk : k)[at + i]
              if isPrefix {
                dpk[at + i] += dScore * q[row + i]
                dpv[at + i] += weights[index] * dO[row + i]
              } else {
                dk[at + i] += dScore * q[row + i]
                dv[at + i] += weights[index] * dO[row + i]
              }
            }
          }
        }
      }
    }
    return [o, dq, dk, dv, dpk, dpv]
  }
}

/// Root of the mean square of the difference, as a share of that of `expected`.
private func error(_ found: [Float], _ expected: [Double]) -> Double {
  let difference = zip(found, expected).reduce(0.0) { $0 + pow(Double($1.0) - $1.1, 2) }
  let size = expected.reduce(0.0) { $0 + $1 * $1 }
  return size == 0 ? difference : (difference / size).squareRoot()
}

@Test(arguments: Case.all) private func attentionIsThatOfItsDefinition(of given: Case) {
  let expected = Workload(given).reference()
  for (isExact, keepsWeights) in [(true, false), (true, true), (false, false), (false, true)] {
    let results = [1, 2, 3, 7].map {
      Workload(given).run(threads: $0, isExact: isExact, keepsWeights: keepsWeights)
    }
    #expect(results.allSatisfy { $0 == results[0] }, "the same bits at any thread count")
    // floats: 1e-6 of the exponential function and of sums; halves have 11 significant bits, bfloat16 has 8
    let tolerance = !isExact ? 5e-3 : keepsWeights ? 5e-4 : 2e-6
    for (name, (found, expected)) in zip(["o", "dq", "dk", "dv", "dpk", "dpv"], zip(results[0], expected)) {
      // nothing but rounding is left of the gradient of a softmax of one key
      if given.visibility == .window(1) && (name == "dq" || name == "dk") { continue }
      #expect(found.count == expected.count)
      let error = error(found, expected)
      #expect(error < tolerance, "\(name), exact: \(isExact), weights: \(keepsWeights)")
    }
  }
}

/// What a micro-batch is made of does not show in the gradient of a prefix.
@Test func prefixGradientDoesNotDependOnHowSamplesComeTogether() {
  let given = Case(
    heads: 2, keyValueHeads: 1, headSize: 32, prefix: 5, segments: Array(stride(from: 0, through: 230, by: 23)))
  let together = Workload(given).run(threads: 2, isExact: false, keepsWeights: false)
  let workload = Workload(given)
  let shape = given.shape
  let pool = ThreadPool(threadCount: 3)
  let bytes = Attention.scratchByteCount(shape: shape, length: 23, prefixCount: 5, hasGradient: true)
  let spaces = (0..<3).map { _ in Memory(bytes) }
  let scratch = spaces.map { Scratch($0.base, byteCount: bytes) }
  let prefix = Attention.Prefix(key: workload.prefix.key, value: workload.prefix.value, shape: shape)
  let partBytes = Attention.PrefixGradient.byteCount(shape: shape, count: 5)
  let parts = Memory(partBytes)
  let gradient = Attention.PrefixGradient(
    key: workload.dPrefix.key, value: workload.dPrefix.value, shape: shape,
    samples: Scratch(parts.base, byteCount: partBytes))
  let sums = Memory(230 * 2 * 4)
  let empty = Memory(64)
  for sample in 0..<10 {
    let rows = sample * 23..<(sample + 1) * 23
    let kept = Attention.Kept(
      sums: Vector(sums.bind(Float.self), count: 23 * 2),
      weights: KeptMatrix(empty.base, rows: 23, columns: 0, format: .f16))
    Attention.forward(
      query: workload.query.rows(rows), key: workload.key.rows(rows), value: workload.value.rows(rows), shape: shape,
      prefix: prefix, segments: [0, 23], into: workload.output.rows(rows), keeping: kept, isExact: false, pool: pool,
      scratch: scratch)
    Attention.backward(
      workload.dOutput.rows(rows), query: workload.query.rows(rows), key: workload.key.rows(rows),
      value: workload.value.rows(rows), shape: shape, prefix: prefix, segments: [0, 23], kept: kept,
      dQuery: workload.dQuery.rows(rows), dKey: workload.dKey.rows(rows), dValue: workload.dValue.rows(rows),
      prefixGradient: gradient, isExact: false, pool: pool, scratch: scratch)
  }
  withExtendedLifetime((spaces, parts, sums, empty)) {}
  #expect((0..<5).flatMap { workload.dPrefix.key.row($0).values } == together[4])
  #expect((0..<5).flatMap { workload.dPrefix.value.row($0).values } == together[5])
}

/// Generation sees what training sees: the last row of a sample.
@Test(arguments: Case.generating)
private func attentionToACacheIsThatOfTheLastToken(of given: Case) {
  let workload = Workload(given)
  let expected = workload.reference()[0]
  let pool = ThreadPool(threadCount: 2)
  let bytes = Attention.scratchByteCount(
    shape: given.shape, length: given.longest, visibility: given.visibility, prefixCount: given.prefix,
    hasGradient: false)
  let spaces = (0..<2).map { _ in Memory(bytes) }
  for (start, end) in zip(given.segments, given.segments.dropFirst()) {
    let width = given.heads * given.headSize
    Attention.decode(
      query: workload.query.rows(end - 1..<end),
      texts: [
        Attention.Seen(
          keys: workload.key.matrix.rows(start..<end), values: workload.value.matrix.rows(start..<end),
          shape: given.shape, visibility: given.visibility)
      ], shape: given.shape,
      prefix: given.prefix == 0
        ? nil : Attention.Prefix(key: workload.prefix.key, value: workload.prefix.value, shape: given.shape),
      into: workload.output.rows(0..<1), pool: pool, scratch: spaces.map { Scratch($0.base, byteCount: bytes) })
    #expect(error(workload.output.row(0).values, Array(expected[(end - 1) * width..<end * width])) < 2e-6)
  }
}

/// A window's memory does not grow with the sample, and shorter samples need no more per token.
@Test func windowsBoundTheMemoryOfWeights() {
  let shape = AttentionShape(headCount: 9, keyValueHeadCount: 3, headSize: 64)
  #expect(Attention.weightsPerToken(shape: shape, length: 4096) == 0)
  let perToken = Attention.weightsPerToken(shape: shape, length: 4096, visibility: .window(64))
  #expect((9 * 64..<9 * 128).contains(perToken))
  for visibility in [Visibility.causal, .full, .window(17), .window(64), .fullWindow(9)] {
    var most = 0
    for length in 1...150 {
      let count = Attention.weightsPerToken(shape: shape, length: length, visibility: visibility, prefixCount: 3)
      #expect(count >= most)
      most = count
    }
  }
  let causal = Attention.scratchByteCount(shape: shape, length: 4096, hasGradient: true)
  #expect(Attention.scratchByteCount(shape: shape, length: 4096, visibility: .window(64), hasGradient: true) < causal)
}
