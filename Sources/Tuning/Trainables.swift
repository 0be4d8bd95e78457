import Architectures
import Kernels
import Memory
import Transformer

/// One matrix that is trained, and what an optimiser and a file need to know of it.
public struct Trainable {
  /// As the method's files call it.
  public let name: String
  public let matrix: Matrix
  /// Empty unless it is trained.
  public let gradient: Matrix
  /// Whether `matrix` is the transpose of what a file holds.
  public let isTransposed: Bool
  /// Whether a file holds it with one dimension.
  public let isVector: Bool
  /// Of the learning rate.
  public let learningRateFactor: Double

  /// Whether weight decay takes part: as transformers' `Trainer` has it, not in biases, and not in weights of norms.
  public var decays: Bool { mayDecay && !(name.split(separator: ".").last?.hasPrefix("bias") ?? false) }
  /// Whether it is what decays unless its name says otherwise.
  private(set) var mayDecay = true

  /// Shape in a file.
  public var shape: [Int] {
    isVector ? [count] : isTransposed ? [matrix.columns, matrix.rows] : [matrix.rows, matrix.columns]
  }

  /// Elements.
  public var count: Int { matrix.rows * matrix.columns }

  /// The same under another name.
  func named(_ name: String) -> Trainable {
    Trainable(
      name: name, matrix: matrix, gradient: gradient, isTransposed: isTransposed, isVector: isVector,
      learningRateFactor: learningRateFactor, mayDecay: mayDecay)
  }

  /// The elements in the order of a file.
  public var values: [Float] { Self.inFileOrder(matrix, isTransposed: isTransposed) }

  /// The elements of the gradient, likewise.
  public var gradientValues: [Float] { Self.inFileOrder(gradient, isTransposed: isTransposed) }

  private static func inFileOrder(_ matrix: Matrix, isTransposed: Bool) -> [Float] {
    let rows = (0..<matrix.rows).map { matrix.row($0).values }
    guard isTransposed else { return rows.flatMap { $0 } }
    return (0..<matrix.columns).flatMap { column in rows.map { $0[column] } }
  }

  /// Hands over what a file holds of `matrix` or `gradient`, row by row: nothing as large as it is ever made.
  func forEachFileRow(of matrix: Matrix, _ body: ([Float]) throws -> Void) rethrows {
    if isTransposed {
      for column in 0..<matrix.columns { try body((0..<matrix.rows).map { matrix.row($0)[column] }) }
    } else {
      for row in 0..<matrix.rows { try body(matrix.row(row).values) }
    }
  }

  /// Takes over elements in the order of a file.
  public func assign(_ values: [Float]) {
    for row in 0..<matrix.rows {
      matrix.row(row).assign(
        (0..<matrix.columns).map { isTransposed ? values[$0 * matrix.rows + row] : values[row * matrix.columns + $0] })
    }
  }
}

/// Everything that a run trains: named matrices over one vector of parameters and one of gradients. Optimisers, clipping,
/// checkpoints and files of adapters see only this.
public struct Trainables {
  /// All parameters, matrix by matrix.
  public let parameters: Vector
  /// Laid out as `parameters`; empty unless trained.
  public let gradients: Vector
  public let entries: [Trainable]
  /// The model's head, whose matrices are the entries from `headStart` on.
  var head: HeadTrainables?
  var headStart = 0
  /// What the model is asked for, whether the head is among these or beside another method.
  var task = ModelTask.causalLM
  /// Names of the head's parameters in the model, where another method has them.
  var headElsewhere: [String] = []

  /// A matrix to be reserved.
  public struct Wish {
    let name: String
    let rows: Int
    let columns: Int
    let isTransposed: Bool
    let isVector: Bool
    let learningRateFactor: Double
    let decays: Bool

    /// - Parameters:
    ///   - name: as the method's files call it
    ///   - isTransposed: whether a file holds the transpose
    ///   - isVector: whether a file holds one dimension
    ///   - decays: whether weight decay takes part; in biases it never does
    public init(
      _ name: String, rows: Int, columns: Int, isTransposed: Bool = false, isVector: Bool = false,
      learningRateFactor: Double = 1, decays: Bool = true
    ) {
      self.decays = decays
      self.name = name
      self.rows = rows
      self.columns = columns
      self.isTransposed = isTransposed
      self.isVector = isVector
      self.learningRateFactor = learningRateFactor
    }
  }

  /// Reserves the matrices.
  public init(_ wishes: [Wish], in room: TuningRoom) {
    let count = wishes.reduce(0) { $0 + $1.rows * $1.columns }
    let trains = room.isTrained
    let (parameters, gradients) = room.vectors ?? Self.vectors(count, trains: trains, arena: room.arena)
    precondition(parameters.count == count, "the vectors are those of the matrices")
    var offset = 0
    entries = wishes.map { wish in
      defer { offset += wish.rows * wish.columns }
      return Trainable(
        name: wish.name, matrix: parameters.matrix(at: offset, rows: wish.rows, columns: wish.columns),
        gradient: trains
          ? gradients.matrix(at: offset, rows: wish.rows, columns: wish.columns)
          : Matrix(gradients.base, rows: 0, columns: wish.columns),
        isTransposed: wish.isTransposed, isVector: wish.isVector, learningRateFactor: wish.learningRateFactor,
        mayDecay: wish.decays)
    }
    self.parameters = parameters
    self.gradients = gradients
  }

  /// Vectors of parameters and, if they are trained, of their gradients.
  static func vectors(_ count: Int, trains: Bool, arena: Arena) -> (parameters: Vector, gradients: Vector) {
    (
      arena.vector("adapter parameters", kind: .adapter, count: count),
      arena.vector("adapter gradients", kind: .gradients, count: trains ? count : 0)
    )
  }

  /// Those of several methods, whose vectors are parts of these in their order.
  init(joining parts: [Trainables], parameters: Vector, gradients: Vector) {
    self.parameters = parameters
    self.gradients = gradients
    entries = parts.flatMap(\.entries)
  }

  /// Parts of `parameters` that an optimiser treats in a way of their own, which then are all of them; none where all are
  /// alike.
  ///
  /// - Parameter hasDecay: whether there is any weight decay
  public func updateParts(hasDecay: Bool) -> [UpdatePart] {
    guard entries.contains(where: { $0.learningRateFactor != 1 || hasDecay && !$0.decays }) else { return [] }
    var start = 0
    return entries.map { entry in
      defer { start += entry.count }
      return UpdatePart(start..<start + entry.count, factor: entry.learningRateFactor, decays: entry.decays)
    }
  }

  /// Elements of each matrix, in the order of `parameters`.
  public var counts: [Int] { entries.map(\.count) }
}
