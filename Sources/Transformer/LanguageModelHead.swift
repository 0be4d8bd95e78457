import Architectures
import Kernels
import Memory

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

  /// Tokens that share outlier columns. Chunks are multiples of it, so their size changes nothing.
  public static let groupRows = 16

  /// Working memory of one chunk, and of the chunks that take turns within a slice: a wave.
  struct Buffers {
    let hidden: Matrix  // [rows, hidden]
    let normed: Matrix  // [rows, hidden]
    let statistics: NormStatistics?  // [rows]
    let projected: Matrix  // [rows, columns of the weight]; empty without a projection
    let projectionKept: Matrix  // what its adapter keeps
    let projectionGradient: Matrix  // [rows, hidden]; empty without a projection or a way back
    /// Columns of the whole vocabulary or of a slice of it, which are computed before any is computed again.
    let columns: Int
    let logits: Matrix  // [rows, columns]; empty where nobody reads them
    let streamed: StreamedCrossEntropy?  // for products in 8 bits
    let logSumExp: Vector  // [rows of a wave]
    let labelLogits: Vector  // [rows of a wave]
    let softmax: StreamedCrossEntropy.Sums  // of the rows of a wave, where logits are streamed
    let normedGradient: Matrix  // [rows of a wave, columns of the weight]
    let exactShare: Matrix  // [rows of a wave, columns of the weight]: what the labels' elements add to the gradient
    let weightRow: Vector  // [columns of the weight]

    /// - Parameters:
    ///   - rows: of a chunk
    ///   - waveRows: of all chunks that are computed with a slice before the next one
    ///   - keepsLogits: whether they are kept, for those who read them or for products in floats
    ///   - streamingThreads: for products in 8 bits, the number of threads; 0 where no loss is computed with those
    ///   - keptColumns: floats per token that the projection's adapter keeps
    ///   - shared: two matrices, `[any, hidden]`, that nobody needs while the head computes; `nil` without gradients
    init(
      rows: Int, waveRows: Int, columns: Int, head: LanguageModelHead, keepsLogits: Bool, streamingThreads: Int,
      keptColumns: Int, shared: (Matrix, Matrix)?, arena: Arena
    ) {
      let weight = head.weight
      let hiddenSize = head.projection?.location.shape.in ?? weight.columns
      self.columns = columns
      hidden = arena.matrix("head input", kind: .head, rows: rows, columns: hiddenSize)
      normed = arena.matrix("head input, normalised", kind: .head, rows: rows, columns: hiddenSize)
      statistics = head.norm?.reserve("head", in: Room(arena, kind: .head), tokens: rows)
      let projectedRows = head.projection == nil ? 0 : rows
      projected = arena.matrix("head input, projected", kind: .head, rows: projectedRows, columns: weight.columns)
      projectionKept = arena.matrix(
        "adapter of the head's projection", kind: .head, rows: projectedRows, columns: keptColumns)
      projectionGradient = arena.matrix(
        "gradient of the head's projection", kind: .head, rows: shared == nil ? 0 : projectedRows, columns: hiddenSize)
      logits = arena.matrix("logits of a chunk", kind: .head, rows: keepsLogits ? rows : 0, columns: columns)
      logSumExp = arena.vector("sums of the softmax", kind: .head, count: waveRows)
      labelLogits = arena.vector("logits of the labels", kind: .head, count: waveRows)
      softmax = StreamedCrossEntropy.Sums(
        largest: arena.vector("largest logits", kind: .head, count: waveRows),
        total: arena.vector("sums of exponentials", kind: .head, count: waveRows), labelLogits: labelLogits)
      streamed =
        streamingThreads == 0
        ? nil
        : Self.streamed(
          rows: rows, columns: columns, weight: weight, threadCount: streamingThreads, hasGradient: shared != nil,
          arena: arena)
      func gradient(_ matrix: Matrix?) -> Matrix {
        if let matrix, matrix.rows >= waveRows, matrix.columns == weight.columns { return matrix }
        return arena.matrix(
          "head input gradient", kind: .head, rows: shared == nil ? 0 : waveRows, columns: weight.columns)
      }
      normedGradient = gradient(shared?.0)
      exactShare = gradient(shared?.1)
      weightRow = arena.vector("row of the head", kind: .head, count: weight.columns)
    }

    private static func streamed(
      rows: Int, columns: Int, weight: StoredMatrix, threadCount: Int, hasGradient: Bool, arena: Arena
    ) -> StreamedCrossEntropy {
      let stretches = StreamedCrossEntropy.stretchCount(columns)
      let codeBytes = StreamedCrossEntropy.codeByteCount(rows: rows, columns: columns, weight: weight)
      return StreamedCrossEntropy(
        // A cache line more than the columns, so that rows do not fall into the same few places of the caches.
        logits: (0..<threadCount).map { worker in
          arena.matrix(
            "logits of thread \(worker)", kind: .head, rows: rows, columns: StreamedCrossEntropy.stretch + 16)
        },
        largest: arena.matrix("largest logits of stretches", kind: .head, rows: rows, columns: stretches),
        sums: arena.matrix("sums of stretches", kind: .head, rows: rows, columns: stretches),
        codes: hasGradient
          ? Scratch(
            arena.allocate("gradient of the logits", kind: .head, byteCount: codeBytes), byteCount: codeBytes) : nil)
    }
  }

  /// Labels of a micro-batch whose tokens follow those of the one before it.
  struct Labels {
    /// The token that should follow each token, or `ignoredLabel`.
    let labels: [Int32]
    let rowsPerSequence: Int
  }

  /// Tokens with a label that are computed together.
  private struct Chunk {
    /// Rows of the residual stream.
    let tokens: [Int]
    let labels: [Int32]
    /// Labels before it: in the wave, and in all micro-batches.
    let first: (inWave: Int, overall: Int)

    var rows: Range<Int> { 0..<tokens.count }
    var waveRows: Range<Int> { first.inWave..<first.inWave + tokens.count }
  }

  /// What a wave is computed with.
  private struct Context {
    let x: Matrix
    let buffers: Buffers
    let residency: WeightResidency
    let pass: Pass
    /// Labels of the step before these.
    var firstLabel = 0

    var engine: ComputeEngine { pass.engine }
  }

  /// Sum of the cross-entropies of all tokens with a label.
  ///
  /// - Parameter x: output of the last layer, `[tokens of all micro-batches, hidden]`
  func loss(_ x: Matrix, _ batches: [Labels], workspace: Workspace, pass: Pass) -> Double {
    let context = Context(x: x, buffers: workspace.head, residency: workspace.residency, pass: pass)
    return waves(batches, context).reduce(0) { $0 + softmax($1, firstLabel: nil, context) }
  }

  /// The same sum; `x` becomes the gradient of `gradientScale` times it.
  ///
  /// - Parameter firstLabel: labels of the step before these: what is rounded stochastically is reproducible from it
  func lossAndGradient(
    _ x: Matrix, _ batches: [Labels], gradientScale: Float, firstLabel: Int, workspace: Workspace, pass: Pass
  ) -> Double {
    let context = Context(
      x: x, buffers: workspace.head, residency: workspace.residency, pass: pass, firstLabel: firstLabel)
    var sum = 0.0
    for wave in waves(batches, context) {
      sum += softmax(wave, firstLabel: firstLabel, context)
      gradient(wave, scale: gradientScale, firstLabel: firstLabel, context)
    }
    for (token, label) in batches.flatMap(\.labels).enumerated() where label == Label.ignored {
      VectorOperations.fill(x.row(token), with: 0)
    }
    return sum
  }

  /// A chunk never crosses a row of the batch: which columns count as outliers must not depend on the neighbours.
  private func waves(_ batches: [Labels], _ context: Context) -> [[Chunk]] {
    let (chunkRows, waveRows) = (context.buffers.hidden.rows, context.buffers.logSumExp.count)
    var waves: [[Chunk]] = []
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
            waves.append([])
            done.inWave = 0
          }
          waves[waves.count - 1].append(
            Chunk(tokens: part.map { firstToken + $0 }, labels: part.map { batch.labels[$0] }, first: done))
          done = (done.inWave + part.count, done.overall + part.count)
        }
      }
      firstToken += batch.labels.count
    }
    return waves
  }

  /// Parts of the vocabulary that are computed together: what fits the logits and what is in memory at a time.
  private func slices(_ context: Context) -> [Range<Int>] {
    let size = context.residency.sliceRows
    precondition(size <= context.buffers.columns, "logits of a slice have room")
    return stride(from: 0, to: weight.rows, by: size).map { $0..<min($0 + size, weight.rows) }
  }

  private func holdsAllLogits(_ context: Context) -> Bool { context.buffers.columns >= weight.rows }

  /// Whether the logits of a wave, or their codes, stay from the softmax to the gradient.
  private func keepsLogits(_ wave: [Chunk], _ context: Context) -> Bool { wave.count == 1 && holdsAllLogits(context) }

  /// Gathers the inputs of a chunk and normalises them; the next chunk takes their place.
  @discardableResult private func load(_ chunk: Chunk, _ context: Context) -> PreparedRows {
    let buffers = context.buffers
    let hidden = buffers.hidden.rows(chunk.rows)
    VectorOperations.gatherRows(of: context.x, at: chunk.tokens, into: hidden, pool: context.engine.pool)
    load(hidden, pass: projectionPass(chunk, context), context)
    return prepare(rows: chunk.rows.count, context)
  }

  /// Normalises and projects rows, as far as there is a norm and a projection.
  private func load(_ hidden: Matrix, pass: Pass, _ context: Context) {
    let buffers = context.buffers
    let normed = buffers.normed.rows(0..<hidden.rows)
    if let norm, let statistics = buffers.statistics {
      norm.forward(hidden, into: normed, keeping: statistics.rows(0..<hidden.rows), pool: context.engine.pool)
    } else {
      VectorOperations.copy(hidden, into: normed, pool: context.engine.pool)
    }
    if let projection {
      projection.forward(
        context.engine.prepare(normed, for: projection.weight, rowsPerSequence: Self.groupRows),
        into: buffers.projected.rows(0..<hidden.rows), keeping: buffers.projectionKept.rows(0..<hidden.rows),
        pass: pass)
    }
  }

  /// Sums over tokens are made within groups, and masks depend on the label's place: neither depends on the chunks.
  private func projectionPass(_ chunk: Chunk, _ context: Context) -> Pass {
    var pass = Pass(
      engine: context.engine, dropoutSeed: context.pass.dropoutSeed,
      firstToken: context.firstLabel + chunk.first.overall)
    pass.rowLength = Self.groupRows
    return pass
  }

  private func prepare(rows: Int, _ context: Context) -> PreparedRows {
    let buffers = context.buffers
    return context.engine.prepare(
      (projection == nil ? buffers.normed : buffers.projected).rows(0..<rows), for: weight,
      rowsPerSequence: Self.groupRows)
  }

  /// Computes the logits of `slice` from the input of a chunk.
  private func product(_ x: PreparedRows, slice: Range<Int>, _ context: Context) -> Matrix {
    let logits = context.buffers.logits.rows(0..<x.values.rows)
    let target = logits.columns(holdsAllLogits(context) ? slice : 0..<slice.count)
    context.engine.product(x, weight, rows: slice, into: target, accumulate: false)
    return target
  }

  /// Codes of a gradient, and the column that they begin with.
  private typealias Codes = (values: QuantizedRows, start: Int)

  /// Room for the codes of a chunk and a slice, or where all stay of the whole vocabulary.
  private func codes(_ chunk: Chunk, _ slice: Range<Int>, all: Bool, _ streamed: StreamedCrossEntropy) -> Codes? {
    streamed.gradient(rows: chunk.rows.count, columns: all ? weight.rows : slice.count, of: weight).map {
      ($0, all ? 0 : slice.lowerBound)
    }
  }

  /// Computes the logits of `slice` from the input of a chunk, and what of them goes into `codes`, if any.
  private func stream(
    _ x: PreparedRows, _ chunk: Chunk, _ slice: Range<Int>, through streamed: StreamedCrossEntropy, into codes: Codes?,
    firstLabel: Int, _ context: Context
  ) {
    // Most probabilities are tiny: rounded to nearest they would all vanish, rounded stochastically none does on
    // average. The seed is that of the place in the whole step's matrix of logits.
    let start = codes?.start ?? slice.lowerBound
    context.engine.exponentials(
      x, weight, rows: slice, from: start, labels: chunk.labels, through: streamed,
      softmax: context.buffers.softmax.part(chunk.waveRows), into: codes?.values,
      dither: RowDither.seed(row: firstLabel + chunk.first.overall, column: start))
  }

  /// Fills the sums of the softmax, and the logits if they stay.
  /// - Parameter firstLabel: labels of the step before these; `nil` where no gradient follows
  /// - Returns: sum of the losses
  private func softmax(_ wave: [Chunk], firstLabel: Int?, _ context: Context) -> Double {
    let buffers = context.buffers
    let pool = context.engine.pool
    let keeps = keepsLogits(wave, context)
    func accumulate(_ logits: Matrix, _ columns: Range<Int>, _ chunk: Chunk) {
      CrossEntropy.accumulate(
        logits, columns: columns, labels: chunk.labels, logSumExp: buffers.logSumExp.part(chunk.waveRows),
        labelLogits: buffers.labelLogits.part(chunk.waveRows), pool: pool)
    }
    var loaded: PreparedRows?
    for slice in slices(context) {
      context.residency.enterHead(slice)
      for chunk in wave {
        let x = wave.count == 1 ? loaded ?? load(chunk, context) : load(chunk, context)
        loaded = x
        if let streamed = buffers.streamed {
          let codes = keeps && firstLabel != nil ? codes(chunk, slice, all: true, streamed) : nil
          stream(x, chunk, slice, through: streamed, into: codes, firstLabel: firstLabel ?? 0, context)
          streamed.accumulate(
            columns: slice, from: codes?.start ?? slice.lowerBound, into: buffers.softmax.part(chunk.waveRows),
            rows: chunk.rows.count, pool: pool)
          continue
        }
        let logits = product(x, slice: slice, context)
        if !keeps { accumulate(logits, slice, chunk) }
      }
      context.residency.leaveHead(slice)
    }
    if buffers.streamed != nil {
      return wave.reduce(0.0) { sum, chunk in chunk.waveRows.reduce(sum) { $0 + buffers.softmax.loss($1) } }
    }
    if keeps { accumulate(buffers.logits.rows(wave[0].rows), 0..<weight.rows, wave[0]) }
    return wave.reduce(0.0) { sum, chunk in
      sum + chunk.waveRows.reduce(0.0) { $0 + Double(buffers.logSumExp[$1] - buffers.labelLogits[$1]) }
    }
  }

  /// Replaces the tokens' rows of the residual stream by the gradient of `scale` times the sum of their losses.
  private func gradient(_ wave: [Chunk], scale: Float, firstLabel: Int, _ context: Context) {
    let buffers = context.buffers
    let engine = context.engine
    let keeps = keepsLogits(wave, context)
    // Summed apart, so that the order of the sums does not depend on the slices.
    for chunk in wave { VectorOperations.fill(buffers.exactShare.rows(chunk.waveRows), with: 0) }
    for slice in slices(context) {
      context.residency.enterHead(slice)
      for chunk in wave {
        let x = keeps ? nil : wave.count > 1 ? load(chunk, context) : prepare(rows: chunk.rows.count, context)
        let exact =
          streamedGradient(x, chunk, slice, scale: scale, firstLabel: firstLabel, context)
          ?? floatGradient(x, chunk, slice, scale: scale, context)
        for element in exact {
          weight.decodeRow(element.column, into: buffers.weightRow)
          VectorOperations.add(
            buffers.weightRow, scaledBy: element.value,
            to: buffers.exactShare.row(chunk.first.inWave + element.row))
        }
      }
      context.residency.leaveHead(slice)
    }
    for chunk in wave {
      if wave.count > 1 { load(chunk, context) }
      let dNormed = buffers.normedGradient.rows(chunk.waveRows)
      let share = buffers.exactShare.rows(chunk.waveRows)
      VectorOperations.add(share, to: dNormed, pool: engine.pool)
      VectorOperations.scatterRows(
        gradient(ofInput: dNormed, chunk, using: share, context), to: chunk.tokens, of: context.x, pool: engine.pool)
    }
  }

  /// The way back of a chunk through projection and norm.
  ///
  /// - Parameters:
  ///   - dy: gradient of the last product's input
  ///   - space: memory of the same shape
  private func gradient(ofInput dy: Matrix, _ chunk: Chunk, using space: Matrix, _ context: Context) -> Matrix {
    let buffers = context.buffers
    let pool = context.engine.pool
    var (dy, space) = (dy, space)
    if let projection {
      let dNormed = buffers.projectionGradient.rows(chunk.rows)
      projection.backward(
        dy, x: buffers.normed.rows(chunk.rows), kept: buffers.projectionKept.rows(chunk.rows), into: dNormed,
        pass: projectionPass(chunk, context))
      (dy, space) = (dNormed, buffers.normed.rows(chunk.rows))
    }
    guard let norm, let statistics = buffers.statistics else { return dy }
    VectorOperations.fill(space, with: 0)
    norm.backward(
      dy, x: buffers.hidden.rows(chunk.rows), statistics: statistics.rows(chunk.rows), addingTo: space, pool: pool)
    return space
  }

  /// What a slice adds to the gradient of a chunk's normalised input, by way of codes, but for the labels' elements.
  ///
  /// - Parameter x: input of the chunk; `nil` if the codes are there
  /// - Returns: the labels' elements; `nil` where products are in floats
  private func streamedGradient(
    _ x: PreparedRows?, _ chunk: Chunk, _ slice: Range<Int>, scale: Float, firstLabel: Int, _ context: Context
  ) -> [CrossEntropy.Element]? {
    let buffers = context.buffers
    guard let streamed = buffers.streamed, let codes = codes(chunk, slice, all: x == nil, streamed) else { return nil }
    if let x { stream(x, chunk, slice, through: streamed, into: codes, firstLabel: firstLabel, context) }
    let exact = streamed.complete(
      codes.values, columns: slice, from: codes.start, labels: chunk.labels,
      softmax: buffers.softmax.part(chunk.waveRows), scale: scale, pool: context.engine.pool)
    context.engine.inputGradient(
      codes.values, weight, rows: slice, from: slice.lowerBound - codes.start,
      into: buffers.normedGradient.rows(chunk.waveRows), accumulate: slice.lowerBound > 0)
    return exact
  }

  /// The same in floats, in the place of the logits.
  private func floatGradient(
    _ x: PreparedRows?, _ chunk: Chunk, _ slice: Range<Int>, scale: Float, _ context: Context
  ) -> [CrossEntropy.Element] {
    let buffers = context.buffers
    let logits =
      x.map { product($0, slice: slice, context) } ?? buffers.logits.rows(chunk.rows).columns(slice)
    let exact = CrossEntropy.gradient(
      logits, columns: slice, labels: chunk.labels, logSumExp: buffers.logSumExp.part(chunk.waveRows), scale: scale,
      pool: context.engine.pool)
    context.engine.inputGradient(
      logits, weight, rows: slice, into: buffers.normedGradient.rows(chunk.waveRows), accumulate: slice.lowerBound > 0)
    return exact
  }

  /// Logits of every row of `hidden`, `[rows, vocabulary]`, in the buffer for them.
  func logits(of hidden: Matrix, workspace: Workspace, pass: Pass) -> Matrix {
    let buffers = workspace.head
    let context = Context(x: hidden, buffers: buffers, residency: workspace.residency, pass: pass)
    precondition(holdsAllLogits(context), "the buffer of logits holds the whole vocabulary")
    load(hidden, pass: pass, context)
    for slice in slices(context) {
      context.residency.enterHead(slice)
      _ = product(prepare(rows: hidden.rows, context), slice: slice, context)
      context.residency.leaveHead(slice)
    }
    return buffers.logits.rows(0..<hidden.rows)
  }
}
