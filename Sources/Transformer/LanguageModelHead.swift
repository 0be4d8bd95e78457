import Kernels
import Memory

/// Final norm, vocabulary product and cross-entropy, chunk by chunk, for the tokens that carry loss.
///
/// The logits of a chunk are turned into their gradient where they stand, so the whole `[tokens, vocabulary]` matrix
/// never exists. Where even a chunk of it is too large, slices of the vocabulary take turns and every logit is computed
/// twice: for the sum of the softmax, and for the gradient.
///
/// Source of the slices: Wijmans et al. 2024, arXiv 2411.09009.
public struct LanguageModelHead {
  let norm: RMSNorm
  let weight: StoredMatrix  // [vocabulary, hidden]; the embedding itself where the two are tied

  /// Label of a token that carries no loss.
  public static let ignoredLabel: Int32 = -100

  /// Tokens that share outlier columns. Chunks are multiples of it, so their size changes nothing.
  public static let groupRows = 16

  /// Working memory of one chunk.
  struct Buffers {
    let hidden: Matrix  // [rows, hidden]
    let normed: Matrix  // [rows, hidden]
    let inverseRMS: Vector  // [rows]
    let logits: Matrix  // [rows, columns]: the whole vocabulary or a slice of it
    let logSumExp: Vector  // [rows]
    let labelLogits: Vector  // [rows]
    let normedGradient: Matrix  // [rows, hidden]
    let hiddenGradient: Matrix  // [rows, hidden]
    let weightRow: Vector  // [hidden]

    init(rows: Int, columns: Int, hiddenSize: Int, gradients: Bool, arena: Arena) {
      hidden = arena.matrix("head input", kind: .head, rows: rows, columns: hiddenSize)
      normed = arena.matrix("head input, normalised", kind: .head, rows: rows, columns: hiddenSize)
      inverseRMS = arena.vector("head inverse RMS", kind: .head, count: rows)
      logits = arena.matrix("logits of a chunk", kind: .head, rows: rows, columns: columns)
      logSumExp = arena.vector("sums of the softmax", kind: .head, count: rows)
      labelLogits = arena.vector("logits of the labels", kind: .head, count: rows)
      let gradientRows = gradients ? rows : 0
      normedGradient = arena.matrix("head input gradient", kind: .head, rows: gradientRows, columns: hiddenSize)
      hiddenGradient = arena.matrix("head input gradient", kind: .head, rows: gradientRows, columns: hiddenSize)
      weightRow = arena.vector("row of the head", kind: .head, count: hiddenSize)
    }
  }

  /// What a chunk is computed with.
  private struct Context {
    let buffers: Buffers
    let residency: WeightResidency
    let engine: ComputeEngine
  }

  /// Sum of the cross-entropies of all tokens with a label.
  ///
  /// - Parameters:
  ///   - x: output of the last layer, `[tokens, hidden]`
  ///   - labels: the token that should follow each token, or `ignoredLabel`; `[tokens]`
  func loss(_ x: Matrix, labels: [Int32], rowsPerSequence: Int, workspace: Workspace, pass: Pass) -> Double {
    forEachChunk(of: x, labels: labels, rowsPerSequence: rowsPerSequence, workspace: workspace, pass: pass) {
      tokens, chunkLabels, context in
      softmax(of: x, tokens: tokens, labels: chunkLabels, context)
    }
  }

  /// The same sum; `x` becomes the gradient of `gradientScale` times it.
  ///
  /// - Parameter firstLabel: labels of the step before these: what is rounded stochastically is reproducible from it
  func lossAndGradient(
    _ x: Matrix, labels: [Int32], gradientScale: Float, firstLabel: Int, rowsPerSequence: Int, workspace: Workspace,
    pass: Pass
  ) -> Double {
    var done = firstLabel
    let sum = forEachChunk(of: x, labels: labels, rowsPerSequence: rowsPerSequence, workspace: workspace, pass: pass) {
      tokens, chunkLabels, context in
      let loss = softmax(of: x, tokens: tokens, labels: chunkLabels, context)
      gradient(of: x, tokens: tokens, labels: chunkLabels, scale: gradientScale, firstLabel: done, context)
      done += tokens.count
      return loss
    }
    for token in 0..<x.rows where labels[token] == Self.ignoredLabel { VectorOperations.fill(x.row(token), with: 0) }
    return sum
  }

  /// A chunk never crosses a row of the batch: which columns count as outliers must not depend on the neighbours.
  private func forEachChunk(
    of x: Matrix, labels: [Int32], rowsPerSequence: Int, workspace: Workspace, pass: Pass,
    _ body: (_ tokens: [Int], _ labels: [Int32], Context) -> Double
  ) -> Double {
    let context = Context(buffers: workspace.head, residency: workspace.residency, engine: pass.engine)
    var sum = 0.0
    for start in stride(from: 0, to: x.rows, by: rowsPerSequence) {
      let tokens = (start..<min(start + rowsPerSequence, x.rows)).filter { labels[$0] != Self.ignoredLabel }
      for first in stride(from: 0, to: tokens.count, by: context.buffers.hidden.rows) {
        let chunk = Array(tokens[first..<min(first + context.buffers.hidden.rows, tokens.count)])
        sum += body(chunk, chunk.map { labels[$0] }, context)
      }
    }
    return sum
  }

