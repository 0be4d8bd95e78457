/// Encoders of blocks whose scales are searched. Values are divided by a power of two first, so that squares neither
/// overflow nor vanish.

/// Q4_K: 256 values in eight groups of 32, `x = d * scale * code - dmin * minimum`, with scale and minimum of 6 bits.
struct FourBitGroups: ~Copyable {
  private struct Choice {
    var scale = 0
    var minimum = 0
    var sums = WeightGroup.CodeSums()
  }

  private var groups = WeightGroups(count: 8, size: 32)
  private var wishes = [(scale: Float, offset: Float)](repeating: (0, 0), count: 8)
  private var choices = [Choice](repeating: Choice(), count: 8)
  private var others = [Choice](repeating: Choice(), count: 8)

  mutating func encode(_ x: UnsafeBufferPointer<Float>, into block: UnsafeMutableRawBufferPointer) {
    let unit = HalfScale.blockUnit(of: x)
    groups.take(x, times: 1 / unit)
    var (largestScale, largestMinimum): (Float, Float) = (0, 0)
    for index in 0..<8 {
      wishes[index] = groups[index].line(top: 15)
      largestScale = max(largestScale, wishes[index].scale)
      largestMinimum = max(largestMinimum, -wishes[index].offset)
    }
    var d = HalfScale(atLeast: largestScale / 63, unit: unit)
    var dmin = HalfScale(atLeast: largestMinimum / 63, unit: unit)
    var error = choose(d.value, dmin.value)
    // The two halves fit the chosen codes better than what they came from, and other codes may then be nearer.
    for _ in 0..<2 {
      guard let fitted = fitted() else { break }
      let (nextD, nextMinimum) = (HalfScale(fitted.d, unit: unit), HalfScale(fitted.dmin, unit: unit))
      swap(&choices, &others)
      let next = choose(nextD.value, nextMinimum.value)
      guard next < error else {
        swap(&choices, &others)
        break
      }
      (d, dmin, error) = (nextD, nextMinimum, next)
    }
    store(d, dmin, into: block)
  }

  /// Sets `choices`: of each group the scale above or below the wished one, whichever is better with its best minimum.
  ///
  /// - Returns: the error of the block
  private mutating func choose(_ d: Float, _ dmin: Float) -> Float {
    var total: Float = 0
    for index in 0..<8 {
      let (group, wish) = (groups[index], wishes[index])
      func minimum(_ offset: Float) -> Int { dmin == 0 ? 0 : Int(min(max(-offset / dmin + 0.5, 0), 63)) }
      let below = d == 0 ? 0 : Int(min(wish.scale / d, 63))
      var best = Float.infinity
      for scale in below...min(below + 1, 63) {
        let step = d * Float(scale)
        var (least, sums) = (minimum(wish.offset), WeightGroup.CodeSums())
        for turn in 0..<2 {
          sums = group.sums(scale: step, offset: -dmin * Float(least), 0, 15)
          guard turn == 0, group.weightSum > 0 else { continue }
          let other = minimum((group.valueSum - step * sums.codes) / group.weightSum)
          if other == least { break }
          least = other
        }
        let error = group.error(sums, scale: step, offset: -dmin * Float(least))
        if error < best {
          best = error
          choices[index] = Choice(scale: scale, minimum: least, sums: sums)
        }
      }
      total += best
    }
    return total
  }

  /// The halves that fit all chosen codes best, as a line through 256 points; `nil` where there is none.
  private func fitted() -> (d: Float, dmin: Float)? {
    var (codes, cross, weights): (Float, Float, Float) = (0, 0, 0)
    var (products, values): (Float, Float) = (0, 0)
    for index in 0..<8 {
      let choice = choices[index]
      let (scale, minimum) = (Float(choice.scale), Float(choice.minimum))
      codes += scale * scale * choice.sums.squares
      cross += scale * minimum * choice.sums.codes
      weights += minimum * minimum * groups[index].weightSum
      products += scale * choice.sums.products
      values += minimum * groups[index].valueSum
    }
    if weights == 0 { return codes > 0 ? (products / codes, 0) : nil }
    let determinant = codes * weights - cross * cross
    guard determinant > 0 else { return nil }
    let d = (products * weights - cross * values) / determinant
    let dmin = (cross * products - codes * values) / determinant
    return d > 0 && dmin >= 0 ? (d, dmin) : nil
  }

  private func store(_ d: HalfScale, _ dmin: HalfScale, into block: UnsafeMutableRawBufferPointer) {
    block.storeBytes(of: d.bits.littleEndian, as: UInt16.self)
    block.storeBytes(of: dmin.bits.littleEndian, toByteOffset: 2, as: UInt16.self)
    for place in 4..<16 { block[place] = 0 }
    for index in 0..<8 {
      let (scale, minimum) = (choices[index].scale, choices[index].minimum)
      if index < 4 {
        block[4 + index] |= UInt8(scale)
        block[8 + index] |= UInt8(minimum)
      } else {
        // Of the last four groups the upper two bits lie above the first four's.
        block[8 + index] = UInt8(scale & 15 | (minimum & 15) << 4)
        block[index] |= UInt8((scale >> 4) << 6)
        block[4 + index] |= UInt8((minimum >> 4) << 6)
      }
      let place = 16 + index / 2 * 32
      groups[index].eachCode(scale: d.value * Float(scale), offset: -dmin.value * Float(minimum), 0, 15) { i, code in
        block[place + i] = index % 2 == 0 ? UInt8(code) : block[place + i] | UInt8(code << 4)
      }
    }
  }
}

