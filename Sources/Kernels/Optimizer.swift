/// The rules by which parameters may follow their gradients.
public enum OptimizerKind: String, Sendable, CaseIterable {
  case adamw, adafactor, lion, sgd
}

/// Parameters that a rule treats alike.
public struct UpdatePart: Sendable, Equatable {
  public let elements: Range<Int>
  /// Of the learning rate.
  public let factor: Double
  /// Whether weight decay takes part.
  public let decays: Bool

  public init(_ elements: Range<Int>, factor: Double = 1, decays: Bool = true) {
    self.elements = elements
    self.factor = factor
    self.decays = decays
  }

  /// What is left of a weight decay.
  func decay(_ weightDecay: Double) -> Double { decays ? weightDecay : 0 }
}

/// A rule with its numbers.
public enum Optimizer: Sendable {
  case adamw(AdamW)
  case adafactor(Adafactor)
  case lion(Lion)
  case sgd(GradientDescent)

  /// The rule with the numbers that it is usually given.
  public init(_ kind: OptimizerKind, weightDecay: Double) {
    switch kind {
    case .adamw: self = .adamw(AdamW(weightDecay: weightDecay))
    case .adafactor: self = .adafactor(Adafactor(weightDecay: weightDecay))
    case .lion: self = .lion(Lion(weightDecay: weightDecay))
    case .sgd: self = .sgd(GradientDescent(weightDecay: weightDecay))
    }
  }

  /// Whether parameters shrink by themselves.
  public var hasDecay: Bool {
    switch self {
    case .adamw(let rule): rule.weightDecay != 0
    case .adafactor(let rule): rule.weightDecay != 0
    case .lion(let rule): rule.weightDecay != 0
    case .sgd(let rule): rule.weightDecay != 0
    }
  }

  /// One update in place.
  ///
  /// - Parameters:
  ///   - gradients: as many as parameters
  ///   - state: as `kind` wants it
  ///   - step: number of this update, from 1
  ///   - parts: matrices that follow each other and make up the whole; none where all are alike
  public func update(
    parameters: Vector, gradients: Vector, state: OptimizerState, step: Int, learningRate: Double,
    parts: [UpdatePart] = [], pool: ThreadPool
  ) {
    precondition(gradients.count == parameters.count, "gradients fit the parameters")
    let parts = parts.isEmpty ? [UpdatePart(0..<parameters.count)] : parts
    switch (self, state) {
    case (.adamw(let rule), .moments(let moments)):
      rule.update(
        parameters: parameters, gradients: gradients, moments: moments, step: step, learningRate: learningRate,
        parts: parts, pool: pool)
    case (.adafactor(let rule), .factored(let squares)):
      rule.update(
        parameters: parameters, gradients: gradients, squares: squares, step: step, learningRate: learningRate,
        parts: parts, pool: pool)
    case (.lion(let rule), .momentum(let momentum)):
      for part in parts {
        rule.update(part, parameters, gradients, momentum: momentum, learningRate: learningRate * part.factor)
      }
    case (.sgd(let rule), .none):
      for part in parts { rule.update(part, parameters, gradients, learningRate: learningRate * part.factor) }
    default: preconditionFailure("the state is that of another optimiser")
    }
  }
}

/// What an optimiser remembers from step to step; views that own nothing. Zeroed memory is the state before the first step.
public enum OptimizerState: Sendable {
  /// Of AdamW.
  case moments(AdamWMoments)
  /// Of Adafactor.
  case factored(FactoredSquares)
  /// Of Lion: one of each parameter.
  case momentum(Vector)
  /// Plain descent remembers nothing.
  case none
}

/// Plain descent along the gradient, as `torch.optim.SGD` without momentum computes it: weight decay is part of the gradient.
public struct GradientDescent: Sendable {
  public var weightDecay: Double

  public init(weightDecay: Double = 0) { self.weightDecay = weightDecay }

  func update(_ part: UpdatePart, _ parameters: Vector, _ gradients: Vector, learningRate: Double) {
    let (rate, decay) = (Float(learningRate), Float(part.decay(weightDecay)))
    let (p, g) = (parameters.base, gradients.base)
    for i in part.elements { p[i] -= rate * (g[i] + decay * p[i]) }
  }
}

/// Steps of one size, along the sign of a mean of gradients: half of AdamW's memory. It wants a learning rate of a third to a
/// tenth of AdamW's, and as much more weight decay.
///
/// Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms", arXiv 2302.06675.
public struct Lion: Sendable {
  public var beta1: Double
  public var beta2: Double
  public var weightDecay: Double

  public init(beta1: Double = 0.9, beta2: Double = 0.99, weightDecay: Double = 0) {
    self.beta1 = beta1
    self.beta2 = beta2
    self.weightDecay = weightDecay
  }

  func update(
    _ part: UpdatePart, _ parameters: Vector, _ gradients: Vector, momentum: Vector, learningRate: Double
  ) {
    precondition(momentum.count == parameters.count, "a momentum of each parameter")
    let rate = Float(learningRate)
    let shrinking = Float(1 - learningRate * part.decay(weightDecay))
    let (b1, b2) = (Float(beta1), Float(beta2))
    let (rest1, rest2) = (Float(1 - beta1), Float(1 - beta2))
    let (p, g, m) = (parameters.base, gradients.base, momentum.base)
    for i in part.elements {
      let direction = b1 * m[i] + rest1 * g[i]
      let sign: Float = direction > 0 ? 1 : direction < 0 ? -1 : 0
      p[i] = p[i] * shrinking - rate * sign
      m[i] = b2 * m[i] + rest2 * g[i]
    }
  }
}
