import Architectures
import Glibc
import Kernels

/// The loss of what a head says of texts or tokens.
///
/// One of several labels: cross-entropy, each text weighted by its label's class and smoothed as torch does (Szegedy et al.
/// 2015, arXiv 1512.00567). Labels that hold or not: the mean of the binary cross-entropies. Numbers: the mean of the squared
/// errors. Sums are over rows; callers divide by `divisor`.
public struct LabelLoss: Sendable {
  public var problem: ProblemType
  /// Of each label, or none.
  public var classWeights: [Float]
  /// Share of a label that is spread over all.
  public var smoothing: Float

  public init(problem: ProblemType, classWeights: [Float] = [], smoothing: Float = 0) {
    self.problem = problem
    self.classWeights = classWeights
    self.smoothing = smoothing
  }

  /// What a sum is divided by to be a mean, as torch does: the weights of the labels' classes, or the number of rows.
  ///
  /// - Parameter labels: of tokens, those without one among them
  public func divisor(_ labels: [Int32]) -> Double {
    let labelled = labels.lazy.filter { $0 != Label.ignored }
    guard problem == .singleLabel, !classWeights.isEmpty else { return Double(labelled.count) }
    return labelled.reduce(0.0) { $0 + Double(classWeights[Int($1)]) }
  }

  /// Sum of the losses of all rows; with a scale `logits` become the gradient of `scale` times it.
  ///
  /// - Parameters:
  ///   - logits: `[rows, labels]`
  ///   - labels: id of each row's label, `[rows]`; for one of several
  ///   - targets: number of each label, `[rows * labels]`; for the other problems
  public func sum(_ logits: Matrix, labels: [Int32], targets: ArraySlice<Float>, gradientScale: Float?) -> Double {
    var sum = 0.0
    let count = logits.columns
    for row in 0..<logits.rows {
      let line = logits.row(row)
      let values = line.values
      let (loss, gradient): (Double, [Double])
      if problem == .singleLabel {
        (loss, gradient) = crossEntropy(values, label: Int(labels[row]))
      } else {
        let first = targets.startIndex + row * count
        (loss, gradient) = numbers(values, targets[first..<first + count])
      }
      sum += loss
      if let gradientScale { line.assign(gradient.map { Float($0) * gradientScale }) }
    }
    return sum
  }

  private func crossEntropy(_ logits: [Float], label: Int) -> (Double, [Double]) {
    let largest = Double(logits.max() ?? 0)
    let exponentials = logits.map { exp(Double($0) - largest) }
    let total = exponentials.reduce(0, +)
    let logSum = largest + log(total)
    let spread = Double(smoothing) / Double(logits.count)
    func weight(_ id: Int) -> Double { classWeights.isEmpty ? 1 : Double(classWeights[id]) }
    // share of each label in the loss
    let shares = logits.indices.map { weight($0) * (spread + ($0 == label ? 1 - Double(smoothing) : 0)) }
    let all = shares.reduce(0, +)
    let loss = zip(shares, logits).reduce(0.0) { $0 + $1.0 * (logSum - Double($1.1)) }
    return (loss, logits.indices.map { all * exponentials[$0] / total - shares[$0] })
  }

  private func numbers(_ logits: [Float], _ targets: ArraySlice<Float>) -> (Double, [Double]) {
    let part = 1 / Double(logits.count)
    var loss = 0.0
    let gradient = zip(logits.indices, zip(logits, targets)).map { id, pair -> Double in
      let (x, y) = (Double(pair.0), Double(pair.1))
      let weight = part * (classWeights.isEmpty ? 1 : Double(classWeights[id]))
      if problem == .regression {
        loss += weight * (x - y) * (x - y)
        return weight * 2 * (x - y)
      }
      loss += weight * (max(x, 0) - x * y + log1p(exp(-abs(x))))
      return weight * (1 / (1 + exp(-x)) - y)
    }
    return (loss, gradient)
  }
}
