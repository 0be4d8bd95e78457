import CKernels
import Foundation
import Kernels
import Testing

private struct Generator {
  var state: UInt64 = 7
  mutating func next() -> Float {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Float(Int32(truncatingIfNeeded: state >> 33) & 0xFFFF) / 32768 - 1
  }
}

private func kernelTables() -> [UnsafePointer<el_int8_kernels>] {
  ["portable", "avx2", "avx512vnni", "neon", "dotprod"].compactMap { name in
    name.withCString { el_int8_kernels_named($0) }
  }
}

@Test(arguments: [(17, 192, 64), (1, 64, 64), (5, 96, 32), (33, 576, 64), (7, 8192 + 64, 64)])
func everyInstructionSetGivesTheSameBits(rows: Int, reduction: Int, block: Int) {
  var generator = Generator()
  let x = (0..<rows * reduction).map { _ in generator.next() }
  let columns = 29
  let weights = (0..<32 * reduction).map { _ in generator.next() }
  var reference: [Float]?
  for kernels in kernelTables() {
    var codes = [Int8](repeating: 0, count: rows * reduction)
    var scales = [Float](repeating: 0, count: rows * reduction / block)
    for row in 0..<rows {
      x.withUnsafeBufferPointer { x in
        codes.withUnsafeMutableBufferPointer { codes in
          scales.withUnsafeMutableBufferPointer { scales in
            kernels.pointee.quantize_row(
              reduction, block, x.baseAddress! + row * reduction, 0, codes.baseAddress! + row * reduction,
              scales.baseAddress! + row * (reduction / block))
          }
        }
      }
    }
    var panelCodes = [Int8](repeating: 0, count: reduction * 32)
    var panelScales = [Float](repeating: 0, count: reduction / block * 32)
    var panelSums = [Int32](repeating: 0, count: reduction / block * 32)
    var buffer = [Float](repeating: 0, count: reduction * 2)
    var y = [Float](repeating: 0, count: rows * columns)
    weights.withUnsafeBufferPointer { weights in
      var matrix = el_matrix()
      matrix.codes = EL_F32
      matrix.rows = 32
      matrix.columns = reduction
      matrix.data = UnsafeRawPointer(weights.baseAddress!)
      matrix.group = reduction
      matrix.nested_group = 1
      panelCodes.withUnsafeMutableBufferPointer { panelCodes in
        panelScales.withUnsafeMutableBufferPointer { panelScales in
          panelSums.withUnsafeMutableBufferPointer { panelSums in
            var panel = el_panel(
              codes: panelCodes.baseAddress!, scales: panelScales.baseAddress!, sums: panelSums.baseAddress!)
            kernels.pointee.decode_rows(&matrix, 0, block, &buffer, &panel)
            kernels.pointee.gemm(
              rows, reduction, block, codes, reduction, scales, reduction / block, &panel, &y, columns, columns, 0)
          }
        }
      }
    }
    if let reference {
      #expect(y.map(\.bitPattern) == reference.map(\.bitPattern), "\(String(cString: kernels.pointee.name))")
    } else {
      reference = y
      // 8 bits on both sides: a relative error near 1 %, measured over the whole result
      var error = 0.0
      var norm = 0.0
      for row in 0..<rows {
        for column in 0..<columns {
          var exact = 0.0
          for k in 0..<reduction { exact += Double(x[row * reduction + k]) * Double(weights[column * reduction + k]) }
          error += (exact - Double(y[row * columns + column])) * (exact - Double(y[row * columns + column]))
          norm += exact * exact
        }
      }
      #expect((error / norm).squareRoot() < 0.02)
    }
  }
}

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

@Test func threadCountDoesNotChangeSums() {
  var generator = Generator()
  let x = Vector(UnsafeMutablePointer<Float>.allocate(capacity: 100 * 96), count: 100 * 96)
  for i in 0..<x.count { x.base[i] = generator.next() }
  let p = Vector(UnsafeMutablePointer<Float>.allocate(capacity: 100 * 3), count: 300)
  for i in 0..<p.count { p.base[i] = generator.next() }
  func sums(_ threads: Int) -> [Float] {
    let dw = Vector(UnsafeMutablePointer<Float>.allocate(capacity: 3 * 96), count: 3 * 96)
    VectorOperations.fill(dw, with: 0)
    ThinProduct.weightGradient(
      p.matrix(rows: 100, columns: 3), x.matrix(rows: 100, columns: 96), addingTo: dw.matrix(rows: 3, columns: 96),
      pool: ThreadPool(threadCount: threads))
    return dw.values
  }
  #expect(sums(1) == sums(3))
}
