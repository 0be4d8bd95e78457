import Architectures
import Kernels

/// What a norm's way forth leaves for its way back.
struct NormStatistics {
  let inverse: Vector  // [tokens]: one over the root mean square, or over the deviation
  let mean: Vector  // [tokens]; empty where it is not taken off

  func rows(_ range: Range<Int>) -> NormStatistics {
    NormStatistics(inverse: inverse.part(range), mean: mean.count == 0 ? mean : mean.part(range))
  }
}

/// A norm over each row.
///
/// Root mean square: `y = x / rms(x) * weight`, `rms(x) = sqrt(mean(x²) + epsilon)`; Zhang & Sennrich 2019, arXiv 1910.07467.
/// Layer: `y = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias`; Ba et al. 2016, arXiv 1607.06450.
struct Norm {
  let kind: NormDescription.Kind
  let weight: Vector  // [size], frozen
  let bias: Vector?  // [size], frozen
  let epsilon: Float

  func reserve(_ name: String, in room: Room, tokens: Int) -> NormStatistics {
    NormStatistics(
      inverse: room.vector("inverse deviation \(name)", count: tokens),
      mean: room.vector("mean \(name)", count: kind == .layer ? tokens : 0))
  }

  /// - Parameters:
  ///   - x: input, `[tokens, size]`
  ///   - y: output, `[tokens, size]`; may be `x`
  func forward(_ x: Matrix, into y: Matrix, keeping statistics: NormStatistics, pool: ThreadPool) {
    switch kind {
    case .rootMeanSquare:
      VectorOperations.rmsNorm(
        x, weight: weight, epsilon: epsilon, into: y, keeping: statistics.inverse, pool: pool)
    case .layer:
      VectorOperations.layerNorm(
        x, weight: weight, bias: bias, epsilon: epsilon, into: y, keeping: statistics.mean, statistics.inverse,
        pool: pool)
    }
  }

  /// `dx += inverse * (w·dy - x̂ mean(w·dy·x̂))`, and for a layer norm `- mean(w·dy)` inside, where `x̂` is the normalised input.
  func backward(
    _ dy: Matrix, x: Matrix, statistics: NormStatistics, addingTo dx: Matrix, pool: ThreadPool
  ) {
    switch kind {
    case .rootMeanSquare:
      VectorOperations.rmsNormBackward(
        dy, x: x, weight: weight, inverseRMS: statistics.inverse, addingTo: dx, pool: pool)
    case .layer:
      VectorOperations.layerNormBackward(
        dy, x: x, weight: weight, mean: statistics.mean, inverseDeviation: statistics.inverse, addingTo: dx, pool: pool)
    }
  }
}

/// The norms of a block, its residual and its last product: what all blocks have in common.
///
/// `x + f(before(x))`, `x + after(f(before(x)))` or `around(x + f(x))`, where `f` ends with a linear layer.
struct Residual {
  let before: Norm?
  let after: Norm?
  let around: Norm?
  /// What a method has hooked in; shared by all copies of the block.
  let hooks = BlockHooks()

  /// What `input` and `output` leave for the way back.
  struct Activations {
    let before: NormStatistics?
    let inner: Matrix  // [tokens, hidden]: what `after` or `around` normalises; empty without them or a way back
    let innerStatistics: NormStatistics?
    let adapter: Matrix  // [tokens, columns]: what the adapter at the block keeps

    func rows(_ range: Range<Int>) -> Activations {
      Activations(
        before: before?.rows(range), inner: inner.rows == 0 ? inner : inner.rows(range),
        innerStatistics: innerStatistics?.rows(range), adapter: adapter.rows(range))
    }
  }

  /// Memory that blocks use one after the other.
  struct Working {
    let normed: Matrix  // [tokens, hidden]
    let normedGradient: Matrix  // [tokens, hidden]; empty without a way back
    let inner: Matrix  // [tokens, hidden]: its value where it is not kept, and its gradient
  }

  var hasInner: Bool { after != nil || around != nil }

  /// - Parameter output: of the block
  func reserve(in room: Room, output: LinearLocation, demand: RoomDemand) -> Activations {
    let hidden = output.shape.out
    return Activations(
      before: before?.reserve("before", in: room, tokens: demand.tokens),
      inner: room.matrix(
        "output of the block before its norm", rows: hasInner && demand.trains ? demand.tokens : 0, columns: hidden),
      innerStatistics: (after ?? around)?.reserve("after", in: room, tokens: demand.tokens),
      adapter: room.matrix(
        "adapter at the block", rows: demand.tokens, columns: demand.keptBlockColumns(output)))
  }

  func share(in room: Room, output: LinearLocation, demand: RoomDemand) -> Working {
    let hidden = output.shape.out
    let hasInner = hasInner || demand.keptBlockColumns(output) > 0
    return Working(
      normed: room.matrix("normalised input", rows: demand.tokens, columns: hidden),
      normedGradient: room.matrix(
        "gradient of the normalised input", rows: demand.trains ? demand.tokens : 0, columns: hidden),
      inner: room.matrix(
        "output before its norm, and its gradient", rows: hasInner ? demand.tokens : 0, columns: hidden))
  }

