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

/// What a training method adds to one frozen linear layer `y = x Wᵀ`.
public protocol LinearAdapter: AnyObject {
  /// Floats per token that `forward` leaves for `backward`.
  var keptColumns: Int { get }

  /// The adapter's share of the output, which the frozen product takes along.
  ///
  /// - Parameters:
  ///   - x: input of the linear layer, `[tokens, in]`
  ///   - kept: `[tokens, keptColumns]`, written for `backward`
  func forward(_ x: Matrix, keeping kept: Matrix, pass: Pass) -> LowRankTerm

  /// Writes again what `forward` kept, without its output.
  func recompute(_ x: Matrix, keeping kept: Matrix, pass: Pass)

  /// Adds to the adapter's gradients and returns its share of the input gradient, valid until the next call for a layer that
  /// does not have the same input.
  ///
  /// - Parameters:
  ///   - dy: gradient of the output, `[tokens, out]`
  ///   - x: what `forward` got
  ///   - kept: what `forward` kept
  func backward(_ dy: Matrix, x: Matrix, kept: Matrix, pass: Pass) -> LowRankTerm
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
  /// Asked before every layer of a micro-batch; what it throws ends the pass, of which nothing is left then but half-made
  /// gradients.
  public var interruption: (() throws -> Void)?

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

/// A frozen linear layer with, perhaps, an adapter: `y = x Wᵀ + b + adapter(x)`.
public final class Linear {
  public let location: LinearLocation
  public let weight: StoredMatrix  // [out, in]
  let bias: Vector?  // [out]
  public internal(set) var adapter: (any LinearAdapter)?

  init(location: LinearLocation, weight: StoredMatrix, bias: Vector?) {
    self.location = location
    self.weight = weight
    self.bias = bias
  }

  /// - Parameters:
  ///   - x: prepared input, `[tokens, in]`
  ///   - y: output, `[tokens, out]`; added to if `accumulate`
  ///   - kept: what the adapter keeps for `backward`
  func forward(_ x: PreparedRows, into y: Matrix, accumulate: Bool = false, keeping kept: Matrix, pass: Pass) {
    let share = adapter?.forward(x.values, keeping: kept, pass: pass)
    pass.engine.product(x, weight, into: y, accumulate: accumulate, adding: share)
    if let bias { VectorOperations.addBias(bias, to: y, pool: pass.engine.pool) }
  }

  /// Outputs of several layers with the same input; parameters as in the other `forward`.
  static func forward(_ x: PreparedRows, through layers: [(layer: Linear, y: Matrix, kept: Matrix)], pass: Pass) {
    pass.engine.products(
      x,
      layers.map { layer, y, kept in
        (layer.weight, y, layer.adapter?.forward(x.values, keeping: kept, pass: pass))
      })
    for (layer, y, _) in layers {
      if let bias = layer.bias { VectorOperations.addBias(bias, to: y, pool: pass.engine.pool) }
    }
  }

  /// `dx = dy W + adapter`; the bias is frozen.
  func backward(_ dy: Matrix, x: Matrix, kept: Matrix, into dx: Matrix, pass: Pass) {
    let share = adapter?.backward(dy, x: x, kept: kept, pass: pass)
    pass.engine.inputGradient(dy, weight, into: dx, accumulate: false, adding: share)
  }

  /// The sum of the input gradients of several layers with the same input.
  ///
  /// - Parameters:
  ///   - x: their input, `[tokens, in]`
  ///   - dx: `[tokens, in]`; `nil` if nothing below is trained
  static func backward(
    through layers: [(layer: Linear, dy: Matrix, kept: Matrix)], x: Matrix, into dx: Matrix?, pass: Pass
  ) {
    let sources = layers.map { layer, dy, kept in
      (dy, layer.weight, layer.adapter?.backward(dy, x: x, kept: kept, pass: pass))
    }
    if let dx { pass.engine.inputGradients(sources, into: dx) }
  }
}