  /// Parts of the vocabulary that are computed together: what fits the logits and what is in memory at a time.
  private func slices(_ context: Context) -> [Range<Int>] {
    let columns = context.buffers.logits.columns
    let size = min(
      columns == weight.rows ? columns : columns / CrossEntropy.blockColumns * CrossEntropy.blockColumns,
      context.residency.sliceRows)
    return stride(from: 0, to: weight.rows, by: size).map { $0..<min($0 + size, weight.rows) }
  }

  private func holdsAllLogits(_ context: Context) -> Bool { context.buffers.logits.columns >= weight.rows }

  /// Computes the logits of `slice` from the normalised input of a chunk.
  private func product(rows: Int, slice: Range<Int>, _ context: Context) -> Matrix {
    let logits = context.buffers.logits.rows(0..<rows)
    let target = logits.columns(holdsAllLogits(context) ? slice : 0..<slice.count)
    let prepared = context.engine.prepare(
      context.buffers.normed.rows(0..<rows), for: weight, rowsPerSequence: Self.groupRows)
    context.engine.product(prepared, weight, rows: slice, into: target, accumulate: false)
    return target
  }

  /// Fills the sums of the softmax, and the logits if they all have room.
  /// - Returns: sum of the losses
  private func softmax(of x: Matrix, tokens: [Int], labels: [Int32], _ context: Context) -> Double {
    let buffers = context.buffers
    let pool = context.engine.pool
    let rows = 0..<tokens.count
    let hidden = buffers.hidden.rows(rows)
    VectorOperations.gatherRows(of: x, at: tokens, into: hidden, pool: pool)
    norm.forward(hidden, into: buffers.normed.rows(rows), keeping: buffers.inverseRMS, pool: pool)
    for slice in slices(context) {
      context.residency.enterHead(slice)
      let logits = product(rows: rows.count, slice: slice, context)
      context.residency.leaveHead(slice)
      if !holdsAllLogits(context) {
        CrossEntropy.accumulate(
          logits, columns: slice, labels: labels, logSumExp: buffers.logSumExp, labelLogits: buffers.labelLogits,
          pool: pool)
      }
    }
    if holdsAllLogits(context) {
      CrossEntropy.accumulate(
        buffers.logits.rows(rows), columns: 0..<weight.rows, labels: labels, logSumExp: buffers.logSumExp,
        labelLogits: buffers.labelLogits, pool: pool)
    }
    return rows.reduce(0.0) { $0 + Double(buffers.logSumExp[$1] - buffers.labelLogits[$1]) }
  }

  /// Replaces the rows `tokens` of `x` by the gradient of `scale` times the sum of their losses.
  private func gradient(
    of x: Matrix, tokens: [Int], labels: [Int32], scale: Float, firstLabel: Int, _ context: Context
  ) {
    let buffers = context.buffers
    let engine = context.engine
    let rows = 0..<tokens.count
    let dNormed = buffers.normedGradient.rows(rows)
    // Summed apart, so that the order of the sums does not depend on the slices.
    let exactShare = buffers.hiddenGradient.rows(rows)
    VectorOperations.fill(exactShare, with: 0)
    for slice in slices(context) {
      context.residency.enterHead(slice)
      let logits =
        holdsAllLogits(context)
        ? buffers.logits.rows(rows).columns(slice) : product(rows: rows.count, slice: slice, context)
      let exact = CrossEntropy.gradient(
        logits, columns: slice, labels: labels, logSumExp: buffers.logSumExp, scale: scale, pool: engine.pool)
      // Most probabilities are tiny: rounded to nearest they would all vanish, rounded stochastically none does on
      // average. The seed is that of the place in the whole step's matrix of logits.
      engine.inputGradient(
        logits, weight, rows: slice, into: dNormed, accumulate: slice.lowerBound > 0,
        dither: RowDither.seed(row: firstLabel, column: slice.lowerBound))
      for element in exact {
        weight.decodeRow(element.column, into: buffers.weightRow)
        VectorOperations.add(buffers.weightRow, scaledBy: element.value, to: exactShare.row(element.row))
      }
      context.residency.leaveHead(slice)
    }
    VectorOperations.add(exactShare, to: dNormed, pool: engine.pool)
    let dHidden = buffers.hiddenGradient.rows(rows)
    VectorOperations.fill(dHidden, with: 0)
    norm.backward(
      dNormed, x: buffers.hidden.rows(rows), inverseRMS: buffers.inverseRMS, addingTo: dHidden, pool: engine.pool)
    VectorOperations.scatterRows(dHidden, to: tokens, of: x, pool: engine.pool)
  }

  /// Logits of every row of `hidden`, `[rows, vocabulary]`, in the buffer for them.
  func logits(of hidden: Matrix, workspace: Workspace, pass: Pass) -> Matrix {
    let buffers = workspace.head
    let context = Context(buffers: buffers, residency: workspace.residency, engine: pass.engine)
    precondition(holdsAllLogits(context), "the buffer of logits holds the whole vocabulary")
    norm.forward(
      hidden, into: buffers.normed.rows(0..<hidden.rows), keeping: buffers.inverseRMS, pool: pass.engine.pool)
    for slice in slices(context) {
      context.residency.enterHead(slice)
      _ = product(rows: hidden.rows, slice: slice, context)
      context.residency.leaveHead(slice)
    }
    return buffers.logits.rows(0..<hidden.rows)
  }
}
