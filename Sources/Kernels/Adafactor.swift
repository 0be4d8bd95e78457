import Glibc

/// Means of squared gradients: of a matrix only those of its rows and of its columns, whose product stands for the elements.
/// A view that owns nothing.
public struct FactoredSquares: Sendable {
  /// What a piece of the parameters looks like.
  public struct Shape: Sendable {
    public let rows: Int
    public let columns: Int
    /// Whether it has rows and columns; else each element has a mean of its own.
    public let isFactored: Bool

    public init(rows: Int, columns: Int, isFactored: Bool) {
      self.rows = rows
      self.columns = columns
      self.isFactored = isFactored
    }

    var count: Int { rows * columns }
    /// Means that are kept.
    var meanCount: Int { isFactored ? rows + columns : count }
  }

  /// A piece, and where its parameters and its means begin.
  struct Part {
    let shape: Shape
    let first: Int
    let firstMean: Int
  }

  /// Part by part: of a factored one those of the rows, then those of the columns.
  public let means: Vector
  let parts: [Part]

  /// - Parameter means: `count(of: shapes)` of them
  public init(_ shapes: [Shape], means: Vector) {
    precondition(means.count == Self.count(of: shapes), "as many means as the shapes have")
    self.means = means
    var (first, firstMean) = (0, 0)
    parts = shapes.map { shape in
      defer {
        first += shape.count
        firstMean += shape.meanCount
      }
      return Part(shape: shape, first: first, firstMean: firstMean)
    }
  }

  /// Means of parameters of such shapes.
  public static func count(of shapes: [Shape]) -> Int { shapes.reduce(0) { $0 + $1.meanCount } }
}

/// AdamW's second moments in the room of a few rows, without first ones, and updates whose size is bounded: as
/// `transformers.Adafactor` computes it with `scale_parameter` and `relative_step` off, which is what its `Trainer` takes.
///
/// Source: Shazeer & Stern 2018, arXiv 1804.04235.
public struct Adafactor: Sendable {
  public var weightDecay: Double

  /// Added to squares of gradients.
  private static let epsilon: Float = 1e-30
  /// The root mean square of an update, at most.
  private static let clipThreshold: Float = 1
  /// The mean after step t forgets all but `1 - t^exponent`.
  private static let decayExponent = -0.8

  public init(weightDecay: Double = 0) { self.weightDecay = weightDecay }

  /// As of `Optimizer`. Each matrix is the work of one thread, so sums have one order.
  func update(
    parameters: Vector, gradients: Vector, squares: FactoredSquares, step: Int, learningRate: Double,
    parts: [UpdatePart], pool: ThreadPool
  ) {
    let kept = 1 - pow(Double(step), Self.decayExponent)
    pool.run(squares.parts.count) { index, _ in
      let part = squares.parts[index]
      precondition(part.first + part.shape.count <= parameters.count, "parts of the parameters")
      let told = parts.first { $0.elements.contains(part.first) } ?? UpdatePart(0..<parameters.count)
      let piece = Piece(
        shape: part.shape, parameters: parameters.base + part.first, gradients: gradients.base + part.first,
        means: squares.means.base + part.firstMean)
      piece.remember(kept: Float(kept), new: Float(1 - kept))
      let rate = learningRate * told.factor
      piece.step(rate: Float(rate), decay: Float(told.decay(weightDecay) * learningRate * told.factor))
    }
  }

  /// One matrix, or one vector, on its way.
  private struct Piece {
    let shape: FactoredSquares.Shape
    let parameters: UnsafeMutablePointer<Float>
    let gradients: UnsafeMutablePointer<Float>
    let means: UnsafeMutablePointer<Float>

    private var columnMeans: UnsafeMutablePointer<Float> { means + shape.rows }

    /// `mean = kept * mean + new * (g² + ε)`, of rows and columns or of each element.
    func remember(kept: Float, new: Float) {
      guard shape.isFactored else {
        for i in 0..<shape.count { means[i] = means[i] * kept + new * (gradients[i] * gradients[i] + epsilon) }
        return
      }
      for column in 0..<shape.columns { columnMeans[column] *= kept }
      let share = new / Float(shape.rows)
      for row in 0..<shape.rows {
        let g = gradients + row * shape.columns
        var sum = 0.0
        for column in 0..<shape.columns {
          let square = g[column] * g[column] + epsilon
          sum += Double(square)
          columnMeans[column] += share * square
        }
        means[row] = means[row] * kept + new * Float(sum / Double(shape.columns))
      }
    }

    /// `p -= rate * u / max(1, rms(u))`, where `u = g / √mean`; `decay` of the parameter goes first.
    func step(rate: Float, decay: Float) {
      guard shape.count > 0 else { return }
      var sum = 0.0
      forEachUpdate { _, update in sum += Double(update) * Double(update) }
      let size = Float((sum / Double(shape.count)).squareRoot())
      let divisor = max(1, size / clipThreshold)
      forEachUpdate { place, update in
        if decay != 0 { parameters[place] -= decay * parameters[place] }
        parameters[place] -= update / divisor * rate
      }
    }

    @inline(__always)
    private func forEachUpdate(_ body: (Int, Float) -> Void) {
      guard shape.isFactored else {
        for place in 0..<shape.count { body(place, 1 / means[place].squareRoot() * gradients[place]) }
        return
      }
      var sum = 0.0
      for row in 0..<shape.rows { sum += Double(means[row]) }
      let mean = Float(sum / Double(shape.rows))
      for row in 0..<shape.rows {
        let ofRow = 1 / (means[row] / mean).squareRoot()
        for column in 0..<shape.columns {
          let place = row * shape.columns + column
          let ofColumn = 1 / columnMeans[column].squareRoot()
          body(place, ofRow * ofColumn * gradients[place])
        }
      }
    }
  }
}
