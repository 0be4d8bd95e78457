import CKernels
import Foundation
import Kernels
import Testing

@Test(arguments: [1, 7, 16, 37, 64])
func bfloat16IsRoundedToNearestEven(count: Int) {
  var generator = Generator()
  var values = (0..<count).map { _ in generator.next() }
  values[0] = Float(bitPattern: 0x3F80_8000)  // in the middle of two, the lower one even
  for table in floatTables() {
    var codes = [UInt16](repeating: 7, count: count + 1)
    var back = [Float](repeating: 7, count: count + 1)
    table.pointee.to_bfloat(count, values, &codes)
    table.pointee.from_bfloat(count, codes, &back)
    #expect(codes[0] == 0x3F80)
    #expect(codes[count] == 7 && back[count] == 7, "what lies behind the row stays")
    for i in 0..<count {
      #expect(back[i].bitPattern == UInt32(codes[i]) << 16)
      // 8 bits of mantissa: half a unit in the last place
      #expect(abs(back[i] - values[i]) <= abs(values[i]) / 256)
    }
  }
}

@Test func halvesAreRoundedToNearestEven() {
  let values: [Float] = [
    1, 65504, 1e6, -1e6, 0x1p-24, 0x1p-25, 0x3p-26, 1 + 0x1p-11, 1 + 0x3p-11, -0x1p-14, 0x1.ffcp-15, .infinity, 0, -0.0,
  ]
  let expected: [UInt16] = [
    0x3C00, 0x7BFF, 0x7BFF, 0xFBFF, 1, 0, 1, 0x3C00, 0x3C02, 0x8400, 0x0400, 0x7BFF, 0, 0x8000,
  ]
  let codes = (0..<65_536).map { UInt16($0) }.filter { $0 & 0x7FFF < 0x7C00 }
  for table in floatTables() {
    var found = [UInt16](repeating: 7, count: values.count + 1)
    table.pointee.to_half(values.count, values, &found)
    #expect(found == expected + [7], "\(String(cString: table.pointee.name))")
    var floats = [Float](repeating: 0, count: codes.count)
    var back = [UInt16](repeating: 0, count: codes.count)
    table.pointee.from_half(codes.count, codes, &floats)
    table.pointee.to_half(codes.count, floats, &back)
    #expect(back == codes)
    #expect(floats[1] == 0x1p-24 && floats[0x3C01] == 1 + 0x1p-10 && floats[0x7BFF] == 65504)
    var wrong = [UInt16](repeating: 0, count: 4)
    table.pointee.to_half(4, [.nan, 1, 1, 1], &wrong)
    table.pointee.from_half(4, wrong, &floats)
    #expect(floats[0].isNaN)
  }
}

@Test(arguments: [1, 7, 16, 37])
func gatesAndTheirGradientsMatchFP64(count: Int) {
  var generator = Generator()
  let values = (0..<2 * count).map { _ in generator.next() * 8 }
  let gradient = (0..<count).map { _ in generator.next() }
  for table in floatTables() {
    let kernels = table.pointee
    var codes = [UInt16](repeating: 0, count: 2 * count)
    var rounded = values
    kernels.to_half(2 * count, values, &codes)
    kernels.from_half(2 * count, codes, &rounded)
    let (gateCodes, upCodes) = (Array(codes[..<count]), Array(codes[count...]))
    let (gate, up) = (Array(rounded[..<count]), Array(rounded[count...]))
    var (h, kept) = (gate, gate)
    h.withUnsafeMutableBufferPointer { h in
      if let base = h.baseAddress { kernels.silu.pointee.gate(count, base, up, base) }
    }
    kernels.silu.pointee.gate_half(count, gateCodes, upCodes, &kept)
    #expect(h == kept)
    var (dGate, dUp) = (gradient, up)
    kernels.silu.pointee.gate_backward(count, gate, up, &dGate, &dUp)
    var (dGateKept, dUpKept) = (gradient, up)
    kernels.silu.pointee.gate_backward_half(count, gateCodes, upCodes, &dGateKept, &dUpKept)
    #expect(dGate == dGateKept && dUp == dUpKept)
    for i in 0..<count {
      let (g, u, d) = (Double(gate[i]), Double(up[i]), Double(gradient[i]))
      let s = 1 / (1 + exp(-g))
      // a few roundings of values below 8 x 8
      #expect(abs(Double(h[i]) - g * s * u) < 2e-5)
      #expect(abs(Double(dGate[i]) - d * u * s * (1 + g * (1 - s))) < 2e-5)
      #expect(abs(Double(dUp[i]) - d * g * s) < 2e-5)
    }
  }
}

@Test(arguments: [KeptMatrix.Format.f32, .bf16, .f16])
func aKeptMatrixIsReadByRows(format: KeptMatrix.Format) {
  let (rows, columns) = (37, 21)
  let pool = ThreadPool(threadCount: 2)
  let memory = Memory(KeptMatrix.byteCount(rows: rows, columns: columns, format: format))
  let kept = KeptMatrix(memory.base, rows: rows, columns: columns, format: format)
  let (x, y) = (Memory(rows * columns * 4), Memory(rows * columns * 4))
  let source = Matrix(x.bind(Float.self), rows: rows, columns: columns)
  for i in 0..<rows * columns { source.base[i] = Float(i % 200) }  // exact in 8 bits of mantissa
  kept.store(source, pool: pool)
  let target = Matrix(y.bind(Float.self), rows: 5, columns: columns)
  kept.rows(30..<35).load(into: target, pool: pool)
  withExtendedLifetime((memory, x, y)) {
    for i in 0..<5 * columns { #expect(target.base[i] == source.base[30 * columns + i]) }
  }
}
