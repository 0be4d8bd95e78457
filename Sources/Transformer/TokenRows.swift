import Architectures
import Glibc
import Kernels

/// Rows in place of those of some tokens: in the embedding, and in a vocabulary head that is tied to it.
///
/// Source: `trainable_token_indices` of PEFT.
public struct TokenRows: Sendable {
  /// What training needs besides.
  public struct Training: Sendable {
    public let frozen: Matrix  // [tokens, width]: the store's rows
    /// Gradients as the embedding and the head add to them, `[tokens, width]`: apart, so that the order of the sums does not
    /// depend on how a step is cut.
    public let embeddingGradient: Matrix
    public let headGradient: Matrix
    /// The token whose row has no gradient where it is embedded.
    public let padding: Int32?

    public init(frozen: Matrix, embeddingGradient: Matrix, headGradient: Matrix, padding: Int32? = nil) {
      self.frozen = frozen
      self.embeddingGradient = embeddingGradient
      self.headGradient = headGradient
      self.padding = padding
    }
  }

  private let tokens: [Int]
  private let places: [Int32: Int]
  private let rows: Matrix  // [tokens, width]
  private let training: Training?

  /// - Parameters:
  ///   - tokens: ids, each once
  ///   - rows: `[tokens, width of the embedding]`
  ///   - training: `nil` where they stay as they are
  public init(tokens: [Int], rows: Matrix, training: Training?) {
    precondition(tokens.count == rows.rows, "a row for every token")
    self.tokens = tokens
    places = Dictionary(uniqueKeysWithValues: tokens.enumerated().map { (Int32($1), $0) })
    self.rows = rows
    self.training = training
  }

  var isTrained: Bool { training != nil }

  /// The row of a token, and the embedding's gradient of it; `nil` for a token that has none of its own.
  func row(_ token: Int32) -> (values: Vector, gradient: Vector?)? {
    places[token].map { (rows.row($0), token == training?.padding ? nil : training?.embeddingGradient.row($0)) }
  }

  /// Puts the logits of these rows in place of those of the store's.
  ///
  /// - Parameters:
  ///   - columns: tokens of `logits`, `[rows of x, columns]`
  ///   - x: input of the vocabulary product
  func replaceLogits(_ logits: Matrix, columns: Range<Int>, input x: Matrix) {
    for (place, token) in tokens.enumerated() where columns.contains(token) {
      for row in 0..<x.rows {
        logits.row(row).base[token - columns.lowerBound] = VectorOperations.dot(x.row(row), rows.row(place))
      }
    }
  }

  /// The way back from the losses of `x` to these rows; and to `x`, as far as it differs from that through the store's rows.
  ///
  /// - Parameters:
  ///   - x: input of the vocabulary product, `[rows, width]`
  ///   - labels: `[rows]`
  ///   - scale: of the losses
  ///   - logSumExp: of the logits of each row of `x`
  func headBackward(
    _ x: Matrix, labels: [Int32], scale: Float, logSumExp: [Float], addingTo dx: Matrix,
    pool: ThreadPool
  ) {
    guard let training else { return }
    /// The gradient of a logit.
    @Sendable func gradient(_ row: Int, _ place: Int) -> Float {
      let logit = VectorOperations.dot(x.row(row), rows.row(place))
      return scale * (exp(logit - logSumExp[row]) - (Int(labels[row]) == tokens[place] ? 1 : 0))
    }
    pool.run(tokens.count) { place, _ in
      for row in 0..<x.rows {
        VectorOperations.add(x.row(row), scaledBy: gradient(row, place), to: training.headGradient.row(place))
      }
    }
    pool.run(x.rows) { row, _ in
      for place in tokens.indices {
        let gradient = gradient(row, place)
        VectorOperations.add(rows.row(place), scaledBy: gradient, to: dx.row(row))
        VectorOperations.add(training.frozen.row(place), scaledBy: -gradient, to: dx.row(row))
      }
    }
  }
}

extension LanguageModel {
  /// Puts rows in place of those of some tokens.
  public func setTokenRows(_ rows: TokenRows?) { embedding.hooks.tokens = rows }

  /// Width of the embedding.
  public var embeddingWidth: Int { embedding.tokens.columns }

  /// The store's row of a token, without scale, position and type.
  public func frozenRow(_ token: Int, into row: Vector) { embedding.tokens.decodeRow(token, into: row) }
}
