import Kernels
import Transformer

/// LoRA: `y += scaling * (dropout(x) Aᵀ) Bᵀ`, `A`: `[rank, in]`, `B`: `[out, rank]`. With magnitudes it is DoRA:
/// `y = m / |W + scaling B A| * (x Wᵀ + scaling * (dropout(x) Aᵀ) Bᵀ)`, the norm by rows.
///
/// Sources: Hu et al. 2021, arXiv 2106.09685; rank-stabilised scaling: Kalajdzievski 2023, arXiv 2312.03732; DoRA: Liu et
/// al. 2024, arXiv 2402.09353, whose section 4.3 takes the norm as a constant on the way back.
public final class LowRankAdapter: LinearAdapter {
  public let location: LinearLocation
  public let rank: Int
  /// `alpha / rank`, or `alpha / sqrt(rank)` with rsLoRA.
  public let scaling: Float
  /// Probability with which an element of the input is zeroed while training.
  public let dropout: Float
  /// `[rank, in]`
  public let a: Matrix
  /// `Bᵀ`, `[rank, out]`: with the rank as rows every product runs along contiguous memory.
  public let bTransposed: Matrix
  /// `[rank, in]`; empty where `A` is frozen.
  public let aGradient: Matrix
  /// `[rank, out]`
  public let bTransposedGradient: Matrix
  /// Where there are factors that are not trained.
  let fixed: FixedFactors?
  /// Of DoRA.
  let magnitude: LowRankMagnitude?
  private let buffers: LowRankBuffers

  init(
    location: LinearLocation, rank: Int, scaling: Float, dropout: Float, a: Trainable, bTransposed: Trainable,
    fixed: FixedFactors? = nil, magnitude: LowRankMagnitude?, buffers: LowRankBuffers
  ) {
    self.location = location
    self.rank = rank
    self.scaling = scaling
    self.dropout = dropout
    self.a = a.matrix
    self.bTransposed = bTransposed.matrix
    aGradient = a.gradient
    bTransposedGradient = bTransposed.gradient
    self.fixed = fixed
    self.magnitude = magnitude
    self.buffers = buffers
  }

  /// What is multiplied: `A` and `Bᵀ`, and perhaps fixed ones behind them, `[rank + fixed, in]` and `[rank + fixed, out]`.
  var factors: (a: Matrix, bTransposed: Matrix) {
    fixed.map { ($0.a, $0.bTransposed) } ?? (a, bTransposed)
  }

  /// `x Aᵀ` is kept, and with magnitudes the output before them.
  public var keptColumns: Int { factors.a.rows + (magnitude == nil ? 0 : location.shape.out) }

  public var outputScale: OutputScale? { magnitude.map { OutputScale(factor: $0.factor, coversBias: false) } }

  public func forward(_ x: Matrix, weight: StoredMatrix, keeping kept: Matrix, pass: Pass) -> LowRankTerm? {
    magnitude?.refresh(weight, a: a, bTransposed: bTransposed, scaling: scaling, pool: pass.engine.pool)
    let p = projection(kept)
    let (a, b) = factors
    ThinProduct.project(dropped(x, pass: pass), a, into: p, pool: pass.engine.pool)
    return LowRankTerm(p: p, w: b, scale: scaling)
  }

  /// `dB += s dyᵀ P`, `dP = s dy B`, `dA += dPᵀ x`, and `dP A` for the input gradient, where `P = x Aᵀ` was kept.
  public func backward(
    _ dy: Matrix, isFree: Bool, x: Matrix, kept: Matrix, pass: Pass
  ) -> (dy: Matrix, term: LowRankTerm?) {
    let pool = pass.engine.pool
    var dy = dy
    if let magnitude {
      let scaled = isFree ? dy : buffers.scaledGradient(rows: dy.rows, columns: dy.columns)
      magnitude.backward(
        dy, unscaled: kept.columns(factors.a.rows..<kept.columns), into: scaled, rowLength: pass.rowLength, pool: pool)
      dy = scaled
    }
    let (a, b) = factors
    let p = projection(kept)
    let dKept = buffers.projectionGradient(at: location, rows: dy.rows, rank: a.rows)
    if bTransposedGradient.rows > 0 {
      ThinProduct.weightGradient(
        p.columns(0..<rank), dy, scale: scaling, addingTo: bTransposedGradient, rowLength: pass.rowLength, pool: pool)
    }
    ThinProduct.project(dy, b, scale: scaling, into: dKept, pool: pool)
    if aGradient.rows > 0 {
      ThinProduct.weightGradient(
        dKept.columns(0..<rank), dropped(x, pass: pass), addingTo: aGradient, rowLength: pass.rowLength, pool: pool)
    }
    return (dy, LowRankTerm(p: dKept, w: a, mask: mask(pass)))
  }

