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
    location: LinearLocation, rank: Int, scaling: Float, dropout: Float, a: Matrix, bTransposed: Matrix,
    aGradient: Matrix, bTransposedGradient: Matrix, buffers: LowRankBuffers
  ) {
    self.location = location
    self.rank = rank
    self.scaling = scaling
    self.dropout = dropout
    self.a = a
    self.bTransposed = bTransposed
    self.aGradient = aGradient
    self.bTransposedGradient = bTransposedGradient
    self.buffers = buffers
  }

  /// `x Aᵀ` is kept.
  public var keptColumns: Int { rank }

  public func forward(_ x: Matrix, into y: Matrix, keeping kept: Matrix, pass: Pass) {
    recompute(x, keeping: kept, pass: pass)
    ThinProduct.expand(kept, bTransposed, scale: scaling, addingTo: y, pool: pass.engine.pool)
  }

  public func recompute(_ x: Matrix, keeping kept: Matrix, pass: Pass) {
    ThinProduct.project(dropped(x, pass: pass), a, into: kept, pool: pass.engine.pool)
  }

  /// `dB += s dyᵀ P`, `dP = s dy B`, `dA += dPᵀ x`, `dx += dP A`, where `P = x Aᵀ` was kept.
  public func backward(_ dy: Matrix, x: Matrix, kept: Matrix, addingTo dx: Matrix?, pass: Pass) {
    let pool = pass.engine.pool
    let dKept = Matrix(buffers.projectionGradient.base, rows: dy.rows, columns: rank)
    ThinProduct.weightGradient(
      kept, dy, scale: scaling, addingTo: bTransposedGradient, rowLength: pass.rowLength, pool: pool)
    ThinProduct.project(dy, bTransposed, scale: scaling, into: dKept, pool: pool)
    ThinProduct.weightGradient(
      dKept, dropped(x, pass: pass), addingTo: aGradient, rowLength: pass.rowLength, pool: pool)
    guard let dx else { return }
    if let seed = dropoutSeed(pass) {
      let masked = buffers.droppedInput(rows: x.rows, columns: x.columns)
      VectorOperations.fill(masked, with: 0)
      ThinProduct.expand(dKept, a, addingTo: masked, pool: pool)
      VectorOperations.dropout(
        masked, into: masked, probability: dropout, seed: seed, firstRow: pass.firstToken, pool: pool)
      VectorOperations.add(masked, to: dx, pool: pool)
    } else {
      ThinProduct.expand(dKept, a, addingTo: dx, pool: pool)
    }
  }

  private func dropped(_ x: Matrix, pass: Pass) -> Matrix {
    guard let seed = dropoutSeed(pass) else { return x }
    let target = buffers.droppedInput(rows: x.rows, columns: x.columns)
    VectorOperations.dropout(
      x, into: target, probability: dropout, seed: seed, firstRow: pass.firstToken, pool: pass.engine.pool)
    return target
  }

  /// One mask per layer and step; the same on the way back.
  private func dropoutSeed(_ pass: Pass) -> UInt64? {
    guard dropout > 0, let seed = pass.dropoutSeed else { return nil }
    let index = UInt64(location.layer * LinearModule.allCases.count) + location.module.index
    return seed &+ (index &+ 1) &* 0x9E37_79B9_7F4A_7C15
  }
}

extension LinearModule {
  fileprivate var index: UInt64 { UInt64(Self.allCases.firstIndex(of: self) ?? 0) }
}
