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

/// What a method has hooked into a norm.
final class NormHooks {
  /// In place of the model's.
  var bias: TrainedBias?
  var weight: TrainedNormWeight?
}

/// The weights of a norm that a method trains in place of the model's.
public struct TrainedNormWeight {
  let values: Vector  // [size]: what the norm multiplies with
  /// Empty unless it is trained.
  let gradient: Vector

  /// - Parameter values: what the norm multiplies with, which is not what a file holds where that says by how much it differs
  ///   from 1
  public init(values: Vector, gradient: Vector) {
    self.values = values
    self.gradient = gradient
  }
}

/// A norm over each row.
///
/// Root mean square: `y = x / rms(x) * weight`, `rms(x) = sqrt(mean(x²) + epsilon)`; Zhang & Sennrich 2019, arXiv 1910.07467.
/// Layer: `y = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias`; Ba et al. 2016, arXiv 1607.06450.
struct Norm {
  let kind: NormDescription.Kind
  let frozenWeight: Vector  // [size]
  let frozenBias: Vector?  // [size]
  let epsilon: Float
  /// What a method has hooked in; shared by all copies of the norm.
  let hooks = NormHooks()

  /// The same without what a method hooks in.
  var frozen: Norm { Norm(kind: kind, frozenWeight: frozenWeight, frozenBias: frozenBias, epsilon: epsilon) }

  /// `[size]`
  var weight: Vector { hooks.weight?.values ?? frozenWeight }
  private var bias: Vector? { hooks.bias?.values ?? frozenBias }

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

  /// The gradient of the bias, if a method trains it.
  private var biasGradient: Vector? { hooks.bias.flatMap { $0.gradient.count > 0 ? $0.gradient : nil } }
  /// The same of the weights.
  var weightGradient: Vector? { hooks.weight.flatMap { $0.gradient.count > 0 ? $0.gradient : nil } }

  /// Whether a method trains weights or bias, so that the way back must come here.
  var isTrained: Bool { biasGradient != nil || weightGradient != nil }

  /// `db += Σ dy`, if the bias is trained.
  ///
  /// - Parameter rowLength: rows whose sum is made first, so that it does not depend on how tokens are cut
  func addBiasGradient(_ dy: Matrix, rowLength: Int, pool: ThreadPool) {
    guard let biasGradient else { return }
    ColumnFactors.biasGradient(dy, addingTo: biasGradient, rowLength: rowLength, pool: pool)
  }

  /// `dw += Σ dy x̂`, if the weights are trained; parameters as of `addBiasGradient`.
  func addWeightGradient(_ dy: Matrix, x: Matrix, statistics: NormStatistics, rowLength: Int, pool: ThreadPool) {
    guard let weightGradient else { return }
    ColumnFactors.normWeightGradient(
      dy, x: x, mean: kind == .layer ? statistics.mean : nil, inverse: statistics.inverse, addingTo: weightGradient,
      rowLength: rowLength, pool: pool)
  }

