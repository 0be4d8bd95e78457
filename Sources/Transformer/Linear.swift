import Kernels

/// Where a linear layer stands in the model.
public struct LinearLocation: Hashable, Sendable {
  /// Place among all linear layers, in the order of computation.
  public let index: Int
  /// The path that Hugging Face gives it: `model.layers.3.mlp.up_proj`.
  public let name: String
  /// Place among the layers that have the same input.
  public let place: Int
  /// Output and input features.
  public let shape: (out: Int, in: Int)

  public static func == (a: Self, b: Self) -> Bool { a.index == b.index && a.name == b.name }
  public func hash(into hasher: inout Hasher) { hasher.combine(index) }
}

/// What every output of a linear layer is multiplied with.
public struct OutputScale {
  let factor: Vector  // [out]
  /// Whether the layer's bias is multiplied too.
  let coversBias: Bool

  public init(factor: Vector, coversBias: Bool) {
    self.factor = factor
    self.coversBias = coversBias
  }
}

/// What a training method makes of one frozen linear layer: `y = outputScale * ((inputScale * x) Wᵀ + term)`.
public protocol LinearAdapter: AnyObject {
  /// Floats per token that `forward` leaves for `backward`; with a scale of the outputs the last `out` of them are the
  /// outputs before it.
  var keptColumns: Int { get }
  /// Factors of the inputs, `[in]`; only of layers that are the last of their block.
  var inputScale: Vector? { get }

  /// Whether what it keeps is the input before its scale: where the block does not have that any more on the way back.
  var keepsInput: Bool { get }
  /// Valid after `forward`.
  var outputScale: OutputScale? { get }

  /// The adapter's share of the output before its scale, which the frozen product takes along.
  ///
  /// - Parameters:
  ///   - x: input of the linear layer, `[tokens, in]`
  ///   - weight: the frozen weight
  ///   - kept: `[tokens, keptColumns]`, written for `backward`
  func forward(_ x: Matrix, weight: StoredMatrix, keeping kept: Matrix, pass: Pass) -> LowRankTerm?

  /// Adds to the adapter's gradients.
  ///
  /// - Parameters:
  ///   - dy: gradient of the output, `[tokens, out]`
  ///   - isFree: whether `dy` may be changed
  ///   - x: input of the linear layer, without its scale
  ///   - kept: what `forward` kept
  /// - Returns: the gradient of the output before its scale, and the adapter's share of the input gradient, valid until the
  ///   next call for a layer that does not have the same input
  func backward(
    _ dy: Matrix, isFree: Bool, x: Matrix, kept: Matrix, pass: Pass
  ) -> (dy: Matrix, term: LowRankTerm?)

  /// Turns the gradient of the scaled input into that of the input, and adds to the gradient of the scale.
  func scaleInputGradient(_ dx: Matrix, x: Matrix, pass: Pass)
}

extension LinearAdapter {
  public var inputScale: Vector? { nil }
  public var keepsInput: Bool { false }
  public var outputScale: OutputScale? { nil }
  public func scaleInputGradient(_ dx: Matrix, x: Matrix, pass: Pass) {}
}

/// What one pass over tokens knows besides them.
public struct Pass {
  public let engine: ComputeEngine
  /// Seed of the dropout masks of this step; `nil` outside training.
  public let dropoutSeed: UInt64?
  /// Place of the first token among all of the step: masks do not depend on how the step is split.
  public private(set) var firstToken: Int
  /// Tokens of a row of the batch. Sums over tokens add up parts of rows, so they do not depend on the split either.
  public internal(set) var rowLength: Int

  public init(engine: ComputeEngine, dropoutSeed: UInt64? = nil, firstToken: Int = 0) {
    self.engine = engine
    self.dropoutSeed = dropoutSeed
    self.firstToken = firstToken
    rowLength = .max
  }

  /// The same for tokens that begin `count` later.
  func advanced(by count: Int) -> Pass {
    var pass = self
    pass.firstToken += count
    return pass
  }
}

/// A bias that a method trains in place of the model's.
public struct TrainedBias {
  let values: Vector  // [out]
  /// Empty unless it is trained.
  let gradient: Vector

