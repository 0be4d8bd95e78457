/// Rows of floats as GGML's blocks. F16, BF16, Q8_0, Q4_0 and Q4_1 are GGML's reference encoders to the bit; Q4_K makes
/// the same search for scales and minima as llama.cpp does without an importance matrix.
///
/// Values are finite: whoever reads weights refuses others.
extension GGMLType {
  /// Types that can be written.
  public static let encodable: [GGMLType] = [.f32, .f16, .bf16, .q80, .q40, .q41, .q4K]

  /// - Parameters:
  ///   - values: whole blocks
  ///   - target: `byteCount(elements:)` bytes
  public func encode(_ values: UnsafeBufferPointer<Float>, into target: UnsafeMutableRawBufferPointer) {
    precondition(
      values.count % blockSize == 0 && target.count >= byteCount(elements: values.count), "whole blocks with room")
    precondition(Self.encodable.contains(self), "\(name) is only read")
    for index in 0..<values.count / blockSize {
      let x = UnsafeBufferPointer(rebasing: values[index * blockSize..<(index + 1) * blockSize])
      let block = UnsafeMutableRawBufferPointer(
        rebasing: target[index * blockByteCount..<(index + 1) * blockByteCount])
      switch self {
      case .f32: block.storeBytes(of: x[0].bitPattern.littleEndian, as: UInt32.self)
      case .f16: block.storeHalf(x[0], 0)
      case .bf16: block.storeBytes(of: HalfPrecision.brainBits(x[0]).littleEndian, as: UInt16.self)
      case .q80: Self.encodeEightBits(x, into: block)
      case .q40: Self.encodeFourBits(x, into: block)
      case .q41: Self.encodeFourBitsWithMinimum(x, into: block)
      default: FourBitGroups.encode(x, into: block)
      }
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

  /// The value of largest magnitude, with its sign, becomes code 0: -8 d.
  private static func encodeFourBits(_ x: UnsafeBufferPointer<Float>, into block: UnsafeMutableRawBufferPointer) {
    var extreme: Float = 0
    for value in x where abs(value) > abs(extreme) { extreme = value }
    let d = extreme / -8
    let inverse = d == 0 ? 0 : 1 / d
    block.storeHalf(d, 0)
    block.storeNibbles(at: 2) { clamped(x[$0] * inverse + 8.5, 0, 15) }
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

/// Q4_K: 256 values in eight groups of 32, `x = d * scale * code - dmin * minimum`, with scale and minimum of 6 bits.
private enum FourBitGroups {
  static func encode(_ x: UnsafeBufferPointer<Float>, into block: UnsafeMutableRawBufferPointer) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 16) { found in
      var largestScale: Float = 0
      var largestMinimum: Float = 0
      for group in 0..<8 {
        let (scale, minimum) = fit(UnsafeBufferPointer(rebasing: x[group * 32..<group * 32 + 32]))
        found[group] = scale
        found[8 + group] = minimum
        largestScale = max(largestScale, scale)
        largestMinimum = max(largestMinimum, minimum)
      }
      let inverseScale = largestScale > 0 ? 63 / largestScale : 0
      let inverseMinimum = largestMinimum > 0 ? 63 / largestMinimum : 0
      block.storeHalf(largestScale / 63, 0)
      block.storeHalf(largestMinimum / 63, 2)
      // As they are read back: what is left of them in 16 bits.
      let d = HalfPrecision.float(HalfPrecision.bits(largestScale / 63))
      let dmin = HalfPrecision.float(HalfPrecision.bits(largestMinimum / 63))
      for place in 4..<16 { block[place] = 0 }
      for group in 0..<8 {
        let scale = clamped((inverseScale * found[group]).rounded(.toNearestOrEven), 0, 63)
        let minimum = clamped((inverseMinimum * found[8 + group]).rounded(.toNearestOrEven), 0, 63)
        if group < 4 {
          block[4 + group] |= UInt8(scale)
          block[8 + group] |= UInt8(minimum)
        } else {
          block[8 + group] |= UInt8(scale & 15 | (minimum & 15) << 4)
          block[group] |= UInt8((scale >> 4) << 6)
          block[4 + group] |= UInt8((minimum >> 4) << 6)
        }
        let groupScale = d * Float(scale)
        let groupMinimum = dmin * Float(minimum)
        for i in 0..<32 {
          let code =
            groupScale == 0
            ? 0 : clamped(((x[group * 32 + i] + groupMinimum) / groupScale).rounded(.toNearestOrEven), 0, 15)
          let place = 16 + group / 2 * 32 + i
          block[place] = group % 2 == 0 ? UInt8(code) : block[place] | UInt8(code << 4)
        }
      }
    }
  }

  /// Scale and minimum (both at least 0) of 32 values `x = scale * code - minimum` of least squared error, where a value
  /// counts by `rms + |x|`.
  ///
  /// Codes come from 21 guesses of the scale around the plain one; each set of codes then gets its best line.
  private static func fit(_ x: UnsafeBufferPointer<Float>) -> (scale: Float, minimum: Float) {
    var squares: Float = 0
    for value in x { squares += value * value }
    let rms = (squares / 32).squareRoot()
    var least = x[0]
    var most = x[0]
    var weightSum: Float = 0
    var weighted: Float = 0
    for value in x {
      least = min(least, value)
      most = max(most, value)
      let weight = rms + abs(value)
      weightSum += weight
      weighted += weight * value
    }
    least = min(least, 0)
    if most == least { return (0, -least) }
    func code(_ value: Float, _ inverse: Float) -> Float {
      Float(clamped((inverse * (value - least)).rounded(.toNearestOrEven), 0, 15))
    }
    func error(_ inverse: Float, _ scale: Float, _ minimum: Float) -> Float {
      var sum: Float = 0
      for value in x {
        let difference = scale * code(value, inverse) + minimum - value
        sum += (rms + abs(value)) * (difference * difference)
      }
      return sum
    }
    let plain = 15 / (most - least)
    var best = (scale: 1 / plain, minimum: least)
    var bestError = error(plain, best.scale, best.minimum)
    for step in 0...20 {
      let inverse = (-1 + 0.1 * Float(step) + 15) / (most - least)
      var codes: Float = 0
      var codeSquares: Float = 0
      var products: Float = 0
      for value in x {
        let weight = rms + abs(value)
        let code = code(value, inverse)
        codes += weight * code
        codeSquares += weight * code * code
        products += weight * code * value
      }
      let determinant = weightSum * codeSquares - codes * codes
      guard determinant > 0 else { continue }
      var scale = (weightSum * products - weighted * codes) / determinant
      var minimum = (codeSquares * weighted - codes * products) / determinant
      if minimum > 0 {
        minimum = 0
        scale = products / codeSquares
      }
      let error = error(inverse, scale, minimum)
      if error < bestError {
        bestError = error
        best = (scale, minimum)
      }
    }
    return (best.scale, -best.minimum)
  }
}
