import Kernels

/// A matrix with a row for every token, in floats, in place of the store's: an embedding or a vocabulary head that a method
/// trains whole.
///
/// Source: `modules_to_save` of PEFT.
public struct TrainedTable: Sendable {
  let values: Matrix  // [vocabulary, width]
  /// What is added to; `nil` where the matrix stays as it is.
  let gradient: Matrix?
  /// The token whose row has no gradient where it is embedded.
  let padding: Int32?

  public init(values: Matrix, gradient: Matrix?, padding: Int32? = nil) {
    self.values = values
    self.gradient = gradient
    self.padding = padding
  }

  /// The row of an embedded token, and where its gradient goes.
  func row(_ token: Int32) -> (values: Vector, gradient: Vector?) {
    (values.row(Int(token)), token == padding ? nil : gradient?.row(Int(token)))
  }

  /// Adds to the gradient and computes that of the input.
  ///
  /// - Parameters:
  ///   - dLogits: `[tokens, slice]`
  ///   - slice: rows of the matrix
  ///   - x: input of the product, `[tokens, width]`
  ///   - dx: `[tokens, width]`; the first slice starts it
  func backward(_ dLogits: Matrix, slice: Range<Int>, x: Matrix, into dx: Matrix, pool: ThreadPool) {
    FloatProduct.inputGradient(
      dLogits, values.rows(slice), into: dx, accumulate: slice.lowerBound > 0, pool: pool)
    guard let gradient else { return }
    FloatProduct.weightGradient(
      dLogits, x, addingTo: gradient.rows(slice), groupRows: LanguageModelHead.groupRows, pool: pool)
  }
}

/// What a method has hooked into the vocabulary head; shared by all copies of it.
final class HeadHooks {
  /// In place of the store's weight.
  var table: TrainedTable?
}

extension LanguageModel {
  /// Puts an embedding in place of the store's.
  public func setEmbedding(_ table: TrainedTable?) { embedding.hooks.table = table }

  /// Puts a weight in place of the vocabulary head's, which is not tied to the embedding then.
  public func setVocabularyHead(_ table: TrainedTable?) {
    if case .vocabulary(let head) = head { head.hooks.table = table }
  }

  /// The store's row of the vocabulary head for a token, without what is hooked in.
  public func frozenHeadRow(_ token: Int, into row: Vector) {
    if case .vocabulary(let head) = head { head.weight.decodeRow(token, into: row) }
  }

  /// Rows and columns of the vocabulary head's weight; `nil` for a model that names no tokens.
  public var vocabularyHeadShape: (rows: Int, columns: Int)? {
    guard case .vocabulary(let head) = head else { return nil }
    return (head.weight.rows, head.weight.columns)
  }
}
