import Architectures
import Kernels

/// How tokens and vocabulary are cut: chunks of tokens, waves of chunks, slices of the vocabulary.
extension LanguageModelHead {
  /// Labels of a micro-batch whose tokens follow those of the one before it.
  struct Labels {
    /// The token that should follow each token, or `Label.ignored`.
    let labels: [Int32]
    let rowsPerSequence: Int
  }

  /// Tokens with a label that are computed together.
  struct Chunk {
    /// Rows of the residual stream.
    let tokens: [Int]
    let labels: [Int32]
    /// Labels before it: in the wave, and in all micro-batches.
    let first: (inWave: Int, overall: Int)

    var rows: Range<Int> { 0..<tokens.count }
    var waveRows: Range<Int> { first.inWave..<first.inWave + tokens.count }
  }

  /// Chunks that take turns within a slice of the vocabulary.
  struct Wave {
    var chunks: [Chunk] = []
    /// Whether the logits, or the codes of their gradient, stay from the softmax to the gradient: those of one chunk and
    /// the whole vocabulary do.
    var keepsLogits = false
  }

  /// What a wave is computed with.
  struct Context {
    let x: Matrix  // output of the last layer, [tokens of all micro-batches, hidden]
    let buffers: Buffers
    let residency: WeightResidency
    let pass: Pass
    /// Labels of the step before these: what is rounded stochastically is reproducible from it.
    var firstLabel = 0
    /// Whether a gradient follows the softmax.
    var trains = false

    var engine: ComputeEngine { pass.engine }
    var pool: ThreadPool { pass.engine.pool }
  }

  /// A chunk never crosses a row of the batch: which columns count as outliers must not depend on the neighbours.
  func waves(_ batches: [Labels], _ context: Context) -> [Wave] {
    let (chunkRows, waveRows) = (context.buffers.hidden.rows, context.buffers.logSumExp.count)
    var waves: [Wave] = []
    var firstToken = 0
    var done = (inWave: 0, overall: 0)
    for batch in batches {
      for start in stride(from: 0, to: batch.labels.count, by: batch.rowsPerSequence) {
        let tokens = (start..<min(start + batch.rowsPerSequence, batch.labels.count)).filter {
          batch.labels[$0] != Label.ignored
        }
        for first in stride(from: 0, to: tokens.count, by: chunkRows) {
          let part = tokens[first..<min(first + chunkRows, tokens.count)]
          if waves.isEmpty || !context.residency.headPassesThrough || done.inWave + part.count > waveRows {
            waves.append(Wave())
            done.inWave = 0
          }
          waves[waves.count - 1].chunks.append(
            Chunk(tokens: part.map { firstToken + $0 }, labels: part.map { batch.labels[$0] }, first: done))
          done = (done.inWave + part.count, done.overall + part.count)
        }
      }
      firstToken += batch.labels.count
    }
    return waves.map { Wave(chunks: $0.chunks, keepsLogits: $0.chunks.count == 1 && holdsAllLogits(context)) }
  }

  /// Parts of the vocabulary that are computed together: what fits the logits and what is in memory at a time.
  func slices(_ context: Context) -> [Range<Int>] {
    let size = context.residency.sliceRows
    precondition(size <= context.buffers.columns, "logits of a slice have room")
    return stride(from: 0, to: weight.rows, by: size).map { $0..<min($0 + size, weight.rows) }
  }

  func holdsAllLogits(_ context: Context) -> Bool { context.buffers.columns >= weight.rows }
}
