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
  package static func quantize(
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
}
