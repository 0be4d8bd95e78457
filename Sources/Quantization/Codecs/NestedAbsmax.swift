import Kernels

/// Block maxima of `NF4Codec` in 8 bits of their own: bitsandbytes' double quantisation.
///
/// The mean is taken off, then blocks of 256 share their largest magnitude, and each quotient becomes a value of
/// the signed dynamic map. Every step follows bitsandbytes on a CPU to the last bit, because a store is judged by its bytes.
///
/// Source: Dettmers et al. 2023, arXiv 2305.14314.
package struct NestedAbsmax {
  package static let blockSize = 256

  /// One for each block maximum.
  package let codes: [UInt8]
  /// One for each 256 block maxima, the last of which may be fewer.
  package let absmax: [Float]
  package let offset: Float

  /// - Parameter values: block maxima, at least one, finite
  package init(_ values: [Float]) {
    let offset = Self.mean(values)
    var codes = [UInt8](repeating: 0, count: values.count)
    var absmax: [Float] = []
    for start in stride(from: 0, to: values.count, by: Self.blockSize) {
      let block = values[start..<min(start + Self.blockSize, values.count)].map { $0 - offset }
      let largest = block.reduce(0) { max($0, abs($1)) }
      absmax.append(largest)
      // All codes of a block of zeros are 0: the scale makes them zeros.
      if largest == 0 { continue }
      let inverse = 1 / largest
      for (index, value) in block.enumerated() { codes[start + index] = Self.code(value * inverse) }
    }
    self.codes = codes
    self.absmax = absmax
    self.offset = offset
  }

  /// Code of each of 65,536 equal steps from -1 to 1: bitsandbytes looks codes up instead of searching the map, so a
  /// value within half a step of the middle between two codes may get either.
  private static let codeOfStep: [UInt8] = {
    let middles = DynamicMap.signed.middles
    var code = 0
    return (0..<65_536).map { (step: Int) -> UInt8 in
      let value: Float = 2 * Float(step) / 65_535 - 1
      while code < 255, middles[code] < value { code += 1 }
      return UInt8(code)
    }
  }()

  /// - Parameter value: -1 ... 1, or beyond by rounding
  private static func code(_ value: Float) -> UInt8 {
    let place = (min(max(value, -1), 1) + 1) * 0.5
    return codeOfStep[Int(Float(0.5).addingProduct(place, 65_535))]
  }

  /// The mean with the sum in PyTorch's order on one thread: 8 vector lanes times 4 rows, each a cascade of partial
  /// sums over four levels. (From 32,768 values on PyTorch's own sum depends on its number of threads.)
  package static func mean(_ values: [Float]) -> Float {
    let lanes = 8
    let rows = 4
    let width = lanes * rows
    let vectors = values.count / lanes
    let steps = vectors / rows
    let levels = 4
    let bits = max(4, ceilingLog2(steps) / levels)
    var sums = [[Float]](repeating: [Float](repeating: 0, count: width), count: levels)
    for step in 0..<steps {
      for place in 0..<width { sums[0][place] += values[step * width + place] }
      let done = step + 1
      for level in 1..<levels where done % (1 << (level * bits)) == 0 {
        for place in 0..<width {
          sums[level][place] += sums[level - 1][place]
          sums[level - 1][place] = 0
        }
      }
    }
    for level in 1..<levels {
      for place in 0..<width { sums[0][place] += sums[level][place] }
    }
    for vector in steps * rows..<vectors {
      for lane in 0..<lanes { sums[0][lane] += values[vector * lanes + lane] }
    }
    for row in 1..<rows {
      for lane in 0..<lanes { sums[0][lane] += sums[0][row * lanes + lane] }
    }
    let rest = values[(vectors * lanes)...].reduce(0, +)
    return sums[0][0..<lanes].reduce(rest, +) / Float(max(values.count, 1))
  }

  private static func ceilingLog2(_ value: Int) -> Int {
    value <= 1 ? 0 : Int.bitWidth - (value - 1).leadingZeroBitCount
  }
}