  public init(values: Vector, gradient: Vector) {
    self.values = values
    self.gradient = gradient
  }
}

/// A frozen linear layer with, perhaps, an adapter: `y = x Wᵀ + b + adapter(x)`.
public final class Linear {
  public let location: LinearLocation
  public let weight: StoredMatrix  // [out, in]
  /// The model's own, `[out]`.
  let frozenBias: Vector?
  /// In place of the model's.
  var trainedBias: TrainedBias?
  /// Whether nothing but a norm follows: it makes the output of each row as large as that of any other, and with it the
  /// row's error. The first token of a text, on which heads rest that have nothing to say, has outputs a hundredth of the
  /// others' in Gemma.
  private let meetsNorm: Bool
  public internal(set) var adapter: (any LinearAdapter)?

  init(location: LinearLocation, weight: StoredMatrix, bias: Vector?, meetsNorm: Bool) {
    self.location = location
    self.weight = weight
    frozenBias = bias
    self.meetsNorm = meetsNorm
  }

  /// `[out]`
  private var bias: Vector? { trainedBias?.values ?? frozenBias }

  /// Whether a method has hooked in, so that the way back must come here.
  var isHooked: Bool { adapter != nil || trainedBias != nil }

  /// Prepares an input of this layer and of those that share it.
  func prepare(_ x: Matrix, rowsPerSequence: Int, pass: Pass) -> PreparedRows {
    pass.engine.prepare(x, for: weight, rowsPerSequence: rowsPerSequence, meanByRow: meetsNorm)
  }

  /// The adapter's part of what a layer may keep: where several take turns, there is room for the one that keeps most.
  private func part(_ kept: Matrix) -> Matrix {
    adapter.map { kept.columns(0..<min($0.keptColumns, kept.columns)) } ?? kept
  }

  /// - Parameters:
  ///   - x: prepared input, `[tokens, in]`, under the adapter's scale
  ///   - y: output, `[tokens, out]`; added to if `accumulate`
  ///   - kept: what the adapter keeps for `backward`
  func forward(_ x: PreparedRows, into y: Matrix, accumulate: Bool = false, keeping kept: Matrix, pass: Pass) {
    let kept = part(kept)
    let share = adapter?.forward(x.values, weight: weight, keeping: kept, pass: pass)
    let (product, scaled) = targets(y, accumulate: accumulate, keeping: kept)
    pass.engine.product(
      x, weight, into: product, accumulate: accumulate && adapter?.outputScale == nil, adding: share, scaled: scaled)
    finish(y, accumulate: accumulate, kept: kept, pass: pass)
  }

  /// Outputs of several layers with the same input; parameters as in the other `forward`.
  static func forward(_ x: PreparedRows, through layers: [(layer: Linear, y: Matrix, kept: Matrix)], pass: Pass) {
    let layers = layers.map { (layer: $0.layer, y: $0.y, kept: $0.layer.part($0.kept)) }
    pass.engine.products(
      x,
      layers.map { layer, y, kept in
        let share = layer.adapter?.forward(x.values, weight: layer.weight, keeping: kept, pass: pass)
        let (product, scaled) = layer.targets(y, accumulate: false, keeping: kept)
        return (layer.weight, product, share, scaled)
      })
    for (layer, y, kept) in layers { layer.finish(y, accumulate: false, kept: kept, pass: pass) }
  }

  /// Writes again what the adapter keeps, without the output; `x` as in `forward`.
  func recompute(_ x: Matrix, rowsPerSequence: Int, keeping kept: Matrix, pass: Pass) {
    guard let adapter else { return }
    let kept = part(kept)
    guard adapter.outputScale != nil else {
      _ = adapter.forward(x, weight: weight, keeping: kept, pass: pass)
      return
    }
    let prepared = prepare(x, rowsPerSequence: rowsPerSequence, pass: pass)
    let share = adapter.forward(x, weight: weight, keeping: kept, pass: pass)
    let unscaled = unscaledOutput(kept)
    pass.engine.product(prepared, weight, into: unscaled, accumulate: false, adding: share)
    if let bias, adapter.outputScale?.coversBias == true {
      VectorOperations.addBias(bias, to: unscaled, pool: pass.engine.pool)
    }
  }

