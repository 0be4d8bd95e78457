import Formats
import Foundation
import Testing

/// Encoders whose scales are searched: what counts is what is read back.
@Suite struct GGMLEncoderTests {
  /// What an encoder's bytes say.
  private func decoded(_ type: GGMLType, _ values: [Float]) -> [Float] {
    var bytes = [UInt8](repeating: 0xAA, count: type.byteCount(elements: values.count))
    values.withUnsafeBufferPointer { values in bytes.withUnsafeMutableBytes { type.encode(values, into: $0) } }
    return decoded(type, bytes: bytes)
  }

  private func decoded(_ type: GGMLType, bytes: [UInt8]) -> [Float] {
    var back = [Float](repeating: .nan, count: bytes.count / type.blockByteCount * type.blockSize)
    bytes.withUnsafeBytes { bytes in back.withUnsafeMutableBufferPointer { type.dequantize(bytes, into: $0) } }
    return back
  }

  /// Root of the squared error, relative to that of the values.
  private func error(_ values: [Float], _ back: [Float]) -> Double {
    var (sum, squares) = (0.0, 0.0)
    for (x, y) in zip(values, back) {
      sum += pow(Double(x) - Double(y), 2)
      squares += Double(x) * Double(x)
    }
    return squares == 0 ? sum : (sum / squares).squareRoot()
  }

  private func error(_ type: GGMLType, _ values: [Float]) -> Double { error(values, decoded(type, values)) }

  private static let searched: [GGMLType] = [.q4K, .q6K, .q50, .q40]

  /// Rows of `Tools/golden/formats.py`, each of another distribution. Theirs is without an importance matrix, as ours is.
  @Test(arguments: searched)
  func noRowIsFurtherOffThanLlamaCppsOwn(type: GGMLType) throws {
    let file = try SafetensorsFile(path: "\(golden)/ggml-searched.safetensors")
    let tensor = try #require(file.tensor("rows"))
    let rows = tensor.floats()
    let theirs = decoded(type, bytes: Array(try #require(file.tensor(type.name)).bytes))
    let columns = tensor.shape[1]
    var (ourSum, theirSum) = (0.0, 0.0)
    for row in 0..<tensor.shape[0] {
      let range = row * columns..<(row + 1) * columns
      let values = Array(rows[range])
      let (mine, other) = (error(type, values), error(values, Array(theirs[range])))
      #expect(mine <= other, "row \(row): \(mine) against \(other)")
      ourSum += mine
      theirSum += other
    }
    #expect(ourSum < 0.985 * theirSum, "\(ourSum) against \(theirSum)")
  }

  /// Figures of the normal distribution: what so many bits can reach.
  @Test func errorsAreThoseThatTheBitsAllow() {
    var generator = Generator(state: 3)
    let values = (0..<256 * 64).map { _ in generator.normal() * 0.02 }
    let plain = error(.q40, values)
    let groups = error(.q4K, values)
    #expect(groups < 0.073 && groups > 0.06, "\(groups)")
    #expect(groups < plain * 0.9, "\(groups) against \(plain)")
    let five = error(.q50, values)
    #expect(five < 0.043 && five > 0.03, "\(five)")
    let six = error(.q6K, values)
    #expect(six < 0.018 && six > 0.012, "\(six)")
    #expect(error(.q80, values) < 0.006)
  }

  @Test func rowsWithoutSpreadAreEncoded() {
    for value: Float in [0, 1, -1, 1e-30, 3e4] {
      let values = [Float](repeating: value, count: 256)
      for type in GGMLType.encodable {
        let error = value == 0 ? 0 : error(type, values)
        // 1e-30 is below the smallest half.
        #expect(error < 0.002 || (value == 1e-30 && error == 1), "\(type.name) of \(value): \(error)")
      }
    }
  }

  @Test(arguments: searched)
  func rowsOfZerosAreZeros(type: GGMLType) {
    #expect(decoded(type, [Float](repeating: 0, count: 512)).allSatisfy { $0 == 0 })
  }

  /// One value decides the steps of its group, and of all groups of a block through their common scale.
  @Test(arguments: searched)
  func oneHugeValueStaysAndTheOthersAreSmall(type: GGMLType) {
    var generator = Generator(state: 8)
    var values = (0..<256).map { _ in generator.normal() * 0.02 }
    values[70] = -1000
    let back = decoded(type, values)
    #expect(abs(back[70] + 1000) < 5)
    for index in 0..<256 where index != 70 { #expect(abs(back[index]) < 80) }
  }

  /// Below 1.2e-4 a 127th of a scale is no half any more, though a block could still say the values.
  @Test(arguments: searched)
  func valuesWithScalesAmongTheSubnormalHalvesKeepWhatTheyCan(type: GGMLType) {
    var generator = Generator(state: 9)
    let values = (0..<1024).map { _ in generator.normal() * 4e-6 }
    let back = decoded(type, values)
    for (x, y) in zip(values, back) { #expect(abs(x - y) < 4e-6) }
    #expect(error(values, back) < 0.2)
  }

  /// A half has no more than 65504; a scale that would be infinite makes numbers of nothing else.
  @Test(arguments: searched)
  func whatIsTooLargeForAScaleIsTheLargestThatThereIs(type: GGMLType) {
    for value: Float in [1e7, 1e12, .greatestFiniteMagnitude] {
      let values = (0..<256).map { (index: Int) -> Float in
        if index % 3 == 0 { return value }
        return -value / Float(1 + index)
      }
      let back = decoded(type, values)
      let areFinite = back.allSatisfy { $0.isFinite }
      #expect(areFinite, "\(value)")
      let haveSigns = zip(values, back).allSatisfy { (x: Float, y: Float) -> Bool in x * y >= 0 || abs(x) < value / 8 }
      #expect(haveSigns, "\(value)")
      let largest = back.reduce(0) { max($0, abs($1)) }
      #expect(largest > 5e5, "\(value)")
    }
  }

  @Test(arguments: searched)
  func subnormalFloatsAreNothing(type: GGMLType) {
    let values = (0..<256).map { Float(bitPattern: UInt32($0)) }
    #expect(decoded(type, values).allSatisfy { $0 == 0 })
  }

  /// What is on a grid of the format stays where it is.
  @Test func valuesOfAGridComeBack() {
    func grid(_ levels: Int, from lowest: Float, step: Float) -> [Float] {
      (0..<256).map { (index: Int) -> Float in
        let code = index * 37 % levels
        return lowest + step * Float(code)
      }
    }
    #expect(error(.q4K, grid(16, from: -3, step: 0.5)) < 2e-3)
    #expect(error(.q50, grid(32, from: -16, step: 1)) < 1e-3)
    // Each group has the outermost code, or a finer grid would do.
    var wide = grid(64, from: -32, step: 1)
    for index in stride(from: 3, to: 256, by: 16) { wide[index] = -32 }
    #expect(error(.q6K, wide) < 2e-3)
  }
}
