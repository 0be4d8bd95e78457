/// Rows of floats as GGML's blocks. F16, BF16, Q8_0 and Q4_1 are GGML's reference encoders to the bit; Q4_0, Q5_0, Q4_K and
/// Q6_K search for scales (`WeightGroup`), so that their bytes are others than llama.cpp's and their errors no larger.
///
/// Values are finite: whoever reads weights refuses others.
extension GGMLType {
  /// Types that can be written.
  public static let encodable: [GGMLType] = [.f32, .f16, .bf16, .q80, .q40, .q41, .q50, .q4K, .q6K]

  /// - Parameters:
  ///   - values: whole blocks
  ///   - target: `byteCount(elements:)` bytes
  public func encode(_ values: UnsafeBufferPointer<Float>, into target: UnsafeMutableRawBufferPointer) {
    precondition(
      values.count % blockSize == 0 && target.count >= byteCount(elements: values.count), "whole blocks with room")
    switch self {
    case .f32:
      eachBlock(values, target) { x, block in block.storeBytes(of: x[0].bitPattern.littleEndian, as: UInt32.self) }
    case .f16: eachBlock(values, target) { x, block in block.storeHalf(x[0], 0) }
    case .bf16:
      eachBlock(values, target) { x, block in
        block.storeBytes(of: HalfPrecision.brainBits(x[0]).littleEndian, as: UInt16.self)
      }
    case .q80: eachBlock(values, target, Self.encodeEightBits)
    case .q40:
      var encoder = FourBitGroup()
      eachBlock(values, target) { encoder.encode($0, into: $1) }
    case .q41: eachBlock(values, target, Self.encodeFourBitsWithMinimum)
    case .q50:
      var encoder = FiveBitGroup()
      eachBlock(values, target) { encoder.encode($0, into: $1) }
    case .q4K:
      var encoder = FourBitGroups()
      eachBlock(values, target) { encoder.encode($0, into: $1) }
    case .q6K:
      var encoder = SixBitGroups()
      eachBlock(values, target) { encoder.encode($0, into: $1) }
    default: preconditionFailure("\(name) is only read")
    }
  }

  @inline(__always)
  private func eachBlock(
    _ values: UnsafeBufferPointer<Float>, _ target: UnsafeMutableRawBufferPointer,
    _ body: (UnsafeBufferPointer<Float>, UnsafeMutableRawBufferPointer) -> Void
  ) {
    for index in 0..<values.count / blockSize {
      body(
        UnsafeBufferPointer(rebasing: values[index * blockSize..<(index + 1) * blockSize]),
        UnsafeMutableRawBufferPointer(rebasing: target[index * blockByteCount..<(index + 1) * blockByteCount]))
    }
  }

  /// `d = max|x| / 127`, codes rounded half away from zero.
  private static func encodeEightBits(_ x: UnsafeBufferPointer<Float>, into block: UnsafeMutableRawBufferPointer) {
    var largest: Float = 0
    for value in x { largest = max(largest, abs(value)) }
    let d = largest / 127
    let inverse = d == 0 ? 0 : 1 / d
    block.storeHalf(d, 0)
    for i in 0..<32 { block[2 + i] = UInt8(bitPattern: Int8(clamped((x[i] * inverse).rounded(), -128, 127))) }
  }

  /// Codes from the smallest value to the largest.
  private static func encodeFourBitsWithMinimum(
    _ x: UnsafeBufferPointer<Float>, into block: UnsafeMutableRawBufferPointer
  ) {
    var least = x[0]
    var most = x[0]
    for value in x {
      least = min(least, value)
      most = max(most, value)
    }
    let d = (most - least) / 15
    let inverse = d == 0 ? 0 : 1 / d
    block.storeHalf(d, 0)
    block.storeHalf(least, 2)
    block.storeNibbles(at: 4) { clamped((x[$0] - least) * inverse + 0.5, 0, 15) }
  }
}

/// The whole part of a number, within bounds; 0 for what is no number.
@inline(__always)
private func clamped(_ value: Float, _ lowest: Int, _ highest: Int) -> Int {
  value.isNaN ? 0 : Int(min(max(value, Float(lowest)), Float(highest)))
}

extension UnsafeMutableRawBufferPointer {
  fileprivate func storeHalf(_ value: Float, _ offset: Int) {
    storeBytes(of: HalfPrecision.bits(value).littleEndian, toByteOffset: offset, as: UInt16.self)
  }

  /// 32 codes in 16 bytes: the low nibbles hold the first 16.
  fileprivate func storeNibbles(at offset: Int, _ code: (Int) -> Int) {
    for i in 0..<16 { self[offset + i] = UInt8(code(i) | code(i + 16) << 4) }
  }
}
