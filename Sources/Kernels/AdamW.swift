import CKernels
import Glibc

/// How AdamW's moments are kept between steps.
public enum MomentFormat: String, Sendable, CaseIterable {
  /// Exact, 8 bytes for both moments of a parameter.
  case f32
  /// `BlockwiseMoments`, a little more than 2 bytes. Changes the updates a little.
  case int8

  /// Whether updates are those of `f32`.
  public var isLossless: Bool { self == .f32 }
}

/// AdamW's two moments of every parameter; views that own nothing.
public enum AdamWMoments: Sendable {
  case f32(first: Vector, second: Vector)
  case int8(BlockwiseMoments)

  public var format: MomentFormat {
    switch self {
    case .f32: .f32
    case .int8: .int8
    }
  }
}

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

  /// One update in place; as many gradients and moments as parameters.
  ///
  /// Moments in 8 bits are decoded, updated and rounded again block by block. The parameters take their step by the
  /// moments as they are before rounding.
  /// - Parameters:
  ///   - step: number of this update, from 1
  ///   - parts: that follow each other and make up the whole, each of whole blocks of moments; none where all are alike
  public func update(
    parameters: Vector, gradients: Vector, moments: AdamWMoments, step: Int, learningRate: Double,
    parts: [UpdatePart] = [], pool: ThreadPool
  ) {
    precondition(gradients.count == parameters.count, "gradients fit the parameters")
    let parts = parts.isEmpty ? [UpdatePart(0..<parameters.count)] : parts
    switch moments {
    case .f32(let first, let second):
      precondition(first.count == parameters.count && second.count == parameters.count, "moments fit the parameters")
      for part in parts {
        let start = part.elements.lowerBound
        update(
          part.elements, parameters, gradients, first: first.base + start, second: second.base + start, step: step,
          learningRate: learningRate * part.factor, decay: part.decay(weightDecay))
      }
    case .int8(let moments):
      precondition(moments.count == parameters.count, "moments fit the parameters")
      moments.forEachBlock(pool: pool) { block, elements, worker in
        let (first, second) = moments.working(worker)
        moments.decode(block: block, elements, first: first, second: second)
        let part = parts.first { $0.elements.contains(elements.lowerBound) } ?? UpdatePart(elements)
        update(
          elements, parameters, gradients, first: first, second: second, step: step,
          learningRate: learningRate * part.factor, decay: part.decay(weightDecay))
        moments.encode(block: block, elements, first: first, second: second)
      }
    }
  }

  /// The update of some elements, whose moments begin at `first` and `second`.
  private func update(
    _ elements: Range<Int>, _ parameters: Vector, _ gradients: Vector, first: UnsafeMutablePointer<Float>,
    second: UnsafeMutablePointer<Float>, step: Int, learningRate: Double, decay: Double
  ) {
    KernelTables.float.pointee.adamw(
      elements.count, parameters.base + elements.lowerBound, gradients.base + elements.lowerBound, first, second,
      Float(learningRate), Float(beta1), Float(beta2), Float(epsilon), Float(decay),
      Float(1 - pow(beta1, Double(step))), Float((1 - pow(beta2, Double(step))).squareRoot()))
  }
}