/// Q6_K: 256 values in sixteen groups of 16, `x = d * scale * code`, with scales of 8 bits and codes from -32 to 31.
struct SixBitGroups: ~Copyable {
  private struct Choice {
    var scale = 0
    var sums = WeightGroup.CodeSums()
  }

  private var groups = WeightGroups(count: 16, size: 16)
  private var wishes = [Float](repeating: 0, count: 16)
  private var choices = [Choice](repeating: Choice(), count: 16)
  private var others = [Choice](repeating: Choice(), count: 16)

  mutating func encode(_ x: UnsafeBufferPointer<Float>, into block: UnsafeMutableRawBufferPointer) {
    let unit = HalfScale.blockUnit(of: x)
    groups.take(x, times: 1 / unit)
    var largest: Float = 0
    for index in 0..<16 {
      wishes[index] = groups[index].ray(count: 32)
      largest = max(largest, abs(wishes[index]))
    }
    var d = HalfScale(atLeast: largest / 127, unit: unit)
    let error = choose(d.value)
    if let fitted = fitted() {
      let next = HalfScale(fitted, unit: unit)
      swap(&choices, &others)
      if choose(next.value) < error { d = next } else { swap(&choices, &others) }
    }
    block.storeBytes(of: d.bits.littleEndian, toByteOffset: 208, as: UInt16.self)
    for place in 0..<192 { block[place] = 0 }
    for index in 0..<16 {
      block[192 + index] = UInt8(bitPattern: Int8(choices[index].scale))
      groups[index].eachCode(scale: d.value * Float(choices[index].scale), offset: 0, -32, 31) { i, code in
        let (place, bits) = (index * 16 + i, UInt8(code + 32))
        let (half, quarter) = (place / 128, place % 128 / 32)
        block[half * 64 + quarter % 2 * 32 + place % 32] |= (bits & 15) << (quarter < 2 ? 0 : 4)
        block[128 + half * 32 + place % 32] |= (bits >> 4) << (2 * UInt8(quarter))
      }
    }
  }

  /// Sets `choices`: of each group the best of the scales around the wished one.
  ///
  /// - Returns: the error of the block
  private mutating func choose(_ d: Float) -> Float {
    var total: Float = 0
    for index in 0..<16 {
      let group = groups[index]
      let wish = d == 0 ? 0 : Int(min(max(wishes[index] / d, -128), 127).rounded(.toNearestOrEven))
      var best = Float.infinity
      for scale in max(wish - 1, -128)...min(wish + 1, 127) {
        let sums = group.sums(scale: d * Float(scale), offset: 0, -32, 31)
        let error = group.error(sums, scale: d * Float(scale), offset: 0)
        if error < best {
          best = error
          choices[index] = Choice(scale: scale, sums: sums)
        }
      }
      total += best
    }
    return total
  }

  /// The half that fits all chosen codes best.
  private func fitted() -> Float? {
    var (squares, products): (Float, Float) = (0, 0)
    for choice in choices {
      squares += Float(choice.scale * choice.scale) * choice.sums.squares
      products += Float(choice.scale) * choice.sums.products
    }
    return squares > 0 ? products / squares : nil
  }
}

/// Q5_0: 32 values, `x = d * code`, with codes from -16 to 15.
struct FiveBitGroup: ~Copyable {
  private var groups = WeightGroups(count: 1, size: 32)

  mutating func encode(_ x: UnsafeBufferPointer<Float>, into block: UnsafeMutableRawBufferPointer) {
    let d = groups.scale(of: x, count: 16)
    block.storeBytes(of: d.bits.littleEndian, as: UInt16.self)
    for place in 2..<22 { block[place] = 0 }
    groups[0].eachCode(scale: d.value, offset: 0, -16, 15) { i, code in
      let bits = UInt8(code + 16)
      block[2 + i / 8] |= (bits >> 4) << UInt8(i % 8)
      block[6 + i % 16] |= (bits & 15) << (i < 16 ? 0 : 4)
    }
  }
}

/// Q4_0: 32 values, `x = d * code`, with codes from -8 to 7.
struct FourBitGroup: ~Copyable {
  private var groups = WeightGroups(count: 1, size: 32)

  mutating func encode(_ x: UnsafeBufferPointer<Float>, into block: UnsafeMutableRawBufferPointer) {
    let d = groups.scale(of: x, count: 8)
    block.storeBytes(of: d.bits.littleEndian, as: UInt16.self)
    groups[0].eachCode(scale: d.value, offset: 0, -8, 7) { i, code in
      let bits = UInt8(code + 8)
      block[2 + i % 16] = i < 16 ? bits : block[2 + i % 16] | bits << 4
    }
  }
}
