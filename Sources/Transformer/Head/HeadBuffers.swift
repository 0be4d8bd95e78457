import Kernels
import Memory

extension LanguageModelHead {
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
    ///   - trainsWeight: whether a method trains the weight whole
    ///   - streamingThreads: for products in 8 bits, the number of threads; 0 where no loss is computed with those
    ///   - keptColumns: floats per token that the projection's adapter keeps
    ///   - shared: two matrices, `[any, hidden]`, that nobody needs while the head computes; `nil` without gradients
    init(
      rows: Int, waveRows: Int, columns: Int, head: LanguageModelHead, keepsLogits: Bool, trainsWeight: Bool,
      streamingThreads: Int, keptColumns: Int, shared: (Matrix, Matrix)?, arena: Arena
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
      // Where a weight's gradient is made of columns of them, rows of a round length would fall into the same few places of
      // the caches.
      logits =
        trainsWeight
        ? arena.matrix("logits of a chunk", kind: .head, rows: rows, columns: columns + 16).columns(0..<columns)
        : arena.matrix("logits of a chunk", kind: .head, rows: keepsLogits ? rows : 0, columns: columns)
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
}
