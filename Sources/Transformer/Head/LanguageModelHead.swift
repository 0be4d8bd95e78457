import Architectures
import Kernels

/// Final norm, vocabulary product and cross-entropy, chunk by chunk, for the tokens that carry loss.
///
/// The whole `[tokens, vocabulary]` matrix of logits never exists. With products in 8 bits a chunk of it does not either:
/// logits become codes of their gradient while they are in cache. In floats they are turned into it where they stand. Where
/// even that is too large, slices of the vocabulary take turns and every logit is computed twice: for the sum of the softmax,
/// and for the gradient. Where the weight does not stay in memory, all chunks are computed with a slice before the next one,
/// so that it passes through twice, however many tokens there are.
///
/// Source of the slices: Wijmans et al. 2024, arXiv 2411.09009.
public struct LanguageModelHead {
  let norm: Norm?
  /// From the hidden size to the weight's columns, where they differ.
  let projection: Linear?
  let weight: StoredMatrix  // [vocabulary, columns]; the embedding itself where the two are tied
  /// Hooks of the embedding that it is tied to.
  let tied: EmbeddingHooks?
  /// What a method has hooked in.
  let hooks = HeadHooks()

  /// Tokens that share outlier columns. Chunks are multiples of it, so their size changes nothing.
  public static let groupRows = 16

  /// Sum of the cross-entropies of all tokens with a label.
  ///
  /// - Parameter x: output of the last layer, `[tokens of all micro-batches, hidden]`
  func loss(_ x: Matrix, _ batches: [Labels], workspace: Workspace, pass: Pass) throws -> Double {
    let context = Context(x: x, buffers: workspace.head, residency: workspace.residency, pass: pass)
    let loss = vocabularyLoss(context)
    return try waves(batches, context).reduce(0) {
      try pass.engine.checkInterruption()
      return $0 + softmax($1, loss, context)
    }
  }

  /// The same sum; `x` becomes the gradient of `gradientScale` times it.
  ///
  /// - Parameter firstLabel: labels of the step before these
  func lossAndGradient(
    _ x: Matrix, _ batches: [Labels], gradientScale: Float, firstLabel: Int, workspace: Workspace, pass: Pass
  ) throws -> Double {
    let context = Context(
      x: x, buffers: workspace.head, residency: workspace.residency, pass: pass, firstLabel: firstLabel, trains: true)
    let loss = vocabularyLoss(context)
    var sum = 0.0
    for wave in waves(batches, context) {
      try pass.engine.checkInterruption()
      sum += softmax(wave, loss, context)
      gradient(wave, loss, scale: gradientScale, context)
    }
    for (token, label) in batches.flatMap(\.labels).enumerated() where label == Label.ignored {
      VectorOperations.fill(x.row(token), with: 0)
    }
    return sum
  }

  private func vocabularyLoss(_ context: Context) -> any VocabularyLoss {
    guard hooks.table == nil, let streamed = context.buffers.streamed else {
      return FloatVocabularyLoss(head: self, context: context)
    }
    return StreamedVocabularyLoss(weight: weight, replaced: tied?.tokens, streamed: streamed, context: context)
  }

  /// Fills the sums of the softmax, and the logits if they stay.
  /// - Returns: sum of the losses
  private func softmax(_ wave: Wave, _ loss: any VocabularyLoss, _ context: Context) -> Double {
    var loaded: PreparedRows?
    for slice in slices(context) {
      context.residency.enterHead(slice, for: .softmax)
      for chunk in wave.chunks {
        let x = wave.chunks.count == 1 ? loaded ?? load(chunk, context) : load(chunk, context)
        loaded = x
        loss.accumulate(x, chunk, slice, keepsLogits: wave.keepsLogits)
      }
      context.residency.leaveHead(slice)
    }
    return loss.loss(wave)
  }

  /// Replaces the tokens' rows of the residual stream by the gradient of `scale` times the sum of their losses.
  private func gradient(_ wave: Wave, _ loss: any VocabularyLoss, scale: Float, _ context: Context) {
    let buffers = context.buffers
    let takesTurns = wave.chunks.count > 1
    // Summed apart, so that the order of the sums does not depend on the slices.
    for chunk in wave.chunks { VectorOperations.fill(buffers.exactShare.rows(chunk.waveRows), with: 0) }
    for slice in slices(context) {
      context.residency.enterHead(slice, for: .headGradient)
      for chunk in wave.chunks {
        let x =
          wave.keepsLogits ? nil : takesTurns ? load(chunk, context) : prepare(rows: chunk.rows.count, context)
        for element in loss.gradient(x, chunk, slice, scale: scale) {
          weight.decodeRow(element.column, into: buffers.weightRow)
          VectorOperations.add(
            buffers.weightRow, scaledBy: element.value,
            to: buffers.exactShare.row(chunk.first.inWave + element.row))
        }
      }
      context.residency.leaveHead(slice)
    }
    for chunk in wave.chunks {
      if takesTurns { load(chunk, context) }
      let dNormed = buffers.normedGradient.rows(chunk.waveRows)
      let share = buffers.exactShare.rows(chunk.waveRows)
      tiedRows?.headBackward(
        loaded(chunk.rows.count, context), labels: chunk.labels, scale: scale,
        logSumExp: chunk.waveRows.map(loss.logSumExp), addingTo: share, pool: context.pool)
      VectorOperations.add(share, to: dNormed, pool: context.pool)
      VectorOperations.scatterRows(
        gradient(ofInput: dNormed, chunk, using: share, context), to: chunk.tokens, of: context.x, pool: context.pool)
    }
  }

  /// Rows of tokens that the head shares with the embedding, where nothing stands in place of the whole.
  private var tiedRows: TokenRows? { hooks.table == nil ? tied?.tokens : nil }

  /// Computes the logits of `slice` from the input of a chunk.
  func product(_ x: PreparedRows, slice: Range<Int>, _ context: Context) -> Matrix {
    let logits = context.buffers.logits.rows(0..<x.values.rows)
    let target = logits.columns(holdsAllLogits(context) ? slice : 0..<slice.count)
    if let table = hooks.table {
      FloatProduct.forward(x.values, table.values.rows(slice), into: target, pool: context.pool)
      return target
    }
    context.engine.product(x, weight, rows: slice, into: target, accumulate: false)
    tied?.tokens?.replaceLogits(target, columns: slice, input: x.values)
    return target
  }

  /// Logits of every row of `hidden`, `[rows, vocabulary]`, in the buffer for them.
  func logits(of hidden: Matrix, workspace: Workspace, pass: Pass) -> Matrix {
    let context = Context(x: hidden, buffers: workspace.head, residency: workspace.residency, pass: pass)
    precondition(holdsAllLogits(context), "the buffer of logits holds the whole vocabulary")
    load(hidden, pass: pass, context)
    for slice in slices(context) {
      context.residency.enterHead(slice, for: .softmax)
      _ = product(prepare(rows: hidden.rows, context), slice: slice, context)
      context.residency.leaveHead(slice)
    }
    return workspace.head.logits.rows(0..<hidden.rows)
  }
}
