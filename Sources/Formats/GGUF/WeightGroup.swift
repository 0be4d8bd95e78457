/// Weights side by side that share a grid of equal steps, and what the error of each counts: `rms + |x|`.
///
/// A grid is `x = scale * code + offset`. For given codes the best grid is a weighted least-squares line; for a given grid
/// the best codes are the nearest. Taking turns, the error only falls, but where it ends depends on the start, and more
/// starts help more than more turns. They are grids whose ends lie within the values or beyond them by parts of a step.
struct WeightGroup {
  typealias Vector = SIMD8<Float>

  /// Sums over the group that tell the error of any grid with the same codes.
  struct CodeSums {
    /// `Σ w q`
    var codes: Float = 0
    /// `Σ w q²`
    var squares: Float = 0
    /// `Σ w q x`
    var products: Float = 0
  }

  private let values: UnsafePointer<Vector>
  private let weights: UnsafePointer<Vector>
  private let vectorCount: Int
  /// `Σ w`
  let weightSum: Float
  /// `Σ w x`
  let valueSum: Float
  /// `Σ w x²`
  private let squareSum: Float
  private let least: Float
  private let most: Float

  /// - Parameters:
  ///   - x: a multiple of 8 values
  ///   - factor: what each is multiplied by, so that none is above 2
  ///   - memory: twice as many, which belong to the group as long as it is used
  init(_ x: UnsafeBufferPointer<Float>, times factor: Float, memory: UnsafeMutablePointer<Vector>) {
    vectorCount = x.count / 8
    var squares = Vector()
    var (least, most) = (Float.infinity, -Float.infinity)
    let bytes = UnsafeRawBufferPointer(x)
    for index in 0..<vectorCount {
      let vector = bytes.loadUnaligned(fromByteOffset: 32 * index, as: Vector.self) * factor
      squares += vector * vector
      for lane in 0..<8 {
        least = min(least, vector[lane])
        most = max(most, vector[lane])
      }
      memory[index] = vector
    }
    let rms = (squares.sum() / Float(x.count)).squareRoot()
    var (sum, products) = (Vector(), Vector())
    squares = Vector()
    for index in 0..<vectorCount {
      let vector = memory[index]
      let magnitude = unsafeBitCast(unsafeBitCast(vector, to: SIMD8<UInt32>.self) & 0x7FFF_FFFF, to: Vector.self)
      let weight = magnitude + rms
      memory[vectorCount + index] = weight
      sum += weight
      products += weight * vector
      squares += weight * vector * vector
    }
    values = UnsafePointer(memory)
    weights = UnsafePointer(memory + vectorCount)
    weightSum = sum.sum()
    valueSum = products.sum()
    squareSum = squares.sum()
    self.least = least
    self.most = most
  }

  // MARK: codes

  /// Added and taken off again, it leaves the nearest whole number of anything below 2^22.
  private static let roundingNumber: Float = 0x1.8p23

  /// The nearest codes of eight values; all 0 where the grid has no steps.
  @inline(__always)
  private static func codes(_ x: Vector, inverse: Float, shift: Float, _ lowest: Float, _ highest: Float) -> Vector {
    var code = x * inverse + shift
    code.replace(with: lowest, where: code .< lowest)
    code.replace(with: highest, where: code .> highest)
    return code + roundingNumber - roundingNumber
  }

  /// The sums for the nearest codes.
  ///
  /// - Parameters:
  ///   - lowest: of the codes
  ///   - highest: of the codes
  @inline(__always)
  func sums(scale: Float, offset: Float, _ lowest: Float, _ highest: Float) -> CodeSums {
    sums(inverse: scale == 0 ? 0 : 1 / scale, offset: offset, lowest, highest)
  }

  @inline(__always)
  private func sums(inverse: Float, offset: Float, _ lowest: Float, _ highest: Float) -> CodeSums {
    let shift = -offset * inverse
    var (sum, squares, products) = (Vector(), Vector(), Vector())
    for index in 0..<vectorCount {
      let code = Self.codes(values[index], inverse: inverse, shift: shift, lowest, highest)
      let weighted = code * weights[index]
      sum += weighted
      squares += weighted * code
      products += weighted * values[index]
    }
    return CodeSums(codes: sum.sum(), squares: squares.sum(), products: products.sum())
  }

  /// Hands out the nearest codes, first to last.
  @inline(__always)
  func eachCode(scale: Float, offset: Float, _ lowest: Float, _ highest: Float, _ body: (Int, Int) -> Void) {
    let inverse = scale == 0 ? 0 : 1 / scale
    for index in 0..<vectorCount {
      let code = Self.codes(values[index], inverse: inverse, shift: -offset * inverse, lowest, highest)
      for lane in 0..<8 { body(8 * index + lane, Int(code[lane])) }
    }
  }

  /// `Σ w (scale q + offset - x)²`
  @inline(__always)
  func error(_ sums: CodeSums, scale: Float, offset: Float) -> Float {
    squareSum + scale * (scale * sums.squares - 2 * sums.products)
      + offset * (offset * weightSum + 2 * (scale * sums.codes - valueSum))
  }

  // MARK: grids

  /// Squares of what is less than this beside the largest value of its block are no more to be told from nothing.
  private static let nothing: Float = 0x1p-40

