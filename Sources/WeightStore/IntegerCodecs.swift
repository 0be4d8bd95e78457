import Formats

/// Symmetric integers with one scale per row, as compressed-tensors' `int-quantized` holds them.
package enum Int8Codec {
  /// - Returns: the row's scale; `codes` gets as many elements as `values`.
  package static func quantize(_ values: UnsafeBufferPointer<Float>, codes: UnsafeMutableBufferPointer<Int8>) -> Float {
    var largest: Float = 0
    for value in values { largest = max(largest, abs(value)) }
    let scale = largest / 127
    let inverse = largest > 0 ? 127 / largest : 0
    for (index, value) in values.enumerated() {
      codes[index] = Int8(max(-127, min(127, (value * inverse).rounded(.toNearestOrEven))))
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
    var extreme: Float = 0
    for value in values where abs(value) > abs(extreme) { extreme = value }
    if extreme == 0 {
      codes.update(repeating: 0)
      return 0
    }
    var best: (error: Float, bits: UInt16) = (.infinity, 0)
    for step in 0..<12 {
      // The side of the largest element may use the code -8, so its range is 8 steps, not 7.
      let bits = HalfPrecision.bits(abs(extreme) / (6.5 + 0.15 * Float(step)))
      let scale = HalfPrecision.float(bits)
      if scale == 0 { continue }
      var error: Float = 0
      for value in values {
        let code = max(-8, min(7, (value / scale).rounded(.toNearestOrEven)))
        let difference = value - code * scale
        error += difference * difference
      }
      if error < best.error { best = (error, bits) }
    }
    let scale = HalfPrecision.float(best.bits)
    for (index, value) in values.enumerated() {
      codes[index] = scale == 0 ? 0 : Int8(max(-8, min(7, (value / scale).rounded(.toNearestOrEven))))
    }
    return best.bits
  }
}
