import Kernels
import Memory
import Transformer
import Tuning

extension OptimizerState {
  /// The state before the first step, from `arena`.
  ///
  /// - Parameters:
  ///   - moments: how AdamW keeps its moments; the others have one way
  ///   - threadCount: threads that update
  public init(
    _ kind: OptimizerKind, moments: MomentFormat, of trainables: Trainables, threadCount: Int, arena: Arena
  ) {
    switch kind {
    case .adamw:
      self = .moments(
        AdamWMoments(moments, parts: trainables.counts, threadCount: threadCount, arena: arena))
    case .adafactor:
      let shapes = trainables.entries.map {
        FactoredSquares.Shape(rows: $0.matrix.rows, columns: $0.matrix.columns, isFactored: !$0.isVector)
      }
      self = .factored(
        FactoredSquares(
          shapes,
          means: arena.vector("mean squares", kind: .optimizer, count: FactoredSquares.count(of: shapes))))
    case .lion:
      self = .momentum(arena.vector("momentum", kind: .optimizer, count: trainables.parameters.count))
    case .sgd: self = .none
    }
  }

  /// Bytes of the numbers that are kept from step to step.
  public var byteCount: Int {
    switch self {
    case .moments(.f32(let first, let second)): 4 * (first.count + second.count)
    case .moments(.int8(let moments)):
      2 * moments.count + 4 * (moments.first.absmax.count + moments.second.absmax.count)
    case .factored(let squares): 4 * squares.means.count
    case .momentum(let vector): 4 * vector.count
    case .none: 0
    }
  }

  /// How AdamW's moments are kept; `nil` of other optimisers.
  public var momentFormat: MomentFormat? {
    if case .moments(let moments) = self { moments.format } else { nil }
  }
}

extension AdamWMoments {
  /// Moments of zero, from `arena`.
  ///
  /// - Parameters:
  ///   - parts: elements of each matrix of the parameters
  ///   - threadCount: threads that update them
  public init(_ format: MomentFormat, parts: [Int], threadCount: Int, arena: Arena) {
    switch format {
    case .f32:
      let count = parts.reduce(0, +)
      self = .f32(
        first: arena.vector("first moments", kind: .optimizer, count: count),
        second: arena.vector("second moments", kind: .optimizer, count: count))
    case .int8:
      self = .int8(BlockwiseMoments(parts: parts, threadCount: threadCount, arena: arena))
    }
  }
}

extension BlockwiseMoments {
  /// Moments of zero, from `arena`; parameters as of `AdamWMoments`.
  public init(parts: [Int], threadCount: Int, arena: Arena) {
    let count = parts.reduce(0, +)
    func moment(_ name: String) -> Moment {
      Moment(
        codes: Scratch(
          arena.allocate("\(name) moments, int8", kind: .optimizer, byteCount: count), byteCount: count),
        absmax: arena.vector(
          "largest \(name) moment of each block", kind: .optimizer, count: Self.blockCount(parts: parts)))
    }
    self.init(
      parts: parts, first: moment("first"), second: moment("second"),
      working: arena.vector(
        "moments of a block", kind: .optimizer, count: threadCount * Self.workingCount))
  }
}
