/// Floats of GGML's blocks. The order of the fp32 operations is that of the `gguf` Python package, so the bits are too.
///
/// Source of the layouts: `ggml-common.h` and `ggml-quants.c` in ggml-org/ggml.
extension GGMLType {
  /// Floats of whole blocks.
  public func dequantize(_ bytes: UnsafeRawBufferPointer, into target: UnsafeMutableBufferPointer<Float>) {
    let blocks = target.count / blockSize
    precondition(target.count % blockSize == 0 && bytes.count >= blocks * blockByteCount, "whole blocks")
    for index in 0..<blocks {
      let block = UnsafeRawBufferPointer(rebasing: bytes[index * blockByteCount..<(index + 1) * blockByteCount])
      let out = UnsafeMutableBufferPointer(rebasing: target[index * blockSize..<(index + 1) * blockSize])
      switch self {
      case .f32: out[0] = Float(bitPattern: UInt32(littleEndian: block.loadUnaligned(as: UInt32.self)))
      case .f16: out[0] = block.half(0)
      case .bf16: out[0] = Float(bitPattern: UInt32(UInt16(littleEndian: block.loadUnaligned(as: UInt16.self))) << 16)
      case .q80: Self.scaled(by: block.half(0), out) { Int(Int8(bitPattern: block[2 + $0])) }
      case .q40: Self.scaled(by: block.half(0), out) { block.nibble(2, $0) - 8 }
      case .q50: Self.scaled(by: block.half(0), out) { (block.nibble(6, $0) | block.fifthBit(2, $0)) - 16 }
      case .iq4NL: Self.scaled(by: block.half(0), out) { Int(fourBitLevels[block.nibble(2, $0)]) }
      case .mxfp4: Self.scaled(by: Self.halfPowerOfTwo(block[0]), out) { Int(fourBitFloats[block.nibble(1, $0)]) }
      case .q41: Self.scaled(by: block.half(0), plus: block.half(2), out) { block.nibble(4, $0) }
      case .q51:
        Self.scaled(by: block.half(0), plus: block.half(2), out) { block.nibble(8, $0) | block.fifthBit(4, $0) }
      case .q2K: Self.dequantizeTwoBits(block, into: out)
      case .q3K: Self.dequantizeThreeBits(block, into: out)
      case .q4K, .q5K: Self.dequantizeWithMinima(block, fiveBits: self == .q5K, into: out)
      case .q6K: Self.dequantizeSixBits(block, into: out)
      case .iq4XS: Self.dequantizeLevelsInGroups(block, into: out)
      case .nvfp4: Self.dequantizeFloatsInGroups(block, into: out)
      case .tq10: Self.dequantizeBaseThree(block, into: out)
      case .tq20: Self.scaled(by: block.half(64), out) { block.twoBits(0, $0) - 1 }
      }
    }
  }

  @inline(__always)
  private static func scaled(by d: Float, _ out: UnsafeMutableBufferPointer<Float>, _ code: (Int) -> Int) {
    for i in 0..<out.count { out[i] = d * Float(code(i)) }
  }

  @inline(__always)
  private static func scaled(
    by d: Float, plus minimum: Float, _ out: UnsafeMutableBufferPointer<Float>, _ code: (Int) -> Int
  ) {
    for i in 0..<out.count { out[i] = d * Float(code(i)) + minimum }
  }

  /// Half of the power of two that an exponent byte (E8M0) stands for: the levels it scales are doubled.
  private static func halfPowerOfTwo(_ exponent: UInt8) -> Float {
    Float(bitPattern: exponent < 2 ? 0x0020_0000 << UInt32(exponent) : UInt32(exponent - 1) << 23)
  }

  /// Half of an unsigned float of four exponent and three mantissa bits.
  private static func halfSmallFloat(_ byte: UInt8) -> Float {
    if byte == 0 || byte == 0x7F { return 0 }
    let exponent = Int(byte >> 3 & 15)
    let mantissa = Float(byte & 7)
    if exponent == 0 { return mantissa * 0x1p-9 * 0.5 }
    return (1 + mantissa / 8) * Float(sign: .plus, exponent: exponent - 7, significand: 1) * 0.5
  }

  /// Sixteen groups of 16, each with a 4-bit scale and a 4-bit minimum.
  private static func dequantizeTwoBits(_ block: UnsafeRawBufferPointer, into out: UnsafeMutableBufferPointer<Float>) {
    let d = block.half(80)
    let dmin = block.half(82)
    for group in 0..<16 {
      let scale = d * Float(block[group] & 15)
      let minimum = dmin * Float(block[group] >> 4)
      for index in group * 16..<group * 16 + 16 { out[index] = scale * Float(block.twoBits(16, index)) - minimum }
    }
  }

  /// Sixteen groups of 16 with a 6-bit scale; the third bit of a code is in a mask of its own, where it is inverted.
  private static func dequantizeThreeBits(_ block: UnsafeRawBufferPointer, into out: UnsafeMutableBufferPointer<Float>)
  {
    let d = block.half(108)
    for group in 0..<16 {
      let low = Int(block[96 + group % 8] >> (4 * UInt8(group / 8)) & 15)
      let high = Int(block[104 + group % 4] >> (2 * UInt8(group / 4)) & 3)
      let scale = d * Float((low | high << 4) - 32)
      for index in group * 16..<group * 16 + 16 {
        let isHigh = block[index % 32] >> UInt8(index / 32) & 1 == 1
        out[index] = scale * Float(block.twoBits(32, index) - (isHigh ? 0 : 4))
      }
    }
  }