  private func projection(_ kept: Matrix) -> Matrix { magnitude == nil ? kept : kept.columns(0..<factors.a.rows) }

  private func dropped(_ x: Matrix, pass: Pass) -> Matrix {
    guard let mask = mask(pass) else { return x }
    let target = buffers.droppedInput(rows: x.rows, columns: x.columns)
    VectorOperations.dropout(x, into: target, mask: mask, pool: pass.engine.pool)
    return target
  }

  /// One mask per layer and step; the same on the way back.
  private func mask(_ pass: Pass) -> DropoutMask? {
    guard dropout > 0, let seed = pass.dropoutSeed else { return nil }
    return DropoutMask(
      probability: dropout, seed: seed &+ (UInt64(location.index) &+ 1) &* 0x9E37_79B9_7F4A_7C15,
      firstRow: pass.firstToken)
  }

  /// The change of the weight as plain numbers.
  func merge(_ weight: StoredMatrix, bias: WeightMerge.Bias, pool: ThreadPool) -> WeightMerge {
    let factors = factors
    let a = (0..<factors.a.rows).map { factors.a.row($0).values }
    let b = a.indices.map { factors.bTransposed.row($0).values }
    let scaling = scaling
    magnitude?.refresh(weight, a: self.a, bTransposed: bTransposed, scaling: scaling, pool: pool)
    let lengths = magnitude?.factor.values
    return WeightMerge(bias: bias) { row, values in
      for rank in a.indices {
        let factor = scaling * b[rank][row]
        a[rank].withUnsafeBufferPointer { line in
          for column in 0..<values.count { values[column] += factor * line[column] }
        }
      }
      if let lengths { for column in 0..<values.count { values[column] *= lengths[row] } }
    }
  }
}

/// The magnitudes of DoRA at one layer, and the norms that they stand over. The norms are computed at the first pass after
/// the parameters have changed, row by row while the layer's weight is in memory: at 1,024 tokens a step about one product
/// in a hundred.
final class LowRankMagnitude {
  let trainable: Trainable
  /// `m / norm`, `[out]`.
  let factor: Vector
  /// `1 / norm`, `[out]`.
  private let inverseNorms: Vector
  private var isStale = true

  init(_ trainable: Trainable, factor: Vector, inverseNorms: Vector) {
    self.trainable = trainable
    self.factor = factor
    self.inverseNorms = inverseNorms
  }

  private var values: Vector { trainable.matrix.row(0) }

  func parametersChanged() { isStale = true }

  func refresh(_ weight: StoredMatrix, a: Matrix, bTransposed: Matrix, scaling: Float, pool: ThreadPool) {
    guard isStale else { return }
    isStale = false
    MergedRows.inverseNorms(
      weight, a: a, bTransposed: bTransposed, scale: scaling, into: inverseNorms, magnitudes: values, factors: factor,
      pool: pool)
  }

  /// Starts where nothing is changed: at the norms of the weight with a `B` of zero.
  func initialize(_ weight: StoredMatrix, a: Matrix, bTransposed: Matrix, pool: ThreadPool) {
    MergedRows.norms(weight, a: a, bTransposed: bTransposed, scale: 0, into: values, pool: pool)
    isStale = true
  }

  /// `dm += sum(dy * u) / norm`, and `du = dy * m / norm`.
  func backward(_ dy: Matrix, unscaled: Matrix, into du: Matrix, rowLength: Int, pool: ThreadPool) {
    ColumnFactors.backward(
      dy, by: factor, into: du, x: unscaled, weights: inverseNorms, addingTo: trainable.gradient.row(0),
      rowLength: rowLength, pool: pool)
  }
}
