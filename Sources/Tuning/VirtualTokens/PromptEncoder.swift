import Kernels
import Memory
import Randomness
import Transformer

/// Makes a prompt or a prefix of an embedding that is trained with it, layer after layer; once for each step and once back.
/// What it makes is all that is needed afterwards.
///
/// Sources: Li & Liang 2021, arXiv 2101.00190, section 4.3; Liu et al. 2021, arXiv 2103.10385 (P-Tuning) and 2110.07602.
final class PromptEncoder {
  /// One of its layers.
  enum Layer {
    /// `activation(x Wᵀ + b)`; `out` columns.
    case linear(name: String, out: Int, activation: DenseStage.Activation)
    /// A long short-term memory that reads both ways; `2 * size` columns.
    case recurrent(name: String, index: Int, size: Int)

    var columns: Int {
      switch self {
      case .linear(_, let out, _): out
      case .recurrent(_, _, let size): 2 * size
      }
    }

    func wishes(in columns: Int) -> [Trainables.Wish] {
      switch self {
      case .linear(let name, let out, _):
        [
          .init("\(name).weight", rows: out, columns: columns),
          .init("\(name).bias", rows: 1, columns: out, isVector: true),
        ]
      case .recurrent(let name, let index, let size): RecurrentStage.wishes(name, index, in: columns, size: size)
      }
    }
  }

  let trainables: Trainables
  let output: Matrix  // [rows, columns]
  let outputGradient: Matrix  // [rows, columns]; empty unless it is trained
  /// What the encoder's output is added to, `[rows, columns]`: then it begins at zero.
  let start: Matrix?
  private let stages: [any EncoderStage]
  /// Outputs of the stages, and their gradients.
  private let states: [(values: Matrix, gradient: Matrix)]

  /// - Parameters:
  ///   - width: of the embedding
  ///   - hasStart: whether something is added to what the last layer makes
  ///   - model: whose head is trained along
  init(
    rows: Int, width: Int, layers: [Layer], hasStart: Bool = false, of model: LanguageModel, in room: TuningRoom
  ) throws {
    let isTrained = room.isTrained
    let inputs = [width] + layers.dropLast().map(\.columns)
    let wishes = zip(layers, inputs).map { $0.wishes(in: $1) }
    trainables = try Trainables(
      [.init("embedding.weight", rows: rows, columns: width)] + wishes.flatMap { $0 }, of: model, in: room)
    var next = 1
    var stages: [any EncoderStage] = []
    for (layer, (wishes, columns)) in zip(layers, zip(wishes, inputs)) {
      let own = Array(trainables.entries[next..<next + wishes.count])
      next += wishes.count
      switch layer {
      case .linear(_, _, let activation): stages.append(DenseStage(own, activation: activation))
      case .recurrent(_, _, let size):
        stages.append(RecurrentStage(own, rows: rows, in: columns, size: size, isTrained: isTrained, arena: room.arena))
      }
    }
    self.stages = stages
    states = layers.enumerated().map { index, layer in
      let name = index == layers.count - 1 ? "prompt or prefix" : "inside the encoder"
      return (
        room.arena.matrix(name, kind: .adapter, rows: rows, columns: layer.columns),
        room.arena.matrix("gradient, \(name)", kind: .adapter, rows: isTrained ? rows : 0, columns: layer.columns)
      )
    }
    (output, outputGradient) = states[states.count - 1]
    start =
      hasStart ? room.arena.matrix("start of a prefix", kind: .adapter, rows: rows, columns: output.columns) : nil
  }

  private var embedding: Trainable { trainables.entries[0] }

  /// As PyTorch starts: the embedding of a normal distribution, layers uniform. What is added to a start begins at zero.
  func initialize(_ generator: inout SplitMix64) {
    embedding.matrix.fill { generator.normal() }
    for stage in stages { stage.initialize(&generator) }
    if start != nil, let last = stages.last as? DenseStage { last.clear() }
  }

  /// The output of the parameters as they are; its gradient begins at zero.
  func forward(pool: ThreadPool) {
    var x = embedding.matrix
    for (stage, state) in zip(stages, states) {
      stage.forward(x, into: state.values, pool: pool)
      x = state.values
    }
    if let start { VectorOperations.add(start, to: output, pool: pool) }
    VectorOperations.fill(outputGradient, with: 0)
  }

  /// Adds to the gradients of the parameters what the output's gradient makes of them.
  func backward(pool: ThreadPool) {
    for index in stages.indices.reversed() {
      let (x, dx) = index == 0 ? (embedding.matrix, embedding.gradient) : states[index - 1]
      if index > 0 { VectorOperations.fill(dx, with: 0) }
      stages[index].backward(states[index].gradient, x: x, y: states[index].values, addingTo: dx, pool: pool)
    }
  }
}

extension Matrix {
  /// Takes elements one after the other, a row at a time: an encoder may be larger than everything else that is trained.
  func fill(_ next: () -> Float) {
    for index in 0..<rows { row(index).assign((0..<columns).map { _ in next() }) }
  }
}

/// A layer of an encoder, with its way back.
protocol EncoderStage {
  func initialize(_ generator: inout SplitMix64)

  /// - Parameters:
  ///   - x: `[rows, in]`
  ///   - y: `[rows, out]`
  func forward(_ x: Matrix, into y: Matrix, pool: ThreadPool)

  /// - Parameters:
  ///   - dy: gradient of `y`, which is no longer needed afterwards
  ///   - y: what `forward` has made of `x`
  func backward(_ dy: Matrix, x: Matrix, y: Matrix, addingTo dx: Matrix, pool: ThreadPool)
}

/// `activation(x Wᵀ + b)`
struct DenseStage: EncoderStage {
  enum Activation {
    case none
    case tanh
    case relu
  }

  private let weight: Trainable
  private let bias: Trainable
  private let activation: Activation

  init(_ entries: [Trainable], activation: Activation) {
    (weight, bias) = (entries[0], entries[1])
    self.activation = activation
  }

  func initialize(_ generator: inout SplitMix64) {
    let bound = 1 / Float(weight.matrix.columns).squareRoot()
    for part in [weight, bias] {
      part.matrix.fill { generator.uniform(in: -bound...bound) }
    }
  }

  /// All parameters become zero.
  func clear() { for part in [weight, bias] { VectorOperations.fill(part.matrix, with: 0) } }

  func forward(_ x: Matrix, into y: Matrix, pool: ThreadPool) {
    ThinProduct.project(x, weight.matrix, into: y, pool: pool)
    VectorOperations.addBias(bias.matrix.row(0), to: y, pool: pool)
    y.elements.withMutableElements { values in
      switch activation {
      case .none: return
      case .tanh: for index in values.indices { values[index] = hyperbolicTangent(values[index]) }
      case .relu: for index in values.indices where values[index] < 0 { values[index] = 0 }
      }
    }
  }

  func backward(_ dy: Matrix, x: Matrix, y: Matrix, addingTo dx: Matrix, pool: ThreadPool) {
    let made = y.elements.values
    dy.elements.withMutableElements { values in
      switch activation {
      case .none: return
      case .tanh: for index in values.indices { values[index] *= 1 - made[index] * made[index] }
      case .relu: for index in values.indices where made[index] <= 0 { values[index] = 0 }
      }
    }
    ThinProduct.weightGradient(dy, x, addingTo: weight.gradient, pool: pool)
    ColumnFactors.biasGradient(dy, addingTo: bias.gradient.row(0), pool: pool)
    LowRankTerm(p: dy, w: weight.matrix).add(to: dx, pool: pool)
  }
}
