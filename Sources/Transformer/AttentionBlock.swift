import Kernels

/// Attention with its norms and residual: `y = x + output(attention(norm(x)))`, and the other places of norms.
///
/// Sources: Vaswani et al. 2017, arXiv 1706.03762; Ainslie et al. 2023, arXiv 2305.13245 (grouped queries);
/// Dao et al. 2022, arXiv 2205.14135 (no `T x T` matrix is kept).
struct AttentionBlock {
  /// How queries, keys and values lie in the outputs of the layers that make them.
  enum Projection {
    /// Of a layer each.
    case separate
    /// All queries, all keys, all values.
    case fused
    /// Of each head its query, key and value.
    case fusedByHead
  }

  let residual: Residual
  /// Those that make queries, keys and values: three, or one.
  let inputs: [Linear]
  let output: Linear
  let projection: Projection
  let shape: AttentionShape
  let visibility: Visibility
  /// Norms of each head's query and key, before rotation.
  let headNorms: (query: Norm, key: Norm)?
  /// Which of the workspace's rotations turns queries and keys.
  let rotary: Int?
  /// What a method has hooked in.
  let hooks = AttentionHooks()

  var linears: [Linear] { inputs + [output] }
  var hasAdapter: Bool {
    linears.contains(where: \.isHooked) || hooks.prefix != nil || residual.isHooked
      || (headNorms.map { $0.query.isTrained || $0.key.isTrained } ?? false)
  }

  /// What `forward` keeps for `backward`.
  struct Activations {
    let residual: Residual.Activations
    let projected: [Matrix]  // outputs of `inputs`, [tokens, out]; queries and keys rotated
    let raw: HeadNormActivations?
    let mixed: Matrix  // [tokens, heads * head size], output of attention; empty where nobody needs it
    let output: Matrix  // [tokens, hidden], output of the block; empty outside training
    let sums: Matrix  // [tokens, heads]: memory of the softmax's sums, laid out by `Attention`
    let weights: KeptMatrix  // [tokens, halves per token]: memory of its weights, likewise
    let adapters: [Matrix]  // of `linears`

    func rows(_ range: Range<Int>) -> Self {
      Self(
        residual: residual.rows(range), projected: projected.map { $0.rows(range) }, raw: raw?.rows(range),
        mixed: mixed.rows == 0 ? mixed : mixed.rows(range), output: output.rows == 0 ? output : output.rows(range),
        sums: sums.rows(range), weights: weights.rows(range), adapters: adapters.map { $0.rows(range) })
    }

    var softmax: Attention.Kept { Attention.Kept(sums: sums.elements, weights: weights) }
  }

  /// Queries and keys before their norms.
  struct HeadNormActivations {
    let query: KeptMatrix  // [tokens, heads * head size]; empty outside training
    let key: KeptMatrix
    let queryInverse: Matrix  // [tokens, heads]
    let keyInverse: Matrix

    func rows(_ range: Range<Int>) -> Self {
      Self(
        query: query.rows == 0 ? query : query.rows(range), key: key.rows == 0 ? key : key.rows(range),
        queryInverse: queryInverse.rows(range), keyInverse: keyInverse.rows(range))
    }
  }

  /// Memory that blocks use one after the other.
  struct Working {
    let residual: Residual.Working
    let mixed: Matrix  // [tokens, heads * head size]: attended values where no layer keeps them, and their gradient
    let projectedGradients: [Matrix]  // of the outputs of `inputs`; empty without a way back
  }

  func reserve(in room: Room, demand: RoomDemand) -> Activations {
    let tokens = demand.tokens
    let keptOutput = demand.keptColumns(output.location)
    let (queries, keys) = (shape.headCount * shape.headSize, shape.keyValueHeadCount * shape.headSize)
    let raw = headNorms.map { _ in
      let rows = demand.trains ? tokens : 0
      return HeadNormActivations(
        query: room.keptMatrix("queries before their norm", rows: rows, columns: queries, format: demand.wideFormat),
        key: room.keptMatrix("keys before their norm", rows: rows, columns: keys, format: demand.wideFormat),
        queryInverse: room.matrix("inverse RMS of queries", rows: tokens, columns: shape.headCount),
        keyInverse: room.matrix("inverse RMS of keys", rows: tokens, columns: shape.keyValueHeadCount))
    }
    return Activations(
      residual: residual.reserve(in: room, output: output.location, demand: demand),
      projected: inputs.enumerated().map { index, linear in
        room.matrix("queries, keys, values \(index)", rows: tokens, columns: linear.location.shape.out)
      },
      raw: raw,
      mixed: room.matrix(
        "attended values", rows: demand.keepsActivations && keptOutput > 0 ? tokens : 0, columns: queries),
      output: room.matrix("attention output", rows: demand.trains ? tokens : 0, columns: output.location.shape.out),
      sums: room.matrix("sums of attention's softmax", rows: tokens, columns: shape.headCount),
      weights: room.keptMatrix(
        "weights of attention", rows: tokens, columns: keptWeights(demand), format: .f16),
      adapters: linears.enumerated().map { index, linear in
        room.matrix("attention's adapter \(index)", rows: tokens, columns: demand.keptColumns(linear.location))
      })
  }

