import Foundation

/// bitsandbytes' 4-bit NormalFloat: blocks of 64 elements share their largest magnitude, and each element becomes the
/// nearest of 16 quantiles of the normal distribution.
///
/// Source: Dettmers et al. 2023, arXiv 2305.14314; operations in the order of bitsandbytes, so that the bytes agree.
public enum NF4Codec {
  public static let blockSize = 64
  public static let nestedBlockSize = 256

  /// Values of the 16 codes.
  public static let codebook: [Float] = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
  ]

  private static let bounds: [Float] = zip(codebook, codebook.dropFirst()).map { ($0 + $1) / 2 }

  /// Quantises whole blocks.
  ///
  /// - Parameters:
  ///   - values: a multiple of `blockSize` elements
  ///   - packed: half as many bytes, the first element of a pair in the high nibble
  ///   - absmax: one for each block
  static func quantize(
    _ values: UnsafeBufferPointer<Float>, packed: UnsafeMutableBufferPointer<UInt8>,
    absmax: UnsafeMutableBufferPointer<Float>
  ) {
    for block in 0..<values.count / blockSize {
      let start = block * blockSize
      var largest: Float = 0
      for index in start..<start + blockSize { largest = max(largest, abs(values[index])) }
      absmax[block] = largest
      let inverse = 1 / max(largest, 1e-38)
      for index in stride(from: start, to: start + blockSize, by: 2) {
        packed[index / 2] = code(values[index] * inverse) << 4 | code(values[index + 1] * inverse)
      }
    }
  }

  /// The number of bounds below `value`.
  private static func code(_ value: Float) -> UInt8 {
    var low = 0
    for step in [8, 4, 2, 1] where bounds[low + step - 1] < value { low += step }
    return UInt8(low)
  }

  /// Block maxima in 8 bits of their own.
  struct NestedAbsmax {
    let codes: [UInt8]
    let absmax: [Float]
    let offset: Float
  }

  /// Double quantisation: the mean is taken off, then blocks of 256 share their largest magnitude.
  static func quantizeAbsmax(_ values: [Float]) -> NestedAbsmax {
    let offset = Float(values.reduce(0) { $0 + Double($1) } / Double(max(values.count, 1)))
    var codes = [UInt8](repeating: 0, count: values.count)
    var absmax: [Float] = []
    for start in stride(from: 0, to: values.count, by: nestedBlockSize) {
      let block = values[start..<min(start + nestedBlockSize, values.count)].map { $0 - offset }
      let largest = block.reduce(0) { max($0, abs($1)) }
      absmax.append(largest)
      let inverse = largest > 0 ? 1 / largest : 0
      for (index, value) in block.enumerated() {
        codes[start + index] = nearestDynamicCode(value * inverse)
      }
    }
    return NestedAbsmax(codes: codes, absmax: absmax, offset: offset)
  }

  /// The signed 8-bit dynamic map: the exponent takes as many bits as it needs, the fraction the rest.
  ///
  /// Source: Dettmers 2015, arXiv 1511.04561.
  static let dynamicMap: [Float] = {
    var values: [Float] = [0, 1]
    for exponent in 0..<7 {
      let count = (1 << exponent) + 1
      let step: Float = (1 - 0.1) / Float(count - 1)
      // from both ends towards the middle with one rounding, as torch.linspace has it
      let boundaries: [Float] = (0..<count).map { (index: Int) -> Float in
        if index < count / 2 { return Float(0.1).addingProduct(step, Float(index)) }
        return Float(1).addingProduct(-step, Float(count - 1 - index))
      }
      let scale = Float(pow(10, Double(exponent - 6)))
      for (low, high) in zip(boundaries, boundaries.dropFirst()) {
        let mean = scale * ((low + high) / 2)
        values.append(mean)
        values.append(-mean)
      }
    }
    return values.sorted()
  }()

  private static func nearestDynamicCode(_ value: Float) -> UInt8 {
    var low = 0
    var high = dynamicMap.count - 1
    while high - low > 1 {
      let middle = (low + high) / 2
      if dynamicMap[middle] <= value { low = middle } else { high = middle }
    }
    return UInt8(value - dynamicMap[low] <= dynamicMap[high] - value ? low : high)
  }
}