  /// Before anything else of the block: an adapter that reads its input does so now.
  func begin(_ x: Matrix, keeping kept: Activations, pass: Pass) {
    if let adapter = hooks.adapter, adapter.source == .input { adapter.read(x, keeping: kept.adapter, pass: pass) }
  }

  /// What the block computes with: `before(x)`, or `x` itself.
  func input(_ x: Matrix, keeping kept: Activations, working: Working, pool: ThreadPool) -> Matrix {
    guard let before, let statistics = kept.before else { return x }
    let normed = working.normed.rows(0..<x.rows)
    before.forward(x, into: normed, keeping: statistics, pool: pool)
    return normed
  }

  /// Ends the block: on entry `y` holds the block's input, on return its output.
  ///
  /// - Parameters:
  ///   - hidden: input of the last product
  ///   - adapterKept: what its adapter keeps
  func output(
    _ hidden: PreparedRows, through linear: Linear, into y: Matrix, keeping kept: Activations, adapterKept: Matrix,
    working: Working, pass: Pass
  ) {
    let pool = pass.engine.pool
    guard let norm = after ?? around, let statistics = kept.innerStatistics else {
      if let adapter = hooks.adapter {
        output(
          hidden, through: linear, into: y, keeping: kept, adapterKept: adapterKept, adapter: adapter, working: working,
          pass: pass)
        return
      }
      linear.forward(hidden, into: y, accumulate: true, keeping: adapterKept, pass: pass)
      return
    }
    let inner = kept.inner.rows == 0 ? working.inner.rows(0..<y.rows) : kept.inner
    if around != nil { VectorOperations.copy(y, into: inner, pool: pool) }
    linear.forward(hidden, into: inner, accumulate: around != nil, keeping: adapterKept, pass: pass)
    if around != nil {
      norm.forward(inner, into: y, keeping: statistics, pool: pool)
    } else {
      let normed = working.normed.rows(0..<y.rows)
      norm.forward(inner, into: normed, keeping: statistics, pool: pool)
      VectorOperations.add(normed, to: y, pool: pool)
    }
  }

  /// The same without a norm and with an adapter at the block.
  private func output(
    _ hidden: PreparedRows, through linear: Linear, into y: Matrix, keeping kept: Activations, adapterKept: Matrix,
    adapter: any BlockAdapter, working: Working, pass: Pass
  ) {
    if adapter.source == .inner {
      let inner = working.inner.rows(0..<y.rows)
      linear.forward(hidden, into: inner, keeping: adapterKept, pass: pass)
      adapter.read(inner, keeping: kept.adapter, pass: pass)
      VectorOperations.add(inner, to: y, pool: pass.engine.pool)
    } else {
      linear.forward(hidden, into: y, accumulate: true, keeping: adapterKept, pass: pass)
      if adapter.source == .output { adapter.read(y, keeping: kept.adapter, pass: pass) }
    }
    adapter.add(kept.adapter, to: y, pass: pass)
  }

  /// The gradient of the last product's output. On entry `dx` is that of the block's output, on return what the residual
  /// hands through of it.
  ///
  /// - Parameters:
  ///   - dy: the gradient of the block's output; `dx` itself, or a copy where `dx` must not change
  ///   - x: the block's input
  func outputGradient(
    _ dy: Matrix, dx: Matrix, x: Matrix, kept: Activations, working: Working, pass: Pass
  ) -> Matrix {
    let pool = pass.engine.pool
    guard let norm = after ?? around, let statistics = kept.innerStatistics else {
      guard let adapter = hooks.adapter else { return dy }
      adapter.backward(dy, x: x, kept: kept.adapter, pass: pass)
      switch adapter.source {
      case .input: return dy
      case .output:
        adapter.addInputGradient(to: dx, pass: pass)
        return dx
      case .inner:
        let gradient = working.inner.rows(0..<dy.rows)
        VectorOperations.copy(dy, into: gradient, pool: pool)
        adapter.addInputGradient(to: gradient, pass: pass)
        return gradient
      }
    }
    let gradient = working.inner.rows(0..<dy.rows)
    VectorOperations.fill(gradient, with: 0)
    norm.backward(dy, x: kept.inner, statistics: statistics, addingTo: gradient, pool: pool)
    if around != nil { VectorOperations.copy(gradient, into: dx, pool: pool) }
    return gradient
  }

  /// Adds the way back through `before` to `dx`.
  func inputGradient(
    _ dNormed: Matrix, x: Matrix, kept: Activations, addingTo dx: Matrix, pass: Pass
  ) {
    let pool = pass.engine.pool
    if let adapter = hooks.adapter, adapter.source == .input { adapter.addInputGradient(to: dx, pass: pass) }
    guard let before, let statistics = kept.before else {
      VectorOperations.add(dNormed, to: dx, pool: pool)
      return
    }
    before.backward(dNormed, x: x, statistics: statistics, addingTo: dx, pool: pool)
  }

  /// Whether the block's last product has to be computed again for the way back.
  var needsOutput: Bool { hasInner || hooks.adapter.map { $0.source != .input } ?? false }
}
