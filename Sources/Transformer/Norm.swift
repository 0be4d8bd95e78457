import Kernels

/// Root-mean-square normalisation: `y = x / rms(x) * weight`, `rms(x) = sqrt(mean(x²) + epsilon)`.
///
/// Source: Zhang & Sennrich 2019, arXiv 1910.07467.
struct RMSNorm {
  let weight: Vector  // [hidden], frozen
  let epsilon: Float

  /// - Parameters:
  ///   - x: input, `[tokens, hidden]`
  ///   - y: output, `[tokens, hidden]`; may be `x`
  ///   - inverseRMS: kept for `backward`, `[tokens]`
  func forward(_ x: Matrix, into y: Matrix, keeping inverseRMS: Vector, pool: ThreadPool) {
    VectorOperations.rmsNorm(x, weight: weight, epsilon: epsilon, into: y, keeping: inverseRMS, pool: pool)
  }

  /// `dx += inverseRMS * (w·dy - x̂ mean(w·dy·x̂))`, where `x̂ = x * inverseRMS`.
  func backward(_ dy: Matrix, x: Matrix, inverseRMS: Vector, addingTo dx: Matrix, pool: ThreadPool) {
    VectorOperations.rmsNormBackward(
      dy, x: x, weight: weight, inverseRMS: inverseRMS, addingTo: dx, pool: pool)
  }
}
