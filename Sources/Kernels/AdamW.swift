import CKernels
import Foundation

/// Adam with decoupled weight decay, as `torch.optim.AdamW` computes it.
///
/// Source: Loshchilov & Hutter 2017, arXiv 1711.05101.
public struct AdamW: Sendable {
  public var beta1: Double
  public var beta2: Double
  public var epsilon: Double
  public var weightDecay: Double

  public init(beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0) {
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
  }

  /// One update in place; all vectors of one length.
  /// - Parameter step: number of this update, from 1
  public func update(
    parameters: Vector, gradients: Vector, firstMoment: Vector, secondMoment: Vector, step: Int, learningRate: Double
  ) {
    precondition(
      gradients.count == parameters.count && firstMoment.count == parameters.count
        && secondMoment.count == parameters.count, "moments and gradients fit the parameters")
    VectorOperations.kernels.adamw(
      parameters.count, parameters.base, gradients.base, firstMoment.base, secondMoment.base, Float(learningRate),
      Float(beta1), Float(beta2), Float(epsilon), Float(weightDecay), Float(1 - pow(beta1, Double(step))),
      Float((1 - pow(beta2, Double(step))).squareRoot()))
  }
}
