import CKernels
import Foundation
import Kernels
import Testing

/// An activation and its derivative in fp64.
private func exact(_ activation: Activation, _ x: Double) -> (value: Double, slope: Double) {
  switch activation {
  case .silu:
    let s = 1 / (1 + exp(-x))
    return (x * s, s * (1 + x * (1 - s)))
  case .gelu:
    let share = 0.5 * erfc(-x / 2.0.squareRoot())
    return (x * share, share + x * exp(-x * x / 2) / (2 * Double.pi).squareRoot())
  case .geluTanh:
    let (c, u) = ((2 / Double.pi).squareRoot(), (2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))
    let s = 1 / (1 + exp(-2 * u))
    return (x * s, s + x * s * (1 - s) * 2 * c * (1 + 3 * 0.044715 * x * x))
  case .relu: return x > 0 ? (x, 1) : (0, 0)
  case .tanh: return (tanh(x), 1 / (cosh(x) * cosh(x)))
  }
}

private func table(_ kernels: el_float_kernels, _ activation: Activation) -> el_activation {
  switch activation {
  case .silu: kernels.silu.pointee
  case .gelu: kernels.gelu.pointee
  case .geluTanh: kernels.gelu_tanh.pointee
  case .relu: kernels.relu.pointee
  case .tanh: kernels.tanh.pointee
  }
}

@Test(arguments: Activation.allCases) func activationsMatchFP64(activation: Activation) {
  // dense around 0, and as far as values get; in steps that are no multiple of a vector
  let x = (0...20_003).map { Float($0 - 10_000) / 1000 } + [-40, 40, -1e4, 1e4, -1e20, 1e20, 1e-6, -1e-6, 0]
  let ones = [Float](repeating: 1, count: x.count)
  for floats in floatTables() {
    let kernels = table(floats.pointee, activation)
    var (value, slope) = (x, ones)
    kernels.alone(x.count, x, &value)
    kernels.backward(x.count, x, &slope)
    for i in x.indices where abs(x[i]) < 1e5 {
      let expected = exact(activation, Double(x[i]))
      // What is far below 1 is a share of an exponential, whose argument is rounded; it ends at 1e-38.
      let tail = 2e-6 * max(1, abs(Double(x[i])))
      let (valueError, slopeError) = (abs(Double(value[i]) - expected.value), abs(Double(slope[i]) - expected.slope))
      let (valueLimit, slopeLimit) = (tail * abs(expected.value) + 1e-34, 1e-6 + 1e-6 * abs(expected.slope))
      #expect(valueError <= valueLimit, "value at \(x[i])")
      #expect(slopeError <= slopeLimit, "slope at \(x[i])")
    }
    #expect(value.allSatisfy { $0.isFinite })
    var nan: [Float] = [.nan, 1, .nan]
    kernels.alone(3, nan, &nan)
    #expect(nan[0].isNaN && nan[2].isNaN, "what is no number stays none")
  }
}

