import Foundation
import Kernels
import Testing

/// Pairs turn by position and frequency, the rest of a head stays, and what lies between heads too.
@Test(arguments: [1, 4, 12], [false, true]) func pairsOfAHeadTurn(pairs: Int, hasLong: Bool) {
  let (size, heads, stride, offset) = (24, 3, 31, 5)
  let columns = offset + heads * stride
  let frequencies = (0..<pairs).map { 1 / pow(100, Double($0) / Double(pairs)) }
  let long = RotaryEmbedding.Long(frequencies: frequencies.map { $0 / 3 }, factor: 1.25, originalPositions: 6)
  let tableCount = RotaryEmbedding.tableCount(frequencyCount: pairs, positionCount: 9, hasLong: hasLong)
  let (tableMemory, memory) = (Memory(tableCount * 4), Memory(15 * columns * 4))
  let rotary = RotaryEmbedding(
    frequencies: frequencies, attentionFactor: 1.5, long: hasLong ? long : nil, positionCount: 9,
    table: Vector(tableMemory.bind(Float.self), count: tableCount))
  rotary.prepare()
  // a sample of as many tokens as the model was made for, and a longer one
  let lengths = [Int32](repeating: 6, count: 6) + [Int32](repeating: 9, count: 9)
  let positions = (0..<6).map { Int32($0) } + (0..<9).map { Int32($0) }
  var generator = Generator()
  let x = Matrix(memory.bind(Float.self), rows: 15, columns: columns)
  for i in 0..<15 * columns { x.base[i] = generator.next() }
  let before = (0..<15).map { x.row($0).values }
  let view = HeadMatrix(x, size: size, count: heads, offset: offset, stride: stride)
  let pool = ThreadPool(threadCount: 2)
  rotary.apply(to: view, positions: positions, sampleLengths: hasLong ? lengths : nil, pool: pool)
  for row in 0..<15 {
    let isLong = hasLong && lengths[row] > 6
    var expected = before[row].map(Double.init)
    for head in 0..<heads {
      for pair in 0..<pairs {
        let angle = Double(positions[row]) * frequencies[pair] / (isLong ? 3 : 1)
        let first = offset + head * stride + pair
        let (a, b) = (Double(before[row][first]), Double(before[row][first + pairs]))
        let factor = isLong ? 1.25 : 1.5
        expected[first] = factor * (a * cos(angle) - b * sin(angle))
        expected[first + pairs] = factor * (b * cos(angle) + a * sin(angle))
      }
    }
    for (a, b) in zip(x.row(row).values.map(Double.init), expected) { #expect(abs(a - b) < 2e-6) }
  }
  // The transposed turn: back where it was, times the square of the factor.
  rotary.applyInverse(to: view, positions: positions, sampleLengths: hasLong ? lengths : nil, pool: pool)
  for row in 0..<15 {
    let factor: Float = hasLong && lengths[row] > 6 ? 1.25 : 1.5
    for head in 0..<heads {
      for column in 0..<size {
        let place = offset + head * stride + column
        let expected = before[row][place] * (column < 2 * pairs ? factor * factor : 1)
        #expect(abs(x.row(row)[place] - expected) < 3e-6)
      }
    }
  }
  withExtendedLifetime((tableMemory, memory)) {}
}
