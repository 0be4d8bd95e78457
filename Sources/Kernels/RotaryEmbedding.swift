import CKernels
import Glibc

/// How the frequencies of rotary embeddings are stretched for longer contexts; names as in `rope_scaling`.
public enum RopeScaling: Sendable, Equatable {
  case none
  case linear(factor: Double)
  case llama3(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalMaximumPositions: Int)
}

/// Rotary position embedding: the pair `(i, i + headSize / 2)` of each head turns by `position * frequency[i]`.
///
/// Source: Su et al. 2021, arXiv 2104.09864, with the halves as Hugging Face lays them out.
public struct RotaryEmbedding: Sendable {
  let half: Int
  let positionCount: Int
  let table: Vector  // [positions, 2, half]: cosines, then sines
  private let frequencies: [Double]

  /// Floats of a table.
  public static func tableCount(headSize: Int, positionCount: Int) -> Int { positionCount * headSize }

  /// - Parameter table: `tableCount` floats; filled by `prepare`
  public init(headSize: Int, theta: Double, scaling: RopeScaling, positionCount: Int, table: Vector) {
    precondition(table.count == Self.tableCount(headSize: headSize, positionCount: positionCount), "table of rotations")
    half = headSize / 2
    self.positionCount = positionCount
    self.table = table
    frequencies = Self.frequencies(headSize: headSize, theta: theta, scaling: scaling)
  }

  /// Fills the table; call once, when its memory is there.
  public func prepare() {
    for position in 0..<positionCount {
      for index in 0..<half {
        // As the reference implementations do, the angle is rounded to fp32 before the functions are taken.
        let angle = Double(Float(position) * Float(frequencies[index]))
        table.base[position * 2 * half + index] = Float(cos(angle))
        table.base[(position * 2 + 1) * half + index] = Float(sin(angle))
      }
    }
  }

  /// Angle per position of each pair.
  static func frequencies(headSize: Int, theta: Double, scaling: RopeScaling) -> [Double] {
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
  public func apply(to x: Matrix, positions: [Int32], pool: ThreadPool) {
    rotate(x, positions: positions, sign: 1, pool: pool)
  }

  /// Turns back: the gradient of `apply`.
  public func applyInverse(to x: Matrix, positions: [Int32], pool: ThreadPool) {
    rotate(x, positions: positions, sign: -1, pool: pool)
  }

  private func rotate(_ x: Matrix, positions: [Int32], sign: Float, pool: ThreadPool) {
    precondition(positions.count == x.rows && x.columns % (2 * half) == 0, "whole heads, one position per row")
    let kernels = VectorOperations.kernels
    VectorOperations.forEachRow(x.rows, pool: pool) { row in
      let position = Int(positions[row])
      precondition(position < positionCount, "position \(position) beyond the table of \(positionCount)")
      let cosine = table.base + position * 2 * half
      for head in stride(from: 0, to: x.columns, by: 2 * half) {
        kernels.rotate(half, cosine, cosine + half, sign, x.base + row * x.stride + head)
      }
    }
  }
}
