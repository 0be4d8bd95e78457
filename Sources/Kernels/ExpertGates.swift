import CKernels

/// How much each of several low-rank experts takes part, token by token: of the experts whose prototypes are most alike to
/// the input, by the size of the product, so many share it by a softmax.
///
/// Source: Ostapenko et al. 2024, arXiv 2405.11157 (Arrow).
public struct ExpertGates: Sendable {
  /// Columns of each expert's share of `x Aᵀ`.
  private let columns: [Range<Int>]
  private let topK: Int
  private let inverseTemperature: Float

  /// - Parameters:
  ///   - ranks: of the experts
  ///   - topK: experts that take part at a token
  public init(ranks: [Int], topK: Int, temperature: Float) {
    var start = 0
    columns = ranks.map { rank in
      defer { start += rank }
      return start..<start + rank
    }
    self.topK = min(topK, ranks.count)
    inverseTemperature = 1 / temperature
  }

  private var rank: Int { columns.last?.upperBound ?? 0 }

  /// The gates of a token.
  ///
  /// - Parameters:
  ///   - likeness: products with the prototypes
  ///   - gates: zero where an expert takes no part
  private func compute(_ likeness: UnsafePointer<Float>, into gates: UnsafeMutablePointer<Float>) {
    let count = columns.count
    for expert in 0..<count { gates[expert] = -1 }
    // The largest come first, so that their exponentials are next to each other; of equals the first one counts.
    withUnsafeTemporaryAllocation(of: Float.self, capacity: topK) { scores in
      withUnsafeTemporaryAllocation(of: Int.self, capacity: topK) { chosen in
        guard let base = scores.baseAddress else { return }
        for place in 0..<topK {
          var best = -1
          for expert in 0..<count where gates[expert] < 0 {
            if best < 0 || abs(likeness[expert]) > abs(likeness[best]) { best = expert }
          }
          gates[best] = 0
          chosen[place] = best
          scores[place] = abs(likeness[best]) * inverseTemperature
        }
        var largest: Float = 0
        let sum = KernelTables.float.pointee.exp_from_largest(topK, base, &largest)
        for expert in 0..<count { gates[expert] = 0 }
        for place in 0..<topK { gates[chosen[place]] = scores[place] / sum }
      }
    }
  }

  /// `gated = gate * x Aᵀ`, expert by expert.
  ///
  /// - Parameters:
  ///   - products: `x Aᵀ` and, behind it, `x Pᵀ` of the prototypes, `[tokens, rank + experts]`
  ///   - gated: `[tokens, rank]`
  public func apply(_ products: Matrix, into gated: Matrix, pool: ThreadPool) {
    precondition(
      products.columns == rank + columns.count && gated.columns == rank && gated.rows == products.rows,
      "shapes of gated products")
    VectorOperations.forEachRow(products.rows, pool: pool) { row in
      let (x, y) = (products.base + row * products.stride, gated.base + row * gated.stride)
      withUnsafeTemporaryAllocation(of: Float.self, capacity: columns.count) { gates in
        guard let gates = gates.baseAddress else { return }
        compute(x + rank, into: gates)
        for (expert, range) in columns.enumerated() {
          for column in range { y[column] = gates[expert] * x[column] }
        }
      }
    }
  }

  /// The way back: of the gradient of `gated` becomes that of `products`.
  ///
  /// - Parameters:
  ///   - gradient: `[tokens, rank + experts]`; its first columns are the gradient of `gated` and all become that of `products`
  ///   - products: what `apply` was given
  public func backward(_ gradient: Matrix, products: Matrix, pool: ThreadPool) {
    precondition(
      products.columns == rank + columns.count && gradient.columns == products.columns
        && gradient.rows == products.rows, "shapes of gated products")
    VectorOperations.forEachRow(products.rows, pool: pool) { row in
      let (x, dy) = (products.base + row * products.stride, gradient.base + row * gradient.stride)
      withUnsafeTemporaryAllocation(of: Float.self, capacity: columns.count) { gates in
        guard let gates = gates.baseAddress else { return }
        compute(x + rank, into: gates)
        // softmax: d score = gate * (d gate - sum of gate * d gate)
        var mean: Float = 0
        for (expert, range) in columns.enumerated() {
          var share: Float = 0
          for column in range {
            share += dy[column] * x[column]
            dy[column] *= gates[expert]
          }
          dy[rank + expert] = share
          mean += gates[expert] * share
        }
        for expert in 0..<columns.count {
          let slope = gates[expert] * (dy[rank + expert] - mean) * inverseTemperature
          dy[rank + expert] = x[rank + expert] < 0 ? -slope : slope
        }
      }
    }
  }
}