  /// Halves per token of the softmax's weights that are kept.
  private func keptWeights(_ demand: RoomDemand) -> Int {
    !demand.trains || demand.precision == .f32
      ? 0
      : Attention.weightsPerToken(
        shape: shape, length: demand.positionCount, visibility: visibility, prefixCount: demand.prefixCount)
  }

  func share(in room: Room, demand: RoomDemand) -> Working {
    Working(
      residual: residual.share(in: room, output: output.location, demand: demand),
      mixed: room.matrix(
        "attended values and their gradient", rows: demand.tokens, columns: shape.headCount * shape.headSize),
      projectedGradients: inputs.enumerated().map { index, linear in
        room.matrix(
          "gradient of queries, keys, values \(index)", rows: demand.trains ? demand.tokens : 0,
          columns: linear.location.shape.out)
      })
  }

  /// Bytes of one thread's tiles.
  func scratchByteCount(_ demand: RoomDemand) -> Int {
    Attention.scratchByteCount(
      shape: shape, length: demand.positionCount, visibility: visibility, prefixCount: demand.prefixCount,
      hasGradient: demand.trains)
  }

  /// Multiply-adds and elements per token.
  func cost(rowLength: Int) -> BlockCost {
    let seen = visibility.window.map { min(rowLength, 2 * $0) } ?? (visibility.looksAhead ? 2 * rowLength : rowLength)
    return BlockCost(
      products: linears.reduce(0) { $0 + Double($1.location.shape.out * $1.location.shape.in) },
      scores: Double(shape.headCount * shape.headSize * seen), elements: Double(3 * output.location.shape.out),
      keepsScores: Attention.weightsPerToken(shape: shape, length: rowLength, visibility: visibility) > 0)
  }

  /// Queries, keys and values as heads in the outputs of `inputs`.
  private func heads(_ outputs: [Matrix]) -> (query: HeadMatrix, key: HeadMatrix, value: HeadMatrix) {
    let size = shape.headSize
    switch projection {
    case .separate:
      return (
        HeadMatrix(outputs[0], size: size), HeadMatrix(outputs[1], size: size), HeadMatrix(outputs[2], size: size)
      )
    case .fused:
      let (queries, keys) = (shape.headCount * size, shape.keyValueHeadCount * size)
      func part(_ count: Int, _ offset: Int) -> HeadMatrix {
        HeadMatrix(outputs[0], size: size, count: count, offset: offset, stride: size)
      }
      return (
        part(shape.headCount, 0), part(shape.keyValueHeadCount, queries), part(shape.keyValueHeadCount, queries + keys)
      )
    case .fusedByHead:
      func part(_ index: Int) -> HeadMatrix {
        HeadMatrix(outputs[0], size: size, count: shape.headCount, offset: index * size, stride: 3 * size)
      }
      return (part(0), part(1), part(2))
    }
  }

  /// The keys and values that `forward` has left, rotated.
  func keysAndValues(_ kept: Activations) -> (key: HeadMatrix, value: HeadMatrix) {
    let (_, key, value) = heads(kept.projected)
    return (key, value)
  }

  /// On entry `y` holds the block's input, on return its output.
  ///
  /// - Parameters:
  ///   - x: input, `[tokens, hidden]`
  ///   - y: `[tokens, hidden]`; may be `x`
  func forward(_ x: Matrix, into y: Matrix, keeping kept: Activations, in context: BlockContext<Working>) {
    let engine = context.pass.engine
    project(x, keeping: kept, in: context)
    let (query, key, value) = heads(kept.projected)
    engine.interruptibly {
      Attention.forward(
        query: query, key: key, value: value, shape: shape, visibility: visibility, prefix: hooks.prefix?.values,
        segments: context.layout.segments, into: mixed(kept, rows: x.rows, context), keeping: kept.softmax,
        isExact: engine.precision == .f32, pool: engine.pool, scratch: context.workspace.attentionScratch)
    }
    finish(x, into: y, kept: kept, in: context)
  }

