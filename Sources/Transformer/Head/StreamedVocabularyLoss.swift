import Kernels

/// With products in 8 bits: logits become codes of their gradient while they are in cache, and no matrix of them exists.
struct StreamedVocabularyLoss: VocabularyLoss {
  let weight: StoredMatrix  // [vocabulary, columns]
  let replaced: TokenRows?
  let streamed: StreamedCrossEntropy
  let context: LanguageModelHead.Context

  /// Codes of a gradient, and the column that they begin with.
  private typealias Codes = (values: QuantizedRows, start: Int)

  private func softmax(_ chunk: Chunk) -> StreamedCrossEntropy.Sums { context.buffers.softmax.part(chunk.waveRows) }

  /// Room for the codes of a chunk and a slice, or where all stay of the whole vocabulary; none without a way back.
  private func codes(_ chunk: Chunk, _ slice: Range<Int>, all: Bool) -> Codes? {
    streamed.gradient(rows: chunk.rows.count, columns: all ? weight.rows : slice.count, of: weight).map {
      ($0, all ? 0 : slice.lowerBound)
    }
  }

  /// Computes the logits of `slice` from the input of a chunk, and what of them goes into `codes`, if any.
  private func stream(_ x: PreparedRows, _ chunk: Chunk, _ slice: Range<Int>, into codes: Codes?) {
    // Most probabilities are tiny: rounded to nearest they would all vanish, rounded stochastically none does on
    // average. The seed is that of the place in the whole step's matrix of logits.
    let start = codes?.start ?? slice.lowerBound
    context.engine.exponentials(
      x, weight, rows: slice, from: start, labels: chunk.labels, through: streamed, softmax: softmax(chunk),
      into: codes?.values, dither: RowDither.seed(row: context.firstLabel + chunk.first.overall, column: start),
      replacing: replacement(input: x.values))
  }

  /// What puts the tokens' own logits in place, if there are any.
  private func replacement(input x: Matrix) -> (@Sendable (_ columns: Range<Int>, _ logits: Matrix) -> Void)? {
    guard let replaced else { return nil }
    return { columns, logits in replaced.replaceLogits(logits, columns: columns, input: x) }
  }

  func accumulate(_ x: PreparedRows, _ chunk: Chunk, _ slice: Range<Int>, keepsLogits: Bool) {
    let codes = keepsLogits && context.trains ? codes(chunk, slice, all: true) : nil
    stream(x, chunk, slice, into: codes)
    streamed.accumulate(
      columns: slice, from: codes?.start ?? slice.lowerBound, into: softmax(chunk), rows: chunk.rows.count,
      pool: context.pool)
  }

  func loss(_ wave: Wave) -> Double {
    wave.chunks.reduce(0.0) { sum, chunk in
      chunk.waveRows.reduce(sum) { $0 + context.buffers.softmax.loss($1) }
    }
  }

  func logSumExp(_ row: Int) -> Float { context.buffers.softmax.logSumExp(row) }

  func gradient(_ x: PreparedRows?, _ chunk: Chunk, _ slice: Range<Int>, scale: Float) -> [CrossEntropy.Element] {
    guard let codes = codes(chunk, slice, all: x == nil) else { preconditionFailure("room for codes, to train") }
    if let x { stream(x, chunk, slice, into: codes) }
    let exact = streamed.complete(
      codes.values, columns: slice, from: codes.start, labels: chunk.labels, softmax: softmax(chunk), scale: scale,
      pool: context.pool)
    context.engine.inputGradient(
      codes.values, weight, rows: slice, from: slice.lowerBound - codes.start,
      into: context.buffers.normedGradient.rows(chunk.waveRows), accumulate: slice.lowerBound > 0)
    return exact
  }
}
