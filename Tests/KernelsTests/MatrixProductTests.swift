import Foundation
import Kernels
import Testing

/// Products of made-up rows with a made-up matrix.
private final class Products {
  let weight: MadeUpMatrix
  let pool: ThreadPool
  let x: Matrix
  let dy: Matrix
  private let rowsPerSequence: Int
  private let memory: [Memory]

  /// - Parameter mean: size of what all rows have in common
  init(
    _ kind: StoredKind, rows: Int, columns: Int, tokens: Int, rowsPerSequence: Int = 50, mean: Float = 0,
    threadCount: Int = 2
  ) {
    self.rowsPerSequence = rowsPerSequence
    weight = MadeUpMatrix(kind, rows: rows, columns: columns)
    pool = ThreadPool(threadCount: threadCount)
    memory = [Memory(tokens * columns * 4), Memory(tokens * rows * 4)]
    x = Matrix(memory[0].bind(Float.self), rows: tokens, columns: columns)
    dy = Matrix(memory[1].bind(Float.self), rows: tokens, columns: rows)
    var generator = Generator()
    let common = (0..<columns).map { _ in mean * generator.next() }
    for i in 0..<tokens * columns {
      x.base[i] = common[i % columns] + generator.next() * (i % columns == 7 ? 40 : 1)
    }
    for i in 0..<tokens * rows { dy.base[i] = generator.next() * generator.next() }
  }

  func scratch(_ byteCount: Int) -> (pieces: [Scratch], memory: [Memory]) {
    let memory = (0..<pool.threadCount).map { _ in Memory(byteCount) }
    return (memory.map { Scratch($0.base, byteCount: byteCount) }, memory)
  }

  func quantizedInput(_ x: Matrix, meanByRow: Bool = false) -> (rows: QuantizedRows, storage: Memory) {
    let w = weight.matrix
    let role = QuantizedRows.Role.input(exactColumns: 8, meanByRow: meanByRow)
    let storage = Memory(
      QuantizedRows.byteCount(
        rows: x.rows, columns: w.columns, block: w.reductionBlock, as: role, threadCount: pool.threadCount))
    let rows = QuantizedRows.quantize(
      x, as: role, block: w.reductionBlock, rowsPerSequence: rowsPerSequence,
      storage: Scratch(storage.base, byteCount: storage.byteCount), pool: pool)
    return (rows, storage)
  }

  /// Some columns of `dy`, or all.
  func quantizedGradient(_ columns: Range<Int>? = nil) -> (rows: QuantizedRows, storage: Memory) {
    let part = dy.columns(columns ?? 0..<dy.columns)
    let block = weight.matrix.gradientBlock
    let storage = Memory(
      QuantizedRows.byteCount(
        rows: part.rows, columns: part.columns, block: block, as: .gradient, threadCount: pool.threadCount))
    let rows = QuantizedRows.quantize(
      part, as: .gradient, block: block, rowsPerSequence: part.rows,
      storage: Scratch(storage.base, byteCount: storage.byteCount), pool: pool)
    return (rows, storage)
  }

  /// `x Wᵀ`, slice by slice.
  ///
  /// - Parameter tokens: rows of `x`; all unless said otherwise
  func forward(
    _ slices: [Range<Int>?], reference: Bool = false, adding term: LowRankTerm? = nil, tokens: Range<Int>? = nil,
    few: MatrixProduct.FewRows = .fast, meanByRow: Bool = false
  ) -> [Float] {
    let w = weight.matrix
    let x = x.rows(tokens ?? 0..<x.rows)
    let (quantized, storage) = quantizedInput(x, meanByRow: meanByRow)
    let space = Memory(x.rows * w.rows * 4)
    let y = Matrix(space.bind(Float.self), rows: x.rows, columns: w.rows)
    let bytes = max(
      MatrixProduct.forwardScratchByteCount(w, rows: x.rows), ReferenceProduct.scratchByteCount(w))
    let scratch = scratch(bytes)
    for slice in slices {
      let target = y.columns(slice ?? 0..<w.rows)
      if reference {
        ReferenceProduct.forward(
          x, w, rows: slice, into: target, accumulate: false, pool: pool, scratch: scratch.pieces)
      } else {
        MatrixProduct.forward(
          quantized, w, rows: slice, into: target, accumulate: false, adding: term, few: few, pool: pool,
          scratch: scratch.pieces)
      }
    }
    return withExtendedLifetime((storage, scratch.memory)) { space.floats }
  }