  /// How far within the least and the largest value a grid of codes from 0 begins and ends, in steps.
  private static let lineEnds: [Float] = [-0.4, 0.1, 0.6, 1.1]

  /// The best grid with an offset of at most 0 and codes from 0 to `top`.
  func line(top: Float) -> (scale: Float, offset: Float) {
    let low = min(least, 0)
    let step = (most - low) / top
    guard step > Self.nothing else { return (0, weightSum > 0 ? min(valueSum / weightSum, 0) : 0) }
    var best = (scale: step, offset: low)
    var bestError = Float.infinity
    for start in Self.lineEnds {
      for end in Self.lineEnds {
        var grid = (scale: step * (1 - (start + end) / top), offset: min(low + step * start, 0))
        for _ in 0..<2 {
          let sums = sums(scale: grid.scale, offset: grid.offset, 0, top)
          guard let fitted = fitted(sums), fitted.scale > Self.nothing else { break }
          grid = fitted
          let error = error(sums, scale: grid.scale, offset: grid.offset)
          if error < bestError { (best, bestError) = (grid, error) }
        }
      }
    }
    return best
  }

  /// The best grid for given codes; `nil` for codes of 0.
  private func fitted(_ sums: CodeSums) -> (scale: Float, offset: Float)? {
    guard sums.squares > 0 else { return nil }
    let determinant = weightSum * sums.squares - sums.codes * sums.codes
    // Codes that are all the same have no slope, only rounding errors of one.
    if determinant > 1e-5 * weightSum * sums.squares {
      let scale = (weightSum * sums.products - valueSum * sums.codes) / determinant
      let offset = (valueSum - scale * sums.codes) / weightSum
      if offset <= 0 { return (scale, offset) }
    }
    return (sums.products / sums.squares, 0)
  }

  /// What the value of largest magnitude becomes, in codes beyond the outermost one.
  private static let rayEnds: [Float] = [-0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 1.5]

  /// The best scale, of either sign, for codes from `-count` to `count - 1` without an offset.
  func ray(count: Float) -> Float {
    let extreme = most > -least ? most : least
    guard abs(extreme) > Self.nothing else { return 0 }
    var best = extreme / -count
    var bestError = Float.infinity
    for end in Self.rayEnds {
      for target in [-count - end, count - 1 + end] {
        let sums = sums(inverse: target / extreme, offset: 0, -count, count - 1)
        guard sums.squares > 0 else { continue }
        let scale = sums.products / sums.squares
        let error = error(sums, scale: scale, offset: 0)
        if error < bestError { (best, bestError) = (scale, error) }
      }
    }
    return best
  }
}

/// Memory for the groups of one block after the other.
struct WeightGroups: ~Copyable {
  private let memory: UnsafeMutablePointer<WeightGroup.Vector>
  private let size: Int
  private var groups: [WeightGroup] = []

  /// - Parameters:
  ///   - count: groups of a block
  ///   - size: values of a group
  init(count: Int, size: Int) {
    memory = .allocate(capacity: count * size / 8 * 2)
    self.size = size
    groups.reserveCapacity(count)
  }

  deinit { memory.deallocate() }

  /// Takes a block's values, each multiplied by `factor`.
  mutating func take(_ x: UnsafeBufferPointer<Float>, times factor: Float) {
    groups.removeAll(keepingCapacity: true)
    for start in stride(from: 0, to: x.count, by: size) {
      groups.append(
        WeightGroup(
          UnsafeBufferPointer(rebasing: x[start..<start + size]), times: factor, memory: memory + start / 8 * 2))
    }
  }

  /// Takes a block that is one group, and finds its scale.
  ///
  /// - Parameter count: codes below zero; above it there is one less
  mutating func scale(of x: UnsafeBufferPointer<Float>, count: Float) -> HalfScale {
    let unit = HalfScale.blockUnit(of: x)
    take(x, times: 1 / unit)
    return HalfScale(groups[0].ray(count: count), unit: unit)
  }

  subscript(index: Int) -> WeightGroup { groups[index] }
}

/// A scale as a block keeps it: in half precision, never infinite.
struct HalfScale {
  let bits: UInt16
  /// What it says, in units of the block.
  let value: Float

  /// The nearest.
  ///
  /// - Parameters:
  ///   - value: in units of the block
  ///   - unit: `blockUnit(of:)`
  init(_ value: Float, unit: Float) {
    let wanted = HalfPrecision.bits(value * unit)
    bits = min(wanted & 0x7FFF, 0x7BFF) | wanted & 0x8000
    self.value = HalfPrecision.float(bits) / unit
  }

  /// The least that is no smaller than a positive `value`, so that whole multiples up to a highest one reach what they
  /// should: small weights have scales among the subnormal halves, which are far apart.
  init(atLeast value: Float, unit: Float) {
    let nearest = HalfScale(value, unit: unit)
    bits = nearest.value < value && nearest.bits < 0x7BFF ? nearest.bits + 1 : nearest.bits
    self.value = HalfPrecision.float(bits) / unit
  }

  /// The power of two at or below a block's largest magnitude; 1 where half precision knows nothing but 0 of all values.
  static func blockUnit(of x: UnsafeBufferPointer<Float>) -> Float {
    var largest: Float = 0
    for value in x { largest = max(largest, abs(value)) }
    return largest < 0x1p-26 ? 1 : largest.binade
  }
}
