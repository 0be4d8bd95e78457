/// The 8-bit dynamic map: 256 values up to 1, ascending. The exponent takes as many bits as it needs, the fraction the
/// rest, so that small values are kept nearly as well, relative to themselves, as large ones.
///
/// Source: Dettmers 2015, arXiv 1511.04561; to the bit bitsandbytes' `create_dynamic_map`.
public struct DynamicMap: Sendable {
  /// Value of each code.
  public let values: [Float]
  /// The middle between each value and the next, 255 of them.
  public let middles: [Float]

  /// From -1 (not included) to 1.
  public static let signed = DynamicMap(isSigned: true)
  /// From 0 to 1, with twice the fraction.
  public static let unsigned = DynamicMap(isSigned: false)

  private init(isSigned: Bool) {
    let scales: [Float] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]
    var values: [Float] = [0, 1]
    for (exponent, scale) in scales.enumerated() {
      let steps = isSigned ? 1 << exponent : 2 << exponent
      let step: Float = (1 - 0.1) / Float(steps)
      // Points from 0.1 to 1, computed from the nearer end as PyTorch's `linspace` does, with one rounding.
      let points: [Float] = (0...steps).map { (index: Int) -> Float in
        if index < (steps + 1) / 2 { return Float(0.1).addingProduct(step, Float(index)) }
        return Float(1).addingProduct(-step, Float(steps - index))
      }
      for (low, high) in zip(points, points.dropFirst()) {
        let value = scale * ((low + high) / 2)
        values.append(value)
        if isSigned { values.append(-value) }
      }
    }
    values.sort()
    self.values = values
    middles = zip(values, values.dropFirst()).map { ($0 + $1) / 2 }
  }

  /// Code of the value that is nearest to `value`, the lower of two; a binary search without branches.
  /// - Parameter middles: those of the map, 255
  @inline(__always) static func code(of value: Float, middles: UnsafePointer<Float>) -> UInt8 {
    var code = 0
    var step = 128
    while step > 0 {
      code += middles[code + step - 1] < value ? step : 0
      step /= 2
    }
    return UInt8(truncatingIfNeeded: code)
  }
}
