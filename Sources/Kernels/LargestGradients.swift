/// The elements of a gradient that are largest, which are the only ones that take part in an update.
///
/// What is sparse this way is the update, not the gradient: all of it is computed, and the choice is made anew at every step.
struct LargestGradients {
  /// Bits of the least magnitude that takes part: magnitudes are ordered as their bits are.
  private let least: UInt32

  /// Finds the `share` of `gradients` with the largest magnitudes; more where several are as large as the least of them.
  ///
  /// - Parameter gradients: finite
  init(share: Double, of gradients: Vector) {
    var rest = max(1, Int((share * Double(gradients.count)).rounded()))
    var prefix: UInt32 = 0
    // From the highest digit of the magnitude on: what comes above it is decided, the rest is counted.
    for (shift, width) in [(20, 11), (10, 10), (0, 10)] {
      var counts = [Int](repeating: 0, count: 1 << width)
      let digit = UInt32(1 << width) - 1
      for i in 0..<gradients.count {
        let bits = gradients.base[i].magnitude.bitPattern >> UInt32(shift)
        if bits & ~digit == prefix { counts[Int(bits & digit)] += 1 }
      }
      var place = counts.count - 1
      while place > 0, counts[place] < rest {
        rest -= counts[place]
        place -= 1
      }
      prefix |= UInt32(place)
      if shift > 0 { prefix <<= 10 }
    }
    // A gradient of zero says nothing, however many elements are wanted.
    least = max(prefix, 1)
  }

  func contains(_ gradient: Float) -> Bool { gradient.magnitude.bitPattern >= least }
}

extension Optimizer {
  /// One update of the `share` of parameters whose gradients are largest. The others keep their values, and what the
  /// optimiser remembers of them.
  ///
  /// - Parameters: as of `update`; the state is none that parameters share, so neither moments in 8 bits nor mean squares
  ///   of rows and columns
  public func update(
    share: Double, parameters: Vector, gradients: Vector, state: OptimizerState, step: Int, learningRate: Double,
    parts: [UpdatePart] = [], pool: ThreadPool
  ) {
    guard share < 1 else {
      return update(
        parameters: parameters, gradients: gradients, state: state, step: step, learningRate: learningRate,
        parts: parts, pool: pool)
    }
    let largest = LargestGradients(share: share, of: gradients)
    let memories = state.elementwise
    let parts = parts.isEmpty ? [UpdatePart(0..<parameters.count)] : parts
    let block = Self.gatheredCount
    withUnsafeTemporaryAllocation(of: Float.self, capacity: block * 4) { buffer in
      guard let base = buffer.baseAddress else { return }
      withUnsafeTemporaryAllocation(of: Int.self, capacity: block) { places in
        let vectors = [parameters, gradients] + memories
        /// What is gathered takes its step as if it were all there is.
        func take(_ count: Int, of part: UpdatePart) {
          let packed = vectors.indices.map { Vector(base + $0 * block, count: count) }
          for (vector, own) in zip(vectors, packed) {
            for i in 0..<count { own.base[i] = vector.base[places[i]] }
          }
          self.update(
            parameters: packed[0], gradients: packed[1], state: state.packed(Array(packed.dropFirst(2))), step: step,
            learningRate: learningRate, parts: [UpdatePart(0..<count, factor: part.factor, decays: part.decays)],
            pool: pool)
          for (vector, own) in zip(vectors, packed) {
            for i in 0..<count { vector.base[places[i]] = own.base[i] }
          }
        }
        for part in parts {
          var count = 0
          for i in part.elements where largest.contains(gradients.base[i]) {
            places[count] = i
            count += 1
            if count == block {
              take(count, of: part)
              count = 0
            }
          }
          if count > 0 { take(count, of: part) }
        }
      }
    }
  }

  /// Elements that are gathered for one call; with two moments they stay in the first cache.
  private static let gatheredCount = 1024
}

extension OptimizerState {
  /// What is remembered of each parameter alone.
  fileprivate var elementwise: [Vector] {
    switch self {
    case .moments(.f32(let first, let second)): [first, second]
    case .momentum(let vector): [vector]
    case .none: []
    case .moments(.int8), .factored: preconditionFailure("a state that parameters share cannot be updated in part")
    }
  }

  /// The same form of state with other vectors, as `elementwise` lists them.
  fileprivate func packed(_ vectors: [Vector]) -> OptimizerState {
    switch self {
    case .moments: .moments(.f32(first: vectors[0], second: vectors[1]))
    case .momentum: .momentum(vectors[0])
    case .none, .factored: self
    }
  }
}
