import Kernels
import Memory
import Transformer

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