  /// Scales an input that is about to be prepared, if the adapter wants it.
  ///
  /// - Parameter kept: gets the input as it was, if the adapter keeps it
  func scaleInput(_ x: Matrix, keeping kept: Matrix? = nil, pass: Pass) {
    guard let scale = adapter?.inputScale else { return }
    if let kept, adapter?.keepsInput == true { VectorOperations.copy(x, into: part(kept), pool: pass.engine.pool) }
    ColumnFactors.scale(x, by: scale, into: x, pool: pass.engine.pool)
  }

  /// Where the outputs before their scale are kept.
  private func unscaledOutput(_ kept: Matrix) -> Matrix {
    kept.columns(kept.columns - location.shape.out..<kept.columns)
  }

  /// Whether a bias comes between the product and the scale of the outputs.
  private var scalesBias: Bool { bias != nil && adapter?.outputScale?.coversBias == true }

  /// Where the product goes, and what is made of it at once.
  private func targets(
    _ y: Matrix, accumulate: Bool, keeping kept: Matrix
  ) -> (product: Matrix, scaled: ScaledColumns?) {
    guard let scale = adapter?.outputScale else { return (y, nil) }
    let scaled = ScaledColumns(factor: scale.factor, y: y, accumulate: accumulate)
    return (unscaledOutput(kept), scalesBias ? nil : scaled)
  }

  /// What is left to do behind the product.
  private func finish(_ y: Matrix, accumulate: Bool, kept: Matrix, pass: Pass) {
    guard let bias else { return }
    let pool = pass.engine.pool
    guard scalesBias, let scale = adapter?.outputScale else {
      VectorOperations.addBias(bias, to: y, pool: pool)
      return
    }
    let unscaled = unscaledOutput(kept)
    VectorOperations.addBias(bias, to: unscaled, pool: pool)
    ColumnFactors.scale(unscaled, by: scale.factor, into: y, accumulate: accumulate, pool: pool)
  }

  /// `db += Σ dy`, if the bias is trained.
  private func addBiasGradient(_ dy: Matrix, pass: Pass) {
    guard let gradient = trainedBias?.gradient, gradient.count > 0 else { return }
    ColumnFactors.biasGradient(dy, addingTo: gradient, rowLength: pass.rowLength, pool: pass.engine.pool)
  }

  /// `dx = dy W + adapter`
  func backward(_ dy: Matrix, x: Matrix, kept: Matrix, into dx: Matrix, pass: Pass) {
    addBiasGradient(dy, pass: pass)
    guard let adapter else {
      pass.engine.inputGradient(dy, weight, into: dx, accumulate: false)
      return
    }
    let kept = part(kept)
    let (dy, share) = adapter.backward(dy, isFree: false, x: x, kept: kept, pass: pass)
    pass.engine.inputGradient(dy, weight, into: dx, accumulate: false, adding: share)
    adapter.scaleInputGradient(dx, x: adapter.keepsInput ? kept : x, pass: pass)
  }

  /// The sum of the input gradients of several layers with the same input.
  ///
  /// - Parameters:
  ///   - layers: the gradients of whose outputs are spent
  ///   - x: their input, `[tokens, in]`
  ///   - dx: `[tokens, in]`; `nil` if nothing below is trained
  static func backward(
    through layers: [(layer: Linear, dy: Matrix, kept: Matrix)], x: Matrix, into dx: Matrix?, pass: Pass
  ) {
    let sources = layers.map { layer, dy, kept -> (dy: Matrix, weight: StoredMatrix, term: LowRankTerm?) in
      layer.addBiasGradient(dy, pass: pass)
      guard let adapter = layer.adapter else { return (dy, layer.weight, nil) }
      let (dy, share) = adapter.backward(dy, isFree: true, x: x, kept: layer.part(kept), pass: pass)
      return (dy, layer.weight, share)
    }
    if let dx { pass.engine.inputGradients(sources, into: dx) }
  }
}