  /// `dy W`, slice by slice.
  func gradient(_ slices: [Range<Int>?], reference: Bool = false, adding term: LowRankTerm? = nil) -> [Float] {
    let w = weight.matrix
    let space = Memory(x.rows * w.columns * 4)
    let dx = Matrix(space.bind(Float.self), rows: x.rows, columns: w.columns)
    let bytes = max(
      MatrixProduct.gradientScratchByteCount(w, rows: x.rows), ReferenceProduct.scratchByteCount(w))
    let scratch = scratch(bytes)
    for (index, slice) in slices.enumerated() {
      let part = dy.columns(slice ?? 0..<w.rows)
      if reference {
        ReferenceProduct.inputGradient(
          part, w, rows: slice, into: dx, accumulate: index > 0, pool: pool, scratch: scratch.pieces)
        continue
      }
      let quantized = quantizedGradient(slice)
      MatrixProduct.inputGradient(
        quantized.rows, w, rows: slice, into: dx, accumulate: index > 0, adding: term, pool: pool,
        scratch: scratch.pieces)
      withExtendedLifetime(quantized.storage) {}
    }
    return withExtendedLifetime(scratch.memory) { space.floats }
  }
}

extension Memory {
  fileprivate var floats: [Float] { Array(UnsafeBufferPointer(start: bind(Float.self), count: byteCount / 4)) }
}

private func relativeError(_ a: [Float], _ b: [Float]) -> Double {
  var error = 0.0
  var norm = 0.0
  for (a, b) in zip(a, b) {
    error += Double(a - b) * Double(a - b)
    norm += Double(b) * Double(b)
  }
  return (error / norm).squareRoot()
}

@Test(arguments: StoredKind.allCases, [1, 2, 5, 131]) func productsMatchTheReference(kind: StoredKind, tokens: Int) {
  let products = Products(kind, rows: 201, columns: 192, tokens: tokens)
  // 8 bits on both sides; measured over the whole result
  #expect(relativeError(products.forward([nil]), products.forward([nil], reference: true)) < 0.015)
  #expect(relativeError(products.gradient([nil]), products.gradient([nil], reference: true)) < 0.015)
}

/// A row of a hundredth of the others' size is as exact as they are where each has its own say about the mean.
@Test(arguments: [StoredKind.nf4, .int8], [1, 2, 3]) func aSmallRowIsExactToo(kind: StoredKind, threads: Int) {
  let products = Products(
    kind, rows: 201, columns: 192, tokens: 140, rowsPerSequence: 140, mean: 4, threadCount: threads)
  let small = 70
  for column in 0..<192 { products.x.base[small * 192 + column] *= 0.01 * Float(column % 3 - 1) }
  let truth = products.forward([nil], reference: true)
  func error(_ values: [Float], _ rows: Range<Int>) -> Double {
    let part = rows.lowerBound * 201..<rows.upperBound * 201
    return relativeError(Array(values[part]), Array(truth[part]))
  }
  let (shared, own) = (products.forward([nil]), products.forward([nil], meanByRow: true))
  #expect(error(shared, small..<small + 1) > 0.1)
  #expect(error(own, small..<small + 1) < 0.02)
  #expect(error(own, 0..<small) < 0.015)
  // the others lose the mean as before
  #expect(own[..<(small * 201)] == shared[..<(small * 201)])
}

/// More texts than meet a row of the weight together, and than one kernel takes.
@Test(arguments: StoredKind.allCases) func rowsOfTextsHaveTheBitsThatTheyHaveAlone(kind: StoredKind) {
  let products = Products(kind, rows: 201, columns: 192, tokens: 11, rowsPerSequence: 1)
  let alone = (0..<11).flatMap { products.forward([nil], tokens: $0..<$0 + 1) }
  #expect(products.forward([nil], few: .alone) == alone)
  #expect(products.forward([nil]) != alone)
}

@Test(arguments: [1, 100]) func aTermJoinsTheProduct(tokens: Int) {
  let products = Products(.nf4, rows: 201, columns: 192, tokens: tokens)
  let p = products.dy.columns(0..<5)
  func expect(_ product: (LowRankTerm?) -> [Float], columns: Int) {
    let factor = Memory(5 * columns * 4)
    let w = Matrix(factor.bind(Float.self), rows: 5, columns: columns)
    for i in 0..<5 * columns { w.base[i] = Float(i % 7) - 3 }
    let term = LowRankTerm(p: p, w: w, scale: 0.5)
    var apart = product(nil)
    apart.withUnsafeMutableBufferPointer { values in
      guard let base = values.baseAddress else { return }
      term.add(to: Matrix(base, rows: tokens, columns: columns), pool: products.pool)
    }
    // the order of the sums is another one
    #expect(relativeError(product(term), apart) < 1e-6)
    withExtendedLifetime(factor) {}
  }
  expect({ products.forward([nil], adding: $0) }, columns: 201)
  expect({ products.gradient([nil], adding: $0) }, columns: 192)
}