  /// Where attention writes its output: what is kept, or memory that all layers share.
  private func mixed(_ kept: Activations, rows: Int, _ context: BlockContext<Working>) -> Matrix {
    kept.mixed.rows == 0 ? context.working.mixed.rows(0..<rows) : kept.mixed
  }

  /// Queries, keys and values of `x`, normalised and rotated.
  private func project(_ x: Matrix, keeping kept: Activations, in context: BlockContext<Working>) {
    let pass = context.pass
    let pool = pass.engine.pool
    residual.begin(x, keeping: kept.residual, pass: pass)
    let input = residual.input(x, keeping: kept.residual, working: context.working.residual, pool: pool)
    let prepared = inputs[0].prepare(input, rowsPerSequence: context.layout.rowLength, pass: pass)
    Linear.forward(
      prepared,
      through: inputs.indices.map { (inputs[$0], kept.projected[$0], kept.adapters[$0]) }, pass: pass)
    let (query, key, _) = heads(kept.projected)
    if let headNorms, let raw = kept.raw {
      if raw.query.rows > 0 {
        raw.query.store(query.columns, pool: pool)
        raw.key.store(key.columns, pool: pool)
      }
      VectorOperations.rmsNorm(
        query, weight: headNorms.query.weight, epsilon: headNorms.query.epsilon, keeping: raw.queryInverse, pool: pool)
      VectorOperations.rmsNorm(
        key, weight: headNorms.key.weight, epsilon: headNorms.key.epsilon, keeping: raw.keyInverse, pool: pool)
    }
    if let rotary {
      context.workspace.rotaries[rotary].apply(
        to: query, positions: context.layout.positions, sampleLengths: context.layout.sampleLengths, pool: pool)
      context.workspace.rotaries[rotary].apply(
        to: key, positions: context.layout.positions, sampleLengths: context.layout.sampleLengths, pool: pool)
    }
  }

  /// The output product of what attention mixed, and what follows it.
  private func finish(_ x: Matrix, into y: Matrix, kept: Activations, in context: BlockContext<Working>) {
    let mixed = mixed(kept, rows: y.rows, context)
    output.scaleInput(mixed, keeping: kept.adapters[inputs.count], pass: context.pass)
    let prepared = output.prepare(mixed, rowsPerSequence: context.layout.rowLength, pass: context.pass)
    residual.output(
      prepared, through: output, of: x, into: y, keeping: kept.residual, adapterKept: kept.adapters[inputs.count],
      working: context.working.residual, pass: context.pass)
  }

  /// On entry `dx` is the gradient of the block's output, on return that of its input.
  ///
  /// - Parameters:
  ///   - dy: the gradient of the block's output; `dx` itself, or a copy of it where two blocks add to `dx`
  ///   - reachesBelow: whether anything below this block is trained; if not, `dx` is left unfinished
  func backward(
    _ dy: Matrix, addingTo dx: Matrix, x: Matrix, kept: Activations, reachesBelow: Bool,
    in context: BlockContext<Working>
  ) {
    let (pass, working) = (context.pass, context.working)
    let engine = pass.engine
    let tokens = 0..<x.rows
    let dOutput = residual.outputGradient(
      dy, dx: dx, x: x, kept: kept.residual, working: working.residual, pass: pass)
    // Perhaps the same memory: the adapter is done with one before the other is written.
    let (mixed, dMixed) = (mixed(kept, rows: x.rows, context), working.mixed.rows(tokens))
    output.backward(dOutput, x: mixed, kept: kept.adapters[inputs.count], into: dMixed, pass: pass)

    let (query, key, value) = heads(kept.projected)
    let gradients = working.projectedGradients.map { $0.rows(tokens) }
    let (dQuery, dKey, dValue) = heads(gradients)
    engine.interruptibly {
      Attention.backward(
        dMixed, query: query, key: key, value: value, shape: shape, visibility: visibility,
        prefix: hooks.prefix?.values, segments: context.layout.segments, kept: kept.softmax, dQuery: dQuery, dKey: dKey,
        dValue: dValue, prefixGradient: hooks.prefix?.gradient, isExact: engine.precision == .f32, pool: engine.pool,
        scratch: context.workspace.attentionScratch)
    }
    if let rotary {
      context.workspace.rotaries[rotary].applyInverse(
        to: dQuery, positions: context.layout.positions, sampleLengths: context.layout.sampleLengths, pool: engine.pool)
      context.workspace.rotaries[rotary].applyInverse(
        to: dKey, positions: context.layout.positions, sampleLengths: context.layout.sampleLengths, pool: engine.pool)
    }
    if let headNorms, let raw = kept.raw {
      for (norm, dy, x, inverse) in [
        (headNorms.query, dQuery, raw.query, raw.queryInverse), (headNorms.key, dKey, raw.key, raw.keyInverse),
      ] {
        guard let gradient = norm.weightGradient else { continue }
        ColumnFactors.normWeightGradient(
          dy, x: x, inverse: inverse, addingTo: gradient, rowLength: pass.rowLength, pool: engine.pool)
      }
      VectorOperations.rmsNormBackward(
        dQuery, x: raw.query, weight: headNorms.query.weight, inverseRMS: raw.queryInverse, pool: engine.pool)
      VectorOperations.rmsNormBackward(
        dKey, x: raw.key, weight: headNorms.key.weight, inverseRMS: raw.keyInverse, pool: engine.pool)
    }
    let hasInputAdapter = inputs.contains { $0.adapter != nil }
    let input =
      hasInputAdapter
      ? residual.input(x, keeping: kept.residual, working: working.residual, pool: engine.pool)
      : working.residual.normed.rows(tokens)
    let dNormed = reachesBelow || residual.trainsBefore ? working.residual.normedGradient.rows(tokens) : nil
    Linear.backward(
      through: inputs.indices.map { (inputs[$0], gradients[$0], kept.adapters[$0]) }, x: input, into: dNormed,
      pass: pass)
    if let dNormed {
      residual.inputGradient(dNormed, x: x, kept: kept.residual, addingTo: dx, pass: pass)
    }
  }