@Test(arguments: Activation.allCases, [1, 7, 16, 37]) func gatesAreProductsWithActivations(
  activation: Activation, count: Int
) {
  var generator = Generator()
  let values = (0..<2 * count).map { _ in generator.next() * 8 }
  let gradient = (0..<count).map { _ in generator.next() }
  for floats in floatTables() {
    let kernels = table(floats.pointee, activation)
    var codes = [UInt16](repeating: 0, count: 2 * count)
    var rounded = values
    floats.pointee.to_half(2 * count, values, &codes)
    floats.pointee.from_half(2 * count, codes, &rounded)
    let (gateCodes, upCodes) = (Array(codes[..<count]), Array(codes[count...]))
    let (gate, up) = (Array(rounded[..<count]), Array(rounded[count...]))
    var (h, ofHalves) = ([Float](repeating: 7, count: count + 1), [Float](repeating: 7, count: count + 1))
    kernels.gate(count, gate, up, &h)
    kernels.gate_half(count, gateCodes, upCodes, &ofHalves)
    #expect(h == ofHalves && h[count] == 7, "what lies behind the row stays")
    var (dGate, dUp) = (gradient, [Float](repeating: 0, count: count))
    kernels.gate_backward(count, gate, up, &dGate, &dUp)
    var (dGateHalf, dUpHalf) = (gradient, [Float](repeating: 0, count: count))
    kernels.gate_backward_half(count, gateCodes, upCodes, &dGateHalf, &dUpHalf)
    #expect(dGate == dGateHalf && dUp == dUpHalf)
    var (alone, aloneHalf, dx, dxHalf) = (h, h, gradient, gradient)
    kernels.alone(count, gate, &alone)
    kernels.alone_half(count, gateCodes, &aloneHalf)
    kernels.backward(count, gate, &dx)
    kernels.backward_half(count, gateCodes, &dxHalf)
    #expect(alone == aloneHalf && dx == dxHalf && alone[count] == 7)
    for i in 0..<count {
      let (value, slope) = exact(activation, Double(gate[i]))
      let (d, u) = (Double(gradient[i]), Double(up[i]))
      let found = [h[i], alone[i], dGate[i], dx[i], dUp[i]].map(Double.init)
      let expected: [Double] = [value * u, value, d * u * slope, d * slope, d * value]
      for (a, b) in zip(found, expected) { #expect(abs(a - b) < 2e-5) }
    }
  }
}

/// One product makes gate and up side by side; each is a view of its columns.
@Test(arguments: [KeptMatrix.Format.f32, .f16]) func gatesMayBeColumnsOfAWiderMatrix(format: KeptMatrix.Format) {
  let (rows, width) = (19, 37)
  let pool = ThreadPool(threadCount: 2)
  var generator = Generator()
  func matrix(_ columns: Int) -> (Matrix, Memory) {
    let memory = Memory(rows * columns * 4)
    let x = Matrix(memory.bind(Float.self), rows: rows, columns: columns)
    for i in 0..<rows * columns { x.base[i] = generator.next() }
    return (x, memory)
  }
  func kept(_ x: Matrix) -> (KeptMatrix, Memory) {
    let memory = Memory(KeptMatrix.byteCount(rows: x.rows, columns: x.columns, format: format))
    let y = KeptMatrix(memory.base, rows: x.rows, columns: x.columns, format: format)
    y.store(x, pool: pool)
    return (y, memory)
  }
  func elements(_ x: Matrix) -> [[Float]] { (0..<x.rows).map { x.row($0).values } }
  let (both, memory) = matrix(2 * width)
  let (gate, up) = (both.columns(0..<width), both.columns(width..<2 * width))
  let wide = kept(both)
  let (one, two) = (kept(gate), kept(up))
  let (h, other) = (matrix(width), matrix(width))
  Activation.gelu.gate(wide.0.columns(0..<width), up: wide.0.columns(width..<2 * width), into: h.0, pool: pool)
  Activation.gelu.gate(one.0, up: two.0, into: other.0, pool: pool)
  #expect(elements(h.0) == elements(other.0))
  let back = matrix(width)
  wide.0.rows(3..<9).columns(width..<2 * width).load(into: back.0.rows(3..<9), pool: pool)
  two.0.rows(3..<9).load(into: other.0.rows(3..<9), pool: pool)
  #expect(elements(back.0.rows(3..<9)) == elements(other.0.rows(3..<9)))
  let (dh, du) = (matrix(width), matrix(2 * width))
  let (otherDh, otherDu) = (matrix(width), matrix(width))
  VectorOperations.copy(dh.0, into: otherDh.0, pool: pool)
  Activation.gelu.gateBackward(
    dh.0, gate: wide.0.columns(0..<width), up: wide.0.columns(width..<2 * width), into: du.0.columns(width..<2 * width),
    pool: pool)
  Activation.gelu.gateBackward(otherDh.0, gate: one.0, up: two.0, into: otherDu.0, pool: pool)
  #expect(elements(dh.0) == elements(otherDh.0))
  #expect(elements(du.0.columns(width..<2 * width)) == elements(otherDu.0))
  withExtendedLifetime((memory, wide, one, two, h, other, back, dh, du, otherDh, otherDu)) {}
}
