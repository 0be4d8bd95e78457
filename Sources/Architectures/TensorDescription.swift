/// A weight that a model must have, and how it lies in the files that hold it.
public struct TensorDescription: Sendable, Equatable {
  /// What a weight is for: it decides how a store keeps it.
  public enum Role: Sendable, Equatable {
    /// A norm's or a bias, `[count]`.
    case vector
    /// Rows that are looked up by something other than a token, `[rows, columns]`: positions, token types.
    case table
    /// The embedding or the vocabulary head, `[vocabulary, columns]`.
    case embedding
    /// A linear layer's, `[out, in]`.
    case linear
  }

  /// Where a GGUF file has the weight.
  public struct GGUFPlace: Sendable, Equatable {
    public let name: String
    public let rows: RowOrder
    /// What the elements there have too much: 1 for the norms of Gemma.
    public let excess: Float

    public init(_ name: String, rows: RowOrder = .same, excess: Float = 0) {
      self.name = name
      self.rows = rows
      self.excess = excess
    }
  }

  /// The name in a Hugging Face file.
  public let name: String
  /// As the model uses the weight: `[out, in]`, `[rows, columns]` or `[count]`.
  public let shape: [Int]
  public let role: Role
  /// Whether an unquantised Hugging Face file has rows and columns exchanged, as GPT-2's `Conv1D` does.
  public let isTransposed: Bool
  /// `nil` where llama.cpp has no such family.
  public let gguf: GGUFPlace?

  public init(
    _ name: String, shape: [Int], role: Role, isTransposed: Bool = false, gguf: GGUFPlace? = nil
  ) {
    self.name = name
    self.shape = shape
    self.role = role
    self.isTransposed = isTransposed
    self.gguf = gguf
  }

  /// The shape in an unquantised Hugging Face file.
  public var fileShape: [Int] { isTransposed ? shape.reversed() : shape }
}

/// The order of a weight's rows, or of a vector's elements, in GGUF.
public enum RowOrder: Sendable, Equatable {
  case same
  /// The halves of each head alternate, as llama.cpp turns neighbours where Hugging Face turns halves.
  case alternatingHalves(heads: Int)
  /// All queries, all keys, all values; Hugging Face has the three of each head together.
  case byProjection(heads: Int)

  /// The row in GGUF that is `row` of `count` in Hugging Face's order.
  public func place(ofRow row: Int, of count: Int) -> Int {
    switch self {
    case .same: return row
    case .alternatingHalves(let heads):
      let size = count / heads
      let within = row % size
      return row - within + within % (size / 2) * 2 + within / (size / 2)
    case .byProjection(let heads):
      let size = count / heads / 3
      return row / size % 3 * heads * size + row / (3 * size) * size + row % size
    }
  }
}
