import CKernels
import Foundation
import Kernels
import Testing

private func numbers(_ count: Int, _ generator: inout Generator, shift: Float = 0) -> [Float] {
  (0..<count).map { _ in generator.next() + shift }
}

@Test(arguments: [1, 7, 16, 37, 64, 3000], [false, true]) func layerNormsMatchFP64(count: Int, isPlain: Bool) {
  var generator = Generator()
  // a mean far larger than the deviation, as some columns of trained models have
  let x = numbers(count, &generator, shift: 20)
  let (w, b, dy) = (numbers(count, &generator), numbers(count, &generator), numbers(count, &generator))
  let before = numbers(count, &generator)
  let n = Double(count)
  let mean = x.reduce(0) { $0 + Double($1) } / n
  let variance = x.reduce(0) { $0 + pow(Double($1) - mean, 2) } / n
  let inverse = 1 / (variance + 1e-5).squareRoot()
  let normal = x.map { (Double($0) - mean) * inverse }
  let g = zip(dy, w).map { isPlain ? Double($0) : Double($0) * Double($1) }
  let shift = g.reduce(0, +) / n
  let slope = zip(g, normal).reduce(0) { $0 + $1.0 * $1.1 } / n
  // a float of 20 has an absolute error of 1e-6, which the deviation divides
  let tolerance = 4e-6 * max(1, inverse)
  for table in floatTables() {
    var (y, dx, m) = (x + [7], before + [7], Float(0))
    let inverseFound = y.withUnsafeMutableBufferPointer { y -> Float in
      guard let base = y.baseAddress else { return 0 }
      return table.pointee.layer_norm(count, base, isPlain ? nil : w, isPlain ? nil : b, 1e-5, base, &m)
    }
    table.pointee.layer_norm_backward(count, dy, x, isPlain ? nil : w, m, inverseFound, &dx)
    #expect(abs(Double(m) - mean) < 5e-6)
    #expect(abs(Double(inverseFound) / inverse - 1) < 2e-5)
    #expect(y[count] == 7 && dx[count] == 7, "what lies behind the row stays")
    for i in 0..<count {
      let expected = isPlain ? normal[i] : normal[i] * Double(w[i]) + Double(b[i])
      #expect(abs(Double(y[i]) - expected) < tolerance)
      let gradient = Double(before[i]) + inverse * (g[i] - shift - normal[i] * slope)
      #expect(abs(Double(dx[i]) - gradient) < tolerance * max(1, inverse))
    }
  }
}

@Test(arguments: [8, 40, 64, 128]) func normsOfHeadsAreThoseOfRows(size: Int) {
  let (rows, heads) = (21, 3)
  let stride = 2 * size + 3
  let pool = ThreadPool(threadCount: 3)
  var generator = Generator()
  func matrix(_ rows: Int, _ columns: Int) -> (Matrix, Memory) {
    let memory = Memory(rows * columns * 4)
    let x = Matrix(memory.bind(Float.self), rows: rows, columns: columns)
    for i in 0..<rows * columns { x.base[i] = generator.next() }
    return (x, memory)
  }
  let (x, dy) = (matrix(rows, heads * stride), matrix(rows, heads * stride))
  let (raw, inverse) = (matrix(rows, heads * size), matrix(rows, heads))
  func view(_ x: Matrix) -> HeadMatrix { HeadMatrix(x, size: size, count: heads, offset: 2, stride: stride) }
  let weight = matrix(1, size)
  VectorOperations.copy(view(x.0), into: HeadMatrix(raw.0, size: size), pool: pool)
  let untouched = (0..<rows).map { x.0.row($0).values }
  let gradient = (0..<rows).map { dy.0.row($0).values }
  VectorOperations.rmsNorm(
    view(x.0), weight: weight.0.elements, epsilon: 1e-6, keeping: inverse.0, pool: pool)
  let memory = Memory(rows * heads * size * 2)
  let halves = KeptMatrix(memory.base, rows: rows, columns: heads * size, format: .f16)
  halves.store(raw.0, pool: pool)
  let ofHalves = matrix(rows, heads * stride)
  VectorOperations.copy(dy.0, into: ofHalves.0, pool: pool)
  let ofHeads = matrix(rows, heads * stride)
  VectorOperations.copy(dy.0, into: ofHeads.0, pool: pool)
  VectorOperations.rmsNormBackward(
    view(dy.0), x: KeptMatrix(raw.0.base, rows: rows, columns: heads * size, format: .f32),
    weight: weight.0.elements, inverseRMS: inverse.0, pool: pool)
  VectorOperations.rmsNormBackward(
    view(ofHalves.0), x: halves, weight: weight.0.elements, inverseRMS: inverse.0, pool: pool)
  VectorOperations.rmsNormBackward(
    view(ofHeads.0), x: HeadMatrix(raw.0, size: size), weight: weight.0.elements, inverseRMS: inverse.0, pool: pool)
  let w = weight.0.elements.values
  for row in 0..<rows {
    #expect(ofHeads.0.row(row).values == dy.0.row(row).values)
    for column in 0..<heads * stride where (column - 2) % stride >= size || column < 2 {
      #expect(x.0.row(row)[column] == untouched[row][column] && dy.0.row(row)[column] == gradient[row][column])
    }
    for head in 0..<heads {
      let first = 2 + head * stride
      let values = untouched[row][first..<first + size].map(Double.init)
      let factor = 1 / (values.reduce(0) { $0 + $1 * $1 } / Double(size) + 1e-6).squareRoot()
      let g = (0..<size).map { Double(gradient[row][first + $0]) * Double(w[$0]) }
      let mean = (0..<size).reduce(0) { $0 + g[$1] * values[$1] * factor } / Double(size)
      #expect(abs(Double(inverse.0.row(row)[head]) / factor - 1) < 1e-6)
      for i in 0..<size {
        let normed = values[i] * factor * Double(w[i])
        #expect(abs(Double(x.0.row(row)[first + i]) - normed) < 1e-6)
        let expected = factor * (g[i] - values[i] * factor * mean)
        #expect(abs(Double(dy.0.row(row)[first + i]) - expected) < 5e-6)
        // 11 significant bits of what went in
        #expect(abs(Double(ofHalves.0.row(row)[first + i]) - expected) < 5e-3)
      }
    }
  }
  withExtendedLifetime((x, dy, raw, inverse, weight, memory, ofHalves, ofHeads)) {}
}
