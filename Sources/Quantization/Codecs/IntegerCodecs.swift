import Formats

/// Symmetric integers with one scale per row, as compressed-tensors' `int-quantized` holds them.
package enum Int8Codec {
  /// - Returns: the row's scale; `codes` gets as many elements as `values`.
  package static func quantize(_ values: UnsafeBufferPointer<Float>, codes: UnsafeMutableBufferPointer<Int8>) -> Float {
    let largest = largestMagnitude(values)
    let scale = largest / 127
    let inverse = largest > 0 ? 127 / largest : 0
    for (index, value) in values.enumerated() {
      codes[index] = Int8(max(-127, min(127, nearest(value * inverse))))
    }
    return scale
  }
}

/// Symmetric 4-bit integers with a half-precision scale per group, as compressed-tensors' `pack-quantized` holds them.
package enum Int4Codec {
  /// Quantises one group and returns the bits of its scale; `codes` are -8 ... 7.
  ///
  /// The scale is searched for the least squared error, because with 16 levels the largest element is rarely worth
  /// its full range.
  package static func quantize(_ values: UnsafeBufferPointer<Float>, codes: UnsafeMutableBufferPointer<Int8>) -> UInt16
  {
    let largest = largestMagnitude(values)
    if largest == 0 {
      codes.update(repeating: 0)
      return 0
    }
    // What stays where every scale is zero or infinite; an infinite one is refused by whoever looks at the error.
    var best: (error: Float, bits: UInt16) = (.infinity, HalfPrecision.bits(largest / 8))
    for step in 0..<12 {
      // The side of the largest element may use the code -8, so its range is 8 steps, not 7.
      let bits = HalfPrecision.bits(largest / (6.5 + 0.15 * Float(step)))
      let scale = HalfPrecision.float(bits)
      if scale == 0 { continue }
      let error = squaredError(values, scale: scale)
      if error < best.error { best = (error, bits) }
    }
    let scale = HalfPrecision.float(best.bits)
    for (index, value) in values.enumerated() {
      codes[index] = scale == 0 ? 0 : Int8(max(-8, min(7, nearest(value / scale))))
    }
    return best.bits
  }

  /// What rounding to multiples of `scale` costs; groups are whole vectors of 8.
  private static func squaredError(_ values: UnsafeBufferPointer<Float>, scale: Float) -> Float {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: values.count) { squares in
      for index in 0..<values.count {
        var code = nearest(values[index] / scale)
        code = code < -8 ? -8 : code
        code = code > 7 ? 7 : code
        let difference = values[index] - code * scale
        squares[index] = difference * difference
      }
      let bytes = UnsafeRawBufferPointer(squares)
      var sum = SIMD8<Float>()
      for offset in stride(from: 0, to: bytes.count, by: 32) {
        sum += bytes.loadUnaligned(fromByteOffset: offset, as: SIMD8<Float>.self)
      }
      return sum.sum()
    }
  }
}

/// Added and taken off again, it leaves the nearest whole number, ties to even, of anything below 2^22: processors without
/// an instruction for rounding would call a function for each element.
private let roundingNumber: Float = 0x1.8p23

/// The nearest whole number, ties to even; `value` is below 2^22.
private func nearest(_ value: Float) -> Float { (value + roundingNumber) - roundingNumber }

/// The largest magnitude of any number of finite values.
func largestMagnitude(_ values: UnsafeBufferPointer<Float>) -> Float {
  // Magnitudes are ordered as their bits are, and whole numbers are compared as vectors.
  var largest: UInt32 = 0
  for index in 0..<values.count {
    let magnitude = values[index].bitPattern & 0x7FFF_FFFF
    largest = magnitude > largest ? magnitude : largest
  }
  return Float(bitPattern: largest)
}
