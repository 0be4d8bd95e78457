import Kernels
import Transformer

/// LoRA: `y += scaling * (dropout(x) Aᵀ) Bᵀ`, `A`: `[rank, in]`, `B`: `[out, rank]`.
///
/// Sources: Hu et al. 2021, arXiv 2106.09685; rank-stabilised scaling: Kalajdzievski 2023, arXiv 2312.03732.
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
  /// `[rank, in]`
  public let aGradient: Matrix
  /// `[rank, out]`
  public let bTransposedGradient: Matrix
  private let buffers: LowRankBuffers

  init(
    location: LinearLocation, rank: Int, scaling: Float, dropout: Float, a: Trainable, bTransposed: Trainable,
    buffers: LowRankBuffers
  ) {
    self.location = location
    self.rank = rank
    self.scaling = scaling
    self.dropout = dropout
    self.a = a.matrix
    self.bTransposed = bTransposed.matrix
    aGradient = a.gradient
    bTransposedGradient = bTransposed.gradient
    self.buffers = buffers
  }

  /// `x Aᵀ` is kept.
  public var keptColumns: Int { rank }

  public func forward(_ x: Matrix, keeping kept: Matrix, pass: Pass) -> LowRankTerm {
    recompute(x, keeping: kept, pass: pass)
    return LowRankTerm(p: kept, w: bTransposed, scale: scaling)
  }

  public func recompute(_ x: Matrix, keeping kept: Matrix, pass: Pass) {
    ThinProduct.project(dropped(x, pass: pass), a, into: kept, pool: pass.engine.pool)
  }

  /// `dB += s dyᵀ P`, `dP = s dy B`, `dA += dPᵀ x`, and `dP A` for the input gradient, where `P = x Aᵀ` was kept.
  public func backward(_ dy: Matrix, x: Matrix, kept: Matrix, pass: Pass) -> LowRankTerm {
    let pool = pass.engine.pool
    let dKept = buffers.projectionGradient(at: location, rows: dy.rows, rank: rank)
    ThinProduct.weightGradient(
      kept, dy, scale: scaling, addingTo: bTransposedGradient, rowLength: pass.rowLength, pool: pool)
    ThinProduct.project(dy, bTransposed, scale: scaling, into: dKept, pool: pool)
    ThinProduct.weightGradient(
      dKept, dropped(x, pass: pass), addingTo: aGradient, rowLength: pass.rowLength, pool: pool)
    return LowRankTerm(p: dKept, w: a, mask: mask(pass))
  }

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
}
