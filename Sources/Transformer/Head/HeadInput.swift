import Kernels

/// The way of a chunk from the residual stream to the input of the vocabulary product, and back: norm and projection.
extension LanguageModelHead {
  /// Gathers the inputs of a chunk and normalises them; the next chunk takes their place.
  @discardableResult func load(_ chunk: Chunk, _ context: Context) -> PreparedRows {
    let hidden = context.buffers.hidden.rows(chunk.rows)
    VectorOperations.gatherRows(of: context.x, at: chunk.tokens, into: hidden, pool: context.pool)
    load(hidden, pass: projectionPass(chunk, context), context)
    return prepare(rows: chunk.rows.count, context)
  }

  /// Normalises and projects rows, as far as there is a norm and a projection.
  func load(_ hidden: Matrix, pass: Pass, _ context: Context) {
    let buffers = context.buffers
    let normed = buffers.normed.rows(0..<hidden.rows)
    if let norm, let statistics = buffers.statistics {
      norm.forward(hidden, into: normed, keeping: statistics.rows(0..<hidden.rows), pool: context.pool)
    } else {
      VectorOperations.copy(hidden, into: normed, pool: context.pool)
    }
    if let projection {
      projection.forward(
        context.engine.prepare(normed, for: projection.weight, rowsPerSequence: Self.groupRows),
        into: buffers.projected.rows(0..<hidden.rows), keeping: buffers.projectionKept.rows(0..<hidden.rows),
        pass: pass)
    }
  }

  /// What was loaded last, for the vocabulary product.
  func prepare(rows: Int, _ context: Context) -> PreparedRows {
    context.engine.prepare(loaded(rows, context), for: weight, rowsPerSequence: Self.groupRows)
  }

  /// What was loaded last, `[rows, columns of the weight]`.
  func loaded(_ rows: Int, _ context: Context) -> Matrix {
    (projection == nil ? context.buffers.normed : context.buffers.projected).rows(0..<rows)
  }

  /// Sums over tokens are made within groups, and masks depend on the label's place: neither depends on the chunks.
  private func projectionPass(_ chunk: Chunk, _ context: Context) -> Pass {
    var pass = Pass(
      engine: context.engine, dropoutSeed: context.pass.dropoutSeed,
      firstToken: context.firstLabel + chunk.first.overall)
    pass.rowLength = Self.groupRows
    return pass
  }

  /// The way back of a chunk through projection and norm.
  ///
  /// - Parameters:
  ///   - dy: gradient of the vocabulary product's input
  ///   - space: memory of the same shape
  func gradient(ofInput dy: Matrix, _ chunk: Chunk, using space: Matrix, _ context: Context) -> Matrix {
    let buffers = context.buffers
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
      dy, x: buffers.hidden.rows(chunk.rows), statistics: statistics.rows(chunk.rows), addingTo: space,
      rowLength: Self.groupRows, pool: context.pool)
    return space
  }
}
