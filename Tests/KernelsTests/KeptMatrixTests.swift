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

@Test(arguments: [1, 7, 16, 37])
func gatesAndTheirGradientsMatchFP64(count: Int) {
  var generator = Generator()
  let codes = (0..<2 * count).map { _ in UInt16((generator.next() * 8).bitPattern >> 16) }
  let (gateCodes, upCodes) = (Array(codes[..<count]), Array(codes[count...]))
  func floats(_ codes: [UInt16]) -> [Float] { codes.map { Float(bitPattern: UInt32($0) << 16) } }
  let (gate, up) = (floats(gateCodes), floats(upCodes))
  let gradient = (0..<count).map { _ in generator.next() }
  for table in floatTables() {
    let kernels = table.pointee
    var (h, kept) = (gate, gate)
    h.withUnsafeMutableBufferPointer { h in
      if let base = h.baseAddress { kernels.silu_gate(count, base, up, base) }
    }
    kernels.silu_gate_bfloat(count, gateCodes, upCodes, &kept)
    #expect(h == kept)
    var (dGate, dUp) = (gradient, up)
    kernels.silu_gate_backward(count, gate, up, &dGate, &dUp)
    var (dGateKept, dUpKept) = (gradient, up)
    kernels.silu_gate_backward_bfloat(count, gateCodes, upCodes, &dGateKept, &dUpKept)
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

@Test(arguments: [KeptMatrix.Format.f32, .bf16])
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