  /// Eight groups of 32, each with a 6-bit scale and a 6-bit minimum.
  private static func dequantizeWithMinima(
    _ block: UnsafeRawBufferPointer, fiveBits: Bool, into out: UnsafeMutableBufferPointer<Float>
  ) {
    let d = block.half(0)
    let dmin = block.half(2)
    let quants = fiveBits ? 48 : 16
    for group in 0..<8 {
      let scale: Int
      let minimum: Int
      if group < 4 {
        scale = Int(block[4 + group] & 0x3F)
        minimum = Int(block[8 + group] & 0x3F)
      } else {
        scale = Int(block[8 + group] & 0x0F) | Int(block[group] >> 6) << 4
        minimum = Int(block[8 + group] >> 4) | Int(block[4 + group] >> 6) << 4
      }
      let groupScale = d * Float(scale)
      let groupMinimum = dmin * Float(minimum)
      for i in 0..<32 {
        var code = Int(block[quants + group / 2 * 32 + i] >> (group % 2 == 0 ? 0 : 4) & 0x0F)
        if fiveBits { code |= Int(block[16 + i] >> group & 1) << 4 }
        out[group * 32 + i] = groupScale * Float(code) - groupMinimum
      }
    }
  }

  /// Sixteen groups of 16 with an 8-bit scale.
  private static func dequantizeSixBits(_ block: UnsafeRawBufferPointer, into out: UnsafeMutableBufferPointer<Float>) {
    let d = block.half(208)
    for index in 0..<256 {
      let half = index / 128
      let quarter = index % 128 / 32
      let i = index % 32
      let low = Int(block[half * 64 + quarter % 2 * 32 + i] >> (quarter < 2 ? 0 : 4) & 0x0F)
      let high = Int(block[128 + half * 32 + i] >> (2 * quarter) & 3)
      let scale = d * Float(Int8(bitPattern: block[192 + index / 16]))
      out[index] = scale * Float((low | high << 4) - 32)
    }
  }

  /// Eight groups of 32 levels with a 6-bit scale.
  private static func dequantizeLevelsInGroups(
    _ block: UnsafeRawBufferPointer, into out: UnsafeMutableBufferPointer<Float>
  ) {
    let d = block.half(0)
    let highs = UInt16(littleEndian: block.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    for group in 0..<8 {
      let low = Int(block[4 + group / 2] >> (4 * UInt8(group % 2)) & 15)
      let scale = d * Float((low | Int(highs >> (2 * UInt16(group)) & 3) << 4) - 32)
      for i in 0..<32 { out[group * 32 + i] = scale * Float(fourBitLevels[block.nibble(8 + group * 16, i)]) }
    }
  }

  /// Four groups of 16 four-bit floats, each with a scale of eight bits.
  private static func dequantizeFloatsInGroups(
    _ block: UnsafeRawBufferPointer, into out: UnsafeMutableBufferPointer<Float>
  ) {
    for group in 0..<4 {
      let scale = halfSmallFloat(block[group])
      for i in 0..<16 {
        let byte = block[4 + group * 8 + i % 8]
        out[group * 16 + i] = scale * Float(fourBitFloats[Int(i < 8 ? byte & 15 : byte >> 4)])
      }
    }
  }

  /// Digits of base three, five in a byte (four in the last four bytes), the first one the most significant.
  private static func dequantizeBaseThree(_ block: UnsafeRawBufferPointer, into out: UnsafeMutableBufferPointer<Float>)
  {
    let d = block.half(52)
    let powers: [UInt8] = [1, 3, 9, 27, 81]
    for (start, first, bytes) in [(0, 0, 32), (160, 32, 16), (240, 48, 4)] {
      for digit in 0..<(bytes == 4 ? 4 : 5) {
        for i in 0..<bytes {
          let rest = block[first + i] &* powers[digit]
          out[start + digit * bytes + i] = d * Float(((Int(rest) * 3) >> 8) - 1)
        }
      }
    }
  }
}

/// The levels of IQ4_NL and IQ4_XS.
private let fourBitLevels: [Int8] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
/// Twice the values of a float with two exponent bits and one mantissa bit.
private let fourBitFloats: [Int8] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]

extension UnsafeRawBufferPointer {
  fileprivate func half(_ offset: Int) -> Float {
    HalfPrecision.float(UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
  }

  /// Element `i` of 32: the low nibbles hold the first 16, the high ones the rest.
  fileprivate func nibble(_ offset: Int, _ i: Int) -> Int {
    Int(i < 16 ? self[offset + i] & 15 : self[offset + i - 16] >> 4)
  }

  fileprivate func fifthBit(_ offset: Int, _ i: Int) -> Int { Int(self[offset + i / 8] >> (i % 8) & 1) << 4 }

  /// Element `i` of 256: 32 bytes hold 128 elements, those of one shift side by side.
  fileprivate func twoBits(_ offset: Int, _ i: Int) -> Int {
    Int(self[offset + i / 128 * 32 + i % 32] >> (2 * UInt8(i % 128 / 32)) & 3)
  }
}