@Test(arguments: [70, 500], [33, 1111]) func productsDoNotDependOnTheThreads(tokens: Int, rows: Int) {
  func results(_ threadCount: Int) -> [[Float]] {
    let products = Products(
      .nf4, rows: rows, columns: 128, tokens: tokens, rowsPerSequence: 250, mean: 1, threadCount: threadCount)
    return [products.forward([nil]), products.gradient([nil])]
  }
  let one = results(1)
  for threadCount in [2, 3, 8] { #expect(results(threadCount) == one) }
}

/// What all tokens have in common must not cost the rest its bits, and its product is exact.
/// Products that share a loop are those that have one each.
@Test(arguments: [1, 2, 3]) func severalProductsInOneLoopAreThoseOfOneEach(threadCount: Int) {
  let sizes = [192, 64, 97]
  let parts = sizes.map {
    Products(.nf4, rows: $0, columns: 128, tokens: 131, mean: 1, threadCount: threadCount)
  }
  let pool = parts[0].pool
  let outputs = parts.map { _ in Memory(131 * 192 * 4) }
  let (scratch, memory) = parts[0].scratch(
    parts.map {
      max(
        MatrixProduct.forwardScratchByteCount($0.weight.matrix, rows: 131),
        MatrixProduct.gradientScratchByteCount($0.weight.matrix, rows: 131))
    }.max() ?? 0)
  let (x, storage) = parts[0].quantizedInput(parts[0].x)
  MatrixProduct.forward(
    x,
    zip(parts, outputs).map { part, memory in
      let rows = part.weight.matrix.rows
      return .init(
        part.weight.matrix, into: Matrix(memory.bind(Float.self), rows: 131, columns: rows), accumulate: false,
        adding: nil)
    }, pool: pool, scratch: scratch)
  for ((part, memory), rows) in zip(zip(parts, outputs), sizes) {
    #expect(Array(memory.floats[..<(131 * rows)]) == part.forward([nil]), "output of \(rows)")
  }

  let gradients = parts.map { $0.quantizedGradient() }
  let (sum, one) = (Memory(131 * 128 * 4), Memory(131 * 128 * 4))
  func gradient(_ sources: [MatrixProduct.Source], into memory: Memory, accumulate: Bool) {
    MatrixProduct.inputGradient(
      sources, into: Matrix(memory.bind(Float.self), rows: 131, columns: 128), accumulate: accumulate, pool: pool,
      scratch: scratch)
  }
  let sources = zip(parts, gradients).map { MatrixProduct.Source($1.rows, $0.weight.matrix, adding: nil) }
  gradient(sources, into: sum, accumulate: false)
  for (index, source) in sources.enumerated() { gradient([source], into: one, accumulate: index > 0) }
  let isSame = sum.floats == one.floats
  #expect(isSame)
  withExtendedLifetime((parts, memory, storage, gradients.map(\.storage))) {}
}

@Test(arguments: StoredKind.allCases) func commonPartOfTheRowsStaysExact(kind: StoredKind) {
  let products = Products(kind, rows: 201, columns: 192, tokens: 330, rowsPerSequence: 200, mean: 1000)
  let size = 200 * 201  // the rest of a sequence, 130 rows, ends with a group of 2, which keeps its mean
  let result = products.forward([nil])
  let truth = products.forward([nil], reference: true)
  #expect(relativeError(Array(result[..<size]), Array(truth[..<size])) < 0.0001)
  #expect(relativeError(Array(result[size...]), Array(truth[size...])) < 0.015)
}

@Test(arguments: [StoredKind.nf4, .bf16], [2, 100]) func slicesOfTheWeightAddUpToTheWhole(kind: StoredKind, tokens: Int)
{
  let products = Products(kind, rows: 1111, columns: 96, tokens: tokens)
  let slices: [Range<Int>?] = [0..<64, 64..<832, 832..<1111]
  #expect(products.forward(slices) == products.forward([nil]))
  #expect(products.gradient(slices) == products.gradient([nil]))
  #expect(products.forward(slices, reference: true) == products.forward([nil], reference: true))
  #expect(
    relativeError(products.gradient(slices, reference: true), products.gradient([nil], reference: true)) < 1e-6)
}

@Test(arguments: [2, 100]) func threadCountDoesNotChangeProducts(tokens: Int) {
  let one = Products(.int4Groups64, rows: 333, columns: 128, tokens: tokens, threadCount: 1)
  let three = Products(.int4Groups64, rows: 333, columns: 128, tokens: tokens, threadCount: 3)
  #expect(one.forward([nil]) == three.forward([nil]))
  #expect(one.gradient([nil]) == three.gradient([nil]))
}
