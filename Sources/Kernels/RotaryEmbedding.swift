import CKernels
import Glibc

/// How the frequencies of rotary embeddings are stretched for longer contexts; names as in `rope_scaling`.
public enum RopeScaling: Sendable, Equatable {
  case none
  case linear(factor: Double)
  case llama3(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalMaximumPositions: Int)
}

/// Rotary position embedding: with `n` frequencies, the pair `(i, i + n)` of each head turns by `position * frequency[i]`; the
/// columns of a head from `2 n` on stay.
///
/// Sources: Su et al. 2021, arXiv 2104.09864, with the halves as Hugging Face lays them out; Ding et al. 2024, arXiv
/// 2402.13753 (longer samples turn otherwise).
public struct RotaryEmbedding: Sendable {
  /// Frequencies that longer samples turn by, and the factor of what turns.
  public struct Long: Sendable {
    let frequencies: [Double]
    let factor: Double
    let originalPositions: Int

    /// - Parameters:
    ///   - frequencies: angle per position of each pair
    ///   - factor: of cosines and sines
    ///   - originalPositions: samples of more tokens than this turn by `frequencies`, all their tokens
    public init(frequencies: [Double], factor: Double, originalPositions: Int) {
      self.frequencies = frequencies
      self.factor = factor
      self.originalPositions = originalPositions
    }
  }

  private let pairs: Int
  private let positionCount: Int
  private let table: Vector  // [1 or 2, positions, 2, pairs]: cosines, then sines; those of long samples come second
  private let frequencies: [Double]
  private let factor: Double
  private let long: Long?

  /// Floats of a table.
  public static func tableCount(frequencyCount: Int, positionCount: Int, hasLong: Bool = false) -> Int {
    (hasLong ? 2 : 1) * positionCount * 2 * frequencyCount
  }

  /// - Parameters:
  ///   - frequencies: angle per position of each pair; half as many as columns turn
  ///   - attentionFactor: of cosines and sines
  ///   - long: what samples turn by that are longer than the model was made for
  ///   - positionCount: positions are below it
  ///   - table: `tableCount` floats; filled by `prepare`
  public init(
    frequencies: [Double], attentionFactor: Double = 1, long: Long? = nil, positionCount: Int, table: Vector
  ) {
    let count = Self.tableCount(
      frequencyCount: frequencies.count, positionCount: positionCount, hasLong: long != nil)
    precondition(table.count == count, "table of rotations")
    precondition((long?.frequencies.count ?? frequencies.count) == frequencies.count, "as many frequencies")
    pairs = frequencies.count
    self.positionCount = positionCount
    self.table = table
    self.frequencies = frequencies
    factor = attentionFactor
    self.long = long
  }

  /// Fills the table; call once, when its memory is there.
  public func prepare() {
    fill(table.base, frequencies, factor)
    if let long { fill(table.base + positionCount * 2 * pairs, long.frequencies, long.factor) }
  }

  private func fill(_ table: UnsafeMutablePointer<Float>, _ frequencies: [Double], _ factor: Double) {
    for position in 0..<positionCount {
      for index in 0..<pairs {
        // As the reference implementations do, the angle is rounded to fp32 before the functions are taken.
        let angle = Double(Float(position) * Float(frequencies[index]))
        table[position * 2 * pairs + index] = Float(cos(angle) * factor)
        table[(position * 2 + 1) * pairs + index] = Float(sin(angle) * factor)
      }
    }
  }

  /// Angle per position of each pair.
  public static func frequencies(headSize: Int, theta: Double, scaling: RopeScaling) -> [Double] {
    let base = (0..<headSize / 2).map { 1 / pow(theta, Double(2 * $0) / Double(headSize)) }
    switch scaling {
    case .none: return base
    case .linear(let factor): return base.map { $0 / factor }
    case .llama3(let factor, let low, let high, let original):
      return base.map { frequency in
        let wavelength = 2 * Double.pi / frequency
        if wavelength < Double(original) / high { return frequency }
        if wavelength > Double(original) / low { return frequency / factor }
        let smooth = (Double(original) / wavelength - low) / (high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency
      }
    }
  }

  /// Turns every head of every row.
  /// - Parameters:
  ///   - x: `[tokens, heads * head size]`
  ///   - positions: `[tokens]`
  ///   - sampleLengths: tokens of each token's sample, `[tokens]`; only long samples' turns need them
  public func apply(to x: HeadMatrix, positions: [Int32], sampleLengths: [Int32]? = nil, pool: ThreadPool) {
    rotate(x, positions: positions, sampleLengths: sampleLengths, sign: 1, pool: pool)
  }

  /// Turns back: the gradient of `apply`.
  public func applyInverse(to x: HeadMatrix, positions: [Int32], sampleLengths: [Int32]? = nil, pool: ThreadPool) {
    rotate(x, positions: positions, sampleLengths: sampleLengths, sign: -1, pool: pool)
  }

  private func rotate(
    _ x: HeadMatrix, positions: [Int32], sampleLengths: [Int32]?, sign: Float, pool: ThreadPool
  ) {
    precondition(positions.count == x.rows && 2 * pairs <= x.size, "one position per row, pairs inside a head")
    precondition(sampleLengths.map { $0.count == x.rows } ?? (long == nil), "a sample's length for every row")
    let kernels = KernelTables.float
    VectorOperations.forEachRow(x.rows, pool: pool) { row in
      let position = Int(positions[row])
      precondition(position < positionCount, "position \(position) beyond the table of \(positionCount)")
      var cosine = table.base + position * 2 * pairs
      if let long, let sampleLengths, Int(sampleLengths[row]) > long.originalPositions {
        cosine += positionCount * 2 * pairs
      }
      for head in 0..<x.count {
        kernels.pointee.rotate(pairs, cosine, cosine + pairs, sign, x.address(row: row, head: head))
      }
    }
  }
}
