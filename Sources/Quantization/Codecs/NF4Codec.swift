import FoundationEssentials

/// bitsandbytes' 4-bit NormalFloat: blocks of 64 elements share their largest magnitude, and each element becomes the
/// nearest of 16 quantiles of the normal distribution.
///
/// Source: Dettmers et al. 2023, arXiv 2305.14314; operations in the order of bitsandbytes, so that the bytes agree.
public enum NF4Codec {
  public static let blockSize = 64

  /// Values of the 16 codes.
  public static let codebook: [Float] = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
  ]

  /// Where codes meet; nothing is above the last one.
  private static let bounds: [Float] =
    zip(codebook, codebook.dropFirst()).map { ($0 + $1) / 2 } + [.infinity]

  /// Cells of -1 ... 1 that `firstCodes` has. Bounds are twenty cells and more apart, so that one lies in a cell and its
  /// neighbours at most.
  private static let cellCount = 512

  /// The least code of each cell, and of the one before, where rounding may have moved a value from.
  private static let firstCodes: [UInt8] = (0...cellCount).map { cell in
    let low = Float(cell - 1) / Float(cellCount / 2) - 1
    return UInt8(bounds.count { $0 < low })
  }

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
    bounds.withUnsafeBufferPointer { bounds in
      firstCodes.withUnsafeBufferPointer { firstCodes in
        // The number of bounds below `value`, which is -1 ... 1, or beyond by rounding.
        func code(_ value: Float) -> UInt8 {
          let cell = Int((value + 1) * Float(cellCount / 2))
          let first = firstCodes[min(max(cell, 0), cellCount)]
          return first + (bounds[Int(first)] < value ? 1 : 0)
        }
        for block in 0..<values.count / blockSize {
          let part = UnsafeBufferPointer(rebasing: values[block * blockSize..<(block + 1) * blockSize])
          let largest = largestMagnitude(part)
          absmax[block] = largest
          let inverse = 1 / max(largest, 1e-38)
          for pair in 0..<blockSize / 2 {
            packed[block * blockSize / 2 + pair] =
              code(part[2 * pair] * inverse) << 4 | code(part[2 * pair + 1] * inverse)
          }
        }
      }
    }
  }
}
