import Kernels
import Memory
import Randomness
import Transformer

/// Makes a prefix: `tanh(E W1ᵀ + b1) W2ᵀ + b2`, once for each step and once back.
///
/// Source: Li & Liang 2021, arXiv 2101.00190, section 4.3.
final class PrefixEncoder {
  let trainables: Trainables
  let output: Matrix  // [rows, columns]
  let outputGradient: Matrix  // [rows, columns]; empty unless it is trained
  private let hidden: Matrix  // [rows, inner]: after tanh
  private let hiddenGradient: Matrix  // [rows, inner]

  /// - Parameter model: whose head is trained along
  init(
    rows: Int, width: Int, inner: Int, columns: Int, of model: LanguageModel, isTrained: Bool, arena: Arena
  ) throws {
    trainables = try Trainables(
      [
        .init("embedding.weight", rows: rows, columns: width),
        .init("transform.0.weight", rows: inner, columns: width),
        .init("transform.0.bias", rows: 1, columns: inner, isVector: true),
        .init("transform.2.weight", rows: columns, columns: inner),
        .init("transform.2.bias", rows: 1, columns: columns, isVector: true),
      ], of: model, trains: isTrained, arena: arena)
    output = arena.matrix("prefix", kind: .adapter, rows: rows, columns: columns)
    outputGradient = arena.matrix(
      "gradient of the prefix", kind: .adapter, rows: isTrained ? rows : 0, columns: columns)
    hidden = arena.matrix("inside the prefix's encoder", kind: .adapter, rows: rows, columns: inner)
    hiddenGradient = arena.matrix(
      "gradient inside the prefix's encoder", kind: .adapter, rows: isTrained ? rows : 0, columns: inner)
  }

  private var embedding: Trainable { trainables.entries[0] }
  private var first: (weight: Trainable, bias: Trainable) { (trainables.entries[1], trainables.entries[2]) }
  private var second: (weight: Trainable, bias: Trainable) { (trainables.entries[3], trainables.entries[4]) }

  func initialize(_ generator: inout SplitMix64) {
    embedding.matrix.elements.assign((0..<embedding.count).map { _ in generator.normal() })
    for (weight, bias) in [first, second] {
      let bound = 1 / Float(weight.matrix.columns).squareRoot()
      for part in [weight, bias] {
        part.matrix.elements.assign((0..<part.count).map { _ in generator.uniform(in: -bound...bound) })
      }
    }
  }

  /// The prefix of the parameters as they are; its gradient begins at zero.
  func forward(pool: ThreadPool) {
    ThinProduct.project(embedding.matrix, first.weight.matrix, into: hidden, pool: pool)
    VectorOperations.addBias(first.bias.matrix.row(0), to: hidden, pool: pool)
    hidden.elements.assign(hidden.elements.values.map(hyperbolicTangent))
    ThinProduct.project(hidden, second.weight.matrix, into: output, pool: pool)
    VectorOperations.addBias(second.bias.matrix.row(0), to: output, pool: pool)
    VectorOperations.fill(outputGradient, with: 0)
  }

  /// Adds to the gradients of the parameters what the prefix's gradient makes of them.
  func backward(pool: ThreadPool) {
    func passBack(_ layer: (weight: Trainable, bias: Trainable), _ dy: Matrix, x: Matrix, addingTo dx: Matrix) {
      ThinProduct.weightGradient(dy, x, addingTo: layer.weight.gradient, pool: pool)
      ColumnFactors.biasGradient(dy, addingTo: layer.bias.gradient.row(0), pool: pool)
      LowRankTerm(p: dy, w: layer.weight.matrix).add(to: dx, pool: pool)
    }
    VectorOperations.fill(hiddenGradient, with: 0)
    passBack(second, outputGradient, x: hidden, addingTo: hiddenGradient)
    hiddenGradient.elements.assign(
      zip(hiddenGradient.elements.values, hidden.elements.values).map { $0 * (1 - $1 * $1) })
    passBack(first, hiddenGradient, x: embedding.matrix, addingTo: embedding.gradient)
  }
}
