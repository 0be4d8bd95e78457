import Kernels

/// With products in floats, as of a head that is trained whole: a chunk's logits of a slice are a matrix, which turns into
/// their gradient where it stands.
struct FloatVocabularyLoss: VocabularyLoss {
  let head: LanguageModelHead
  let context: LanguageModelHead.Context

  func accumulate(_ x: PreparedRows, _ chunk: Chunk, _ slice: Range<Int>, keepsLogits: Bool) {
    let logits = head.product(x, slice: slice, context)
    if !keepsLogits { accumulate(logits, slice, chunk) }
  }

  private func accumulate(_ logits: Matrix, _ columns: Range<Int>, _ chunk: Chunk) {
    CrossEntropy.accumulate(
      logits, columns: columns, labels: chunk.labels, logSumExp: context.buffers.logSumExp.part(chunk.waveRows),
      labelLogits: context.buffers.labelLogits.part(chunk.waveRows), pool: context.pool)
  }

  func loss(_ wave: Wave) -> Double {
    let buffers = context.buffers
    if wave.keepsLogits {
      accumulate(buffers.logits.rows(wave.chunks[0].rows), 0..<head.weight.rows, wave.chunks[0])
    }
    return wave.chunks.reduce(0.0) { sum, chunk in
      sum + chunk.waveRows.reduce(0.0) { $0 + Double(buffers.logSumExp[$1] - buffers.labelLogits[$1]) }
    }
  }

  func logSumExp(_ row: Int) -> Float { context.buffers.logSumExp[row] }

  func gradient(_ x: PreparedRows?, _ chunk: Chunk, _ slice: Range<Int>, scale: Float) -> [CrossEntropy.Element] {
    let buffers = context.buffers
    let logits =
      x.map { head.product($0, slice: slice, context) } ?? buffers.logits.rows(chunk.rows).columns(slice)
    let exact = CrossEntropy.gradient(
      logits, columns: slice, labels: chunk.labels, logSumExp: buffers.logSumExp.part(chunk.waveRows), scale: scale,
      pool: context.pool)
    if let table = head.hooks.table {
      // Floats have bits enough for all elements.
      for element in exact { logits.row(element.row).base[element.column - slice.lowerBound] = element.value }
      table.backward(
        logits, slice: slice, x: head.loaded(chunk.rows.count, context),
        into: buffers.normedGradient.rows(chunk.waveRows), pool: context.pool)
      return []
    }
    context.engine.inputGradient(
      logits, head.weight, rows: slice, into: buffers.normedGradient.rows(chunk.waveRows),
      accumulate: slice.lowerBound > 0)
    return exact
  }
}