  /// Generation: attends from the rows of `x` to the cache and themselves; their keys and values join the cache.
  ///
  /// - Parameter x: input, `[tokens, hidden]`, which becomes the block's output, if that is where `y` is
  func extend(
    _ x: Matrix, into y: Matrix, keeping kept: Activations, cache: KeyValueCache.Layer,
    in context: BlockContext<Working>
  ) {
    let pool = context.pass.engine.pool
    if cache.length == 0 {
      forward(x, into: y, keeping: kept, in: context)
      let (_, key, value) = heads(kept.projected)
      cache.append(key: key, value: value, pool: pool)
      return
    }
    project(x, keeping: kept, in: context)
    let (query, key, value) = heads(kept.projected)
    for row in 0..<x.rows {
      // One after the other: in a ring a later token takes the place of what an earlier one sees.
      attend(
        query.rows(row..<row + 1), texts: [seen(key.rows(row..<row + 1), value.rows(row..<row + 1), in: cache, pool)],
        into: mixed(kept, rows: x.rows, context).rows(row..<row + 1), context)
    }
    finish(x, into: y, kept: kept, in: context)
  }

  /// The same for rows that belong to texts of their own, each with its cache.
  func extend(
    _ x: Matrix, into y: Matrix, keeping kept: Activations, caches: [KeyValueCache.Layer],
    in context: BlockContext<Working>
  ) {
    let pool = context.pass.engine.pool
    project(x, keeping: kept, in: context)
    let (query, key, value) = heads(kept.projected)
    let texts = caches.enumerated().map { row, cache in
      seen(key.rows(row..<row + 1), value.rows(row..<row + 1), in: cache, pool)
    }
    attend(query, texts: texts, into: mixed(kept, rows: x.rows, context), context)
    finish(x, into: y, kept: kept, in: context)
  }

  /// Adds a token to a cache.
  private func seen(
    _ key: HeadMatrix, _ value: HeadMatrix, in cache: KeyValueCache.Layer, _ pool: ThreadPool
  ) -> Attention.Seen {
    cache.append(key: key, value: value, pool: pool)
    return Attention.Seen(
      keys: cache.keys, values: cache.values, shape: shape, visibility: visibility, position: cache.length - 1)
  }

  private func attend(
    _ query: HeadMatrix, texts: [Attention.Seen], into mixed: Matrix, _ context: BlockContext<Working>
  ) {
    Attention.decode(
      query: query, texts: texts, shape: shape, prefix: hooks.prefix?.values, into: mixed,
      pool: context.pass.engine.pool, scratch: context.workspace.attentionScratch)
  }
}

/// What a method has hooked into an attention; shared by all copies of the block.
final class AttentionHooks {
  var prefix: AttentionPrefix?
}

/// Keys and values in front of a layer's attention, and where their gradient goes.
public struct AttentionPrefix {
  let values: Attention.Prefix
  let gradient: Attention.PrefixGradient?

  public init(_ values: Attention.Prefix, gradient: Attention.PrefixGradient?) {
    self.values = values
    self.gradient = gradient
  }
}

extension HeadMatrix {
  /// Heads that lie one after the other as one matrix, `[rows, heads * size]`.
  fileprivate var columns: Matrix {
    precondition(stride == size, "heads lie one after the other")
    return matrix.columns(offset..<offset + count * size)
  }
}