  /// `dx += inverse * (w·dy - x̂ mean(w·dy·x̂))`, and for a layer norm `- mean(w·dy)` inside, where `x̂` is the normalised input;
  /// and the gradients of weights and bias, unless `rowLength` is `nil`.
  func backward(
    _ dy: Matrix, x: Matrix, statistics: NormStatistics, addingTo dx: Matrix, rowLength: Int?, pool: ThreadPool
  ) {
    if let rowLength {
      addBiasGradient(dy, rowLength: rowLength, pool: pool)
      addWeightGradient(dy, x: x, statistics: statistics, rowLength: rowLength, pool: pool)
    }
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
/// `x + f(before(x))`, `x + after(f(before(x)))` or `around(x + f(x))`, where `f` ends with a linear layer. An adapter beside
/// the block adds to `f` a function of `x`, and one behind it a function of `f` or of `s = x + f`, both as they are without
/// adapters: of `around(s)` where there is such a norm, of a norm that it names where `after` is, else of `s`. Neither sees
/// what the other one adds, nor what a block side by side with this one does.
struct Residual {
  let before: Norm?
  let after: Norm?
  let around: Norm?
  /// Whether another block of the same input adds to the same sum.
  let isParallel: Bool
  /// What a method has hooked in; shared by all copies of the block.
  let hooks = BlockHooks()

  /// What `input` and `output` leave for the way back.
  struct Activations {
    let before: NormStatistics?
    let inner: Matrix  // [tokens, hidden]: what `after` or `around` normalises; empty without them or a way back
    let innerStatistics: NormStatistics?
    let beside: Matrix  // [tokens, columns]: what the adapter beside the block keeps
    let behind: Matrix  // [tokens, columns]: the same of the one behind it
    /// What the one behind reads, or the sum whose norm it reads, `[tokens, hidden]`; empty without it or a way back.
    let read: Matrix
    let readStatistics: NormStatistics?

    func rows(_ range: Range<Int>) -> Activations {
      Activations(
        before: before?.rows(range), inner: inner.rows == 0 ? inner : inner.rows(range),
        innerStatistics: innerStatistics?.rows(range), beside: beside.rows(range), behind: behind.rows(range),
        read: read.rows == 0 ? read : read.rows(range), readStatistics: readStatistics?.rows(range))
    }
  }

  /// Memory that blocks use one after the other.
  struct Working {
    let normed: Matrix  // [tokens, hidden]
    let normedGradient: Matrix  // [tokens, hidden]; empty without a way back
    let inner: Matrix  // [tokens, hidden]: its value where it is not kept, and its gradient
  }

  var hasInner: Bool { after != nil || around != nil }

  /// Whether a method has hooked in.
  var isHooked: Bool { !hooks.isEmpty || [before, after, around].contains { $0?.isTrained == true } }

  /// Whether the way back must come to the block's input though nothing below it is trained.
  var trainsBefore: Bool { before?.isTrained == true }

  /// - Parameter output: of the block
  func reserve(in room: Room, output: LinearLocation, demand: RoomDemand) -> Activations {
    let hidden = output.shape.out
    let adapters = demand.blockAdapters(output)
    let keepsRead = demand.trains && adapters.behind != nil
    return Activations(
      before: before?.reserve("before", in: room, tokens: demand.tokens),
      inner: room.matrix(
        "output of the block before its norm", rows: hasInner && demand.trains ? demand.tokens : 0, columns: hidden),
      innerStatistics: (after ?? around)?.reserve("after", in: room, tokens: demand.tokens),
      beside: room.matrix("adapter beside the block", rows: demand.tokens, columns: adapters.beside?.columns ?? 0),
      behind: room.matrix("adapter behind the block", rows: demand.tokens, columns: adapters.behind?.columns ?? 0),
      read: room.matrix("what an adapter reads", rows: keepsRead ? demand.tokens : 0, columns: hidden),
      readStatistics: keepsRead && adapters.behind?.source == .output
        ? (around ?? after)?.reserve("before the adapter", in: room, tokens: demand.tokens) : nil)
  }

  func share(in room: Room, output: LinearLocation, demand: RoomDemand) -> Working {
    let hidden = output.shape.out
    // Also the gradient of what an adapter has read, and the place for what is computed again for it.
    let hasInner = hasInner || demand.trains && !demand.blockAdapters(output).isEmpty
    return Working(
      normed: room.matrix("normalised input", rows: demand.tokens, columns: hidden),
      normedGradient: room.matrix(
        "gradient of the normalised input", rows: demand.trains ? demand.tokens : 0, columns: hidden),
      inner: room.matrix(
        "output before its norm, and its gradient", rows: hasInner ? demand.tokens : 0, columns: hidden))
  }

  /// Before anything else of the block: an adapter that reads its input does so now.
  func begin(_ x: Matrix, keeping kept: Activations, pass: Pass) {
    hooks.beside?.read(x, keeping: kept.beside, pass: pass)
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
  ///   - x: the block's input; may be `y`
  ///   - adapterKept: what the last product's adapter keeps
  func output(
    _ hidden: PreparedRows, through linear: Linear, of x: Matrix, into y: Matrix, keeping kept: Activations,
    adapterKept: Matrix, working: Working, pass: Pass
  ) {
    let pool = pass.engine.pool
    guard let norm = after ?? around, let statistics = kept.innerStatistics else {
      add(hidden, through: linear, of: x, to: y, keeping: kept, adapterKept: adapterKept, working: working, pass: pass)
      return
    }
    let inner = kept.inner.rows == 0 ? working.inner.rows(0..<y.rows) : kept.inner
    if around != nil {
      VectorOperations.copy(y, into: inner, pool: pool)
      add(
        hidden, through: linear, of: x, to: inner, keeping: kept, adapterKept: adapterKept, working: working, pass: pass
      )
      norm.forward(inner, into: y, keeping: statistics, pool: pool)
    } else {
      linear.forward(hidden, into: inner, keeping: adapterKept, pass: pass)
      read(inner, of: x, keeping: kept, working: working, pass: pass)
      addAdapters(kept, to: inner, pass: pass)
      let normed = working.normed.rows(0..<y.rows)
      norm.forward(inner, into: normed, keeping: statistics, pool: pool)
      VectorOperations.add(normed, to: y, pool: pool)
    }
  }

  /// Adds the last product to `sum`, which holds the block's input, and perhaps what another block has made of it; and what
  /// adapters at the block make of what they read.
  private func add(
    _ hidden: PreparedRows, through linear: Linear, of x: Matrix, to sum: Matrix, keeping kept: Activations,
    adapterKept: Matrix, working: Working, pass: Pass
  ) {
    let pool = pass.engine.pool
    let normed = working.normed.rows(0..<sum.rows)
    let source = hooks.behind?.demand.source
    let isApart = source == .inner || source == .output && isParallel
    if let behind = hooks.behind, isApart {
      let made = kept.read.rows == 0 ? normed : kept.read
      linear.forward(hidden, into: made, keeping: adapterKept, pass: pass)
      VectorOperations.add(made, to: sum, pool: pool)
      if source == .output { VectorOperations.add(x, to: made, pool: pool) }
      behind.read(made, keeping: kept.behind, pass: pass)
    } else {
      linear.forward(hidden, into: sum, accumulate: true, keeping: adapterKept, pass: pass)
    }
    if let behind = hooks.behind, source == .output, !isApart {
      if kept.read.rows > 0 { VectorOperations.copy(sum, into: kept.read, pool: pool) }
      if let around, let statistics = kept.readStatistics ?? kept.innerStatistics {
        around.forward(sum, into: normed, keeping: statistics, pool: pool)
        behind.read(normed, keeping: kept.behind, pass: pass)
      } else {
        behind.read(sum, keeping: kept.behind, pass: pass)
      }
    }
    addAdapters(kept, to: sum, pass: pass)
  }

  /// Only when all of them have read: what one adds the other one does not see.
  private func addAdapters(_ kept: Activations, to sum: Matrix, pass: Pass) {
    hooks.behind?.add(kept.behind, to: sum, pass: pass)
    hooks.beside?.add(kept.beside, to: sum, pass: pass)
  }

  /// The adapter behind a block that ends with `after` reads what that norm is going to have, or its sum with `x`.
  private func read(_ made: Matrix, of x: Matrix, keeping kept: Activations, working: Working, pass: Pass) {
    guard let behind = hooks.behind else { return }
    let pool = pass.engine.pool
    let normed = working.normed.rows(0..<x.rows)
    let read = kept.read.rows == 0 ? normed : kept.read
    VectorOperations.copy(made, into: read, pool: pool)
    guard behind.demand.source == .output else {
      behind.read(read, keeping: kept.behind, pass: pass)
      return
    }
    VectorOperations.add(x, to: read, pool: pool)
    guard let norm = hooks.norm, let statistics = kept.readStatistics ?? kept.innerStatistics else {
      preconditionFailure("an adapter of the sum in front of a norm names one to read through")
    }
    norm.forward(read, into: normed, keeping: statistics, pool: pool)
    behind.read(normed, keeping: kept.behind, pass: pass)
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
    var output = dy
    if let norm = after ?? around, let statistics = kept.innerStatistics {
      output = working.inner.rows(0..<dy.rows)
      VectorOperations.fill(output, with: 0)
      norm.backward(
        dy, x: kept.inner, statistics: statistics, addingTo: output, rowLength: pass.rowLength, pool: pool)
      if around != nil { VectorOperations.copy(output, into: dx, pool: pool) }
    }
    if hooks.isEmpty { return output }
    // What adapters add to has this gradient, until the one behind adds to it. Where only the sum has it, that is `dx`.
    let isApart = after != nil || isParallel
    let dSum = isApart ? output : dx
    hooks.beside?.backward(dSum, x: x, kept: kept.beside, pass: pass)
    guard let behind = hooks.behind else { return dSum }
    if behind.demand.source == .inner {
      behind.backward(dSum, x: kept.read, kept: kept.behind, pass: pass)
      output = working.inner.rows(0..<dy.rows)
      if !hasInner { VectorOperations.copy(dSum, into: output, pool: pool) }
      behind.addInputGradient(to: output, pass: pass)
      return output
    }
    if isApart { return backward(behind, dSum, dx: dx, kept: kept, working: working, pass: pass) }
    guard let around, let statistics = kept.readStatistics else {
      behind.backward(dx, x: kept.read, kept: kept.behind, pass: pass)
      behind.addInputGradient(to: dx, pass: pass)
      return dx
    }
    // The norm is cheaper than keeping what it makes.
    let normed = working.normed.rows(0..<dy.rows)
    around.forward(kept.read, into: normed, keeping: statistics, pool: pool)
    behind.backward(dx, x: normed, kept: kept.behind, pass: pass)
    let dNormed = working.normedGradient.rows(0..<dy.rows)
    VectorOperations.fill(dNormed, with: 0)
    behind.addInputGradient(to: dNormed, pass: pass)
    around.backward(
      dNormed, x: kept.read, statistics: statistics, addingTo: dx, rowLength: pass.rowLength, pool: pool)
    return dx
  }

  /// The way back through an adapter that has read `x + f`, where the two have different gradients.
  ///
  /// - Parameters:
  ///   - dSum: gradient of what the adapter adds to
  ///   - dx: the gradient of what was read is added to it
  /// - Returns: the gradient of `f`
  private func backward(
    _ behind: any BlockAdapter, _ dSum: Matrix, dx: Matrix, kept: Activations, working: Working, pass: Pass
  ) -> Matrix {
    let pool = pass.engine.pool
    let (normed, gradient) = (working.normed.rows(0..<dx.rows), working.normedGradient.rows(0..<dx.rows))
    var dRead = gradient
    VectorOperations.fill(gradient, with: 0)
    if after != nil, let norm = hooks.norm, let statistics = kept.readStatistics {
      norm.forward(kept.read, into: normed, keeping: statistics, pool: pool)
      behind.backward(dSum, x: normed, kept: kept.behind, pass: pass)
      behind.addInputGradient(to: gradient, pass: pass)
      dRead = normed
      VectorOperations.fill(dRead, with: 0)
      norm.backward(gradient, x: kept.read, statistics: statistics, addingTo: dRead, rowLength: nil, pool: pool)
    } else {
      behind.backward(dSum, x: kept.read, kept: kept.behind, pass: pass)
      behind.addInputGradient(to: gradient, pass: pass)
    }
    let output = working.inner.rows(0..<dx.rows)
    if !hasInner { VectorOperations.copy(dSum, into: output, pool: pool) }
    VectorOperations.add(dRead, to: output, pool: pool)
    VectorOperations.add(dRead, to: dx, pool: pool)
    return output
  }

  /// Adds the way back through `before` to `dx`.
  func inputGradient(
    _ dNormed: Matrix, x: Matrix, kept: Activations, addingTo dx: Matrix, pass: Pass
  ) {
    let pool = pass.engine.pool
    hooks.beside?.addInputGradient(to: dx, pass: pass)
    guard let before, let statistics = kept.before else {
      VectorOperations.add(dNormed, to: dx, pool: pool)
      return
    }
    before.backward(dNormed, x: x, statistics: statistics, addingTo: dx, rowLength: pass.rowLength, pool: pool)
  }

  /// Whether the block's last product has to be computed again for the way back.
  var needsOutput: Bool { hasInner || hooks.behind != nil }
}
