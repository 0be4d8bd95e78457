import Kernels
import Memory

/// Final norm, vocabulary product and cross-entropy, chunk by chunk, for the tokens that carry loss.
///
/// The logits of a chunk are turned into their gradient where they stand, so the whole `[tokens, vocabulary]` matrix
/// never exists.
public struct LanguageModelHead {
  let norm: RMSNorm
  let weight: StoredMatrix  // [vocabulary, hidden]; the embedding itself where the two are tied

  /// Label of a token that carries no loss.
  public static let ignoredLabel: Int32 = -100

  /// Working memory of one chunk.
  struct Buffers {
    let hidden: Matrix  // [rows, hidden]
    let normed: Matrix  // [rows, hidden]
    let inverseRMS: Vector  // [rows]
    let logits: Matrix  // [rows, vocabulary]
    let normedGradient: Matrix  // [rows, hidden]
    let hiddenGradient: Matrix  // [rows, hidden]
    let losses: Vector  // [rows]
    let labelGradient: Vector  // [rows]
    let weightRow: Vector  // [hidden]

    init(rows: Int, hiddenSize: Int, vocabularySize: Int, gradients: Bool, arena: Arena) {
      hidden = arena.matrix("head input", kind: .head, rows: rows, columns: hiddenSize)
      normed = arena.matrix("head input, normalised", kind: .head, rows: rows, columns: hiddenSize)
      inverseRMS = arena.vector("head inverse RMS", kind: .head, count: rows)
      logits = arena.matrix("logits of a chunk", kind: .head, rows: rows, columns: vocabularySize)
      let gradientRows = gradients ? rows : 0
      normedGradient = arena.matrix("head input gradient", kind: .head, rows: gradientRows, columns: hiddenSize)
      hiddenGradient = arena.matrix("head input gradient", kind: .head, rows: gradientRows, columns: hiddenSize)
      losses = arena.vector("losses", kind: .head, count: rows)
      labelGradient = arena.vector("label gradients", kind: .head, count: rows)
      weightRow = arena.vector("row of the head", kind: .head, count: hiddenSize)
    }
  }

  /// Sum of the cross-entropies of all tokens with a label and, if wanted, its gradient.
  ///
  /// - Parameters:
  ///   - x: output of the last layer, `[tokens, hidden]`
  ///   - labels: the token that should follow each token, or `ignoredLabel`; `[tokens]`
  ///   - dx: gradient of `gradientScale * sum`, `[tokens, hidden]`; overwritten; `nil` for the loss alone
  func loss(
    _ x: Matrix, labels: [Int32], gradientScale: Float, gradientInto dx: Matrix?, rowsPerSequence: Int,
    buffers: Buffers, pass: Pass
  ) -> Double {
    if let dx { VectorOperations.fill(dx, with: 0) }
    var sum = 0.0
    // A chunk never crosses a row of the batch: which columns count as outliers must not depend on the neighbours.
    for start in stride(from: 0, to: x.rows, by: rowsPerSequence) {
      let tokens = (start..<min(start + rowsPerSequence, x.rows)).filter { labels[$0] != Self.ignoredLabel }
      for first in stride(from: 0, to: tokens.count, by: buffers.hidden.rows) {
        let chunk = Array(tokens[first..<min(first + buffers.hidden.rows, tokens.count)])
        sum += chunkLoss(
          x, tokens: chunk, labels: labels, gradientScale: gradientScale, gradientInto: dx, buffers: buffers,
          pass: pass)
      }
    }
    return sum
  }

  private func chunkLoss(
    _ x: Matrix, tokens: [Int], labels: [Int32], gradientScale: Float, gradientInto dx: Matrix?, buffers: Buffers,
    pass: Pass
  ) -> Double {
    let engine = pass.engine
    let rows = 0..<tokens.count
    let hidden = buffers.hidden.rows(rows)
    let logits = buffers.logits.rows(rows)
    let losses = Vector(buffers.losses.base, count: rows.count)
    let labelGradient = Vector(buffers.labelGradient.base, count: rows.count)
    let chunkLabels = tokens.map { labels[$0] }
    VectorOperations.gatherRows(of: x, at: tokens, into: hidden, pool: engine.pool)
    self.logits(of: hidden, into: logits, buffers: buffers, pass: pass)
    guard let dx else {
      CrossEntropy.loss(logits, labels: chunkLabels, into: losses, pool: engine.pool)
      return losses.sum()
    }
    CrossEntropy.lossAndGradient(
      logits, labels: chunkLabels, scale: gradientScale, losses: losses, labelGradient: labelGradient,
      pool: engine.pool)
    let dNormed = buffers.normedGradient.rows(rows)
    // Most probabilities are tiny: rounded to nearest they would all vanish, rounded stochastically none does on average.
    let dither = UInt32(truncatingIfNeeded: tokens[0]) &* 0x9E37_79B9 | 1
    engine.inputGradient(logits, weight, into: dNormed, accumulate: false, dither: dither)
    // The element of the label is far larger than the others of its row: exact, so that they keep their bits.
    for row in rows {
      weight.decodeRow(Int(chunkLabels[row]), into: buffers.weightRow)
      VectorOperations.add(buffers.weightRow, scaledBy: labelGradient[row], to: dNormed.row(row))
    }
    let dHidden = buffers.hiddenGradient.rows(rows)
    VectorOperations.fill(dHidden, with: 0)
    norm.backward(dNormed, x: hidden, inverseRMS: buffers.inverseRMS, addingTo: dHidden, pool: engine.pool)
    VectorOperations.scatterRows(dHidden, to: tokens, of: dx, pool: engine.pool)
    return losses.sum()
  }

  /// Logits of every row of `hidden`: `[rows, vocabulary]`.
  func logits(of hidden: Matrix, into logits: Matrix, buffers: Buffers, pass: Pass) {
    let normed = buffers.normed.rows(0..<hidden.rows)
    norm.forward(hidden, into: normed, keeping: buffers.inverseRMS, pool: pass.engine.pool)
    let prepared = pass.engine.prepare(normed, for: weight, rowsPerSequence: hidden.rows)
    pass.engine.product(prepared, weight, into: logits, accumulate: false)
  }
}
