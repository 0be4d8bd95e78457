import Kernels

/// Grouped-query causal self-attention with its norm and residual: `y = x + o_proj(attention(norm(x)))`.
///
/// Sources: Vaswani et al. 2017, arXiv 1706.03762; Ainslie et al. 2023, arXiv 2305.13245 (grouped queries);
/// Dao et al. 2022, arXiv 2205.14135 (no `T x T` matrix is kept).
struct AttentionBlock {
  let norm: RMSNorm
  var query: Linear
  var key: Linear
  var value: Linear
  var output: Linear
  let shape: AttentionShape

  private func heads(_ x: Matrix) -> HeadMatrix { HeadMatrix(x, size: shape.headSize) }

  /// What `forward` keeps for `backward`.
  struct Activations {
    let query: Matrix  // [tokens, heads * head size], rotated
    let key: Matrix  // [tokens, key-value heads * head size], rotated
    let value: Matrix  // [tokens, key-value heads * head size]
    let mixed: Matrix  // [tokens, heads * head size], output of attention; empty where nobody needs it
    let output: Matrix  // [tokens, hidden], output of the block; empty outside training
    let inverseRMS: Vector  // [tokens]
    let sums: Matrix  // [tokens, heads]: memory of the softmax's sums, laid out by `Attention`
    let weights: KeptMatrix  // [tokens, halves per token]: memory of its weights, likewise
    let queryKept: Matrix
    let keyKept: Matrix
    let valueKept: Matrix
    let outputKept: Matrix

    func rows(_ range: Range<Int>) -> Self {
      Self(
        query: query.rows(range), key: key.rows(range), value: value.rows(range),
        mixed: mixed.rows == 0 ? mixed : mixed.rows(range),
        output: output.rows == 0 ? output : output.rows(range), inverseRMS: inverseRMS.part(range),
        sums: sums.rows(range), weights: weights.rows(range), queryKept: queryKept.rows(range),
        keyKept: keyKept.rows(range),
        valueKept: valueKept.rows(range), outputKept: outputKept.rows(range))
    }

    var softmax: Attention.Kept { Attention.Kept(sums: sums.elements, weights: weights) }

    /// The same memory for a layer whose adapters keep fewer columns.
    func narrowed(to columns: (LinearModule) -> Int) -> Self {
      Self(
        query: query, key: key, value: value, mixed: mixed, output: output, inverseRMS: inverseRMS,
        sums: sums, weights: weights, queryKept: queryKept.narrowed(to: columns(.query)),
        keyKept: keyKept.narrowed(to: columns(.key)), valueKept: valueKept.narrowed(to: columns(.value)),
        outputKept: outputKept.narrowed(to: columns(.output)))
    }
  }

  /// - Parameters:
  ///   - x: input, `[tokens, hidden]`
  ///   - y: the block's share is added to it, `[tokens, hidden]`; may be `x`
  func forward(
    _ x: Matrix, addingTo y: Matrix, layout: SequenceLayout, keeping kept: Activations, workspace: Workspace, pass: Pass
  ) {
    let engine = pass.engine
    project(x, layout: layout, keeping: kept, workspace: workspace, pass: pass)
    Attention.forward(
      query: heads(kept.query), key: heads(kept.key), value: heads(kept.value), shape: shape, segments: layout.segments,
      into: workspace.mixed(kept, rows: x.rows), keeping: kept.softmax, isExact: engine.precision == .f32,
      pool: engine.pool, scratch: workspace.attentionScratch)
    finish(addingTo: y, layout: layout, kept: kept, workspace: workspace, pass: pass)
  }

  /// Queries, keys and values of `x`, rotated.
  private func project(
    _ x: Matrix, layout: SequenceLayout, keeping kept: Activations, workspace: Workspace, pass: Pass
  ) {
    let engine = pass.engine
    let normed = workspace.normed.rows(0..<x.rows)
    norm.forward(x, into: normed, keeping: kept.inverseRMS, pool: engine.pool)
    let prepared = engine.prepare(normed, for: query.weight, rowsPerSequence: layout.rowLength)
    Linear.forward(
      prepared,
      through: [
        (query, kept.query, kept.queryKept), (key, kept.key, kept.keyKept), (value, kept.value, kept.valueKept),
      ], pass: pass)
    workspace.rotary.apply(to: heads(kept.query), positions: layout.positions, pool: engine.pool)
    workspace.rotary.apply(to: heads(kept.key), positions: layout.positions, pool: engine.pool)
  }

  /// `y += o_proj(mixed)`
  private func finish(
    addingTo y: Matrix, layout: SequenceLayout, kept: Activations, workspace: Workspace, pass: Pass
  ) {
    let mixed = pass.engine.prepare(
      workspace.mixed(kept, rows: y.rows), for: output.weight, rowsPerSequence: layout.rowLength)
    output.forward(mixed, into: y, accumulate: true, keeping: kept.outputKept, pass: pass)
  }

  /// On entry `dx` is the gradient of the block's output, on return that of its input.
  ///
  /// - Parameter reachesBelow: whether anything below this block is trained; if not, `dx` is left unfinished.
  func backward(
    _ dx: Matrix, x: Matrix, layout: SequenceLayout, kept: Activations, reachesBelow: Bool, workspace: Workspace,
    pass: Pass
  ) {
    let engine = pass.engine
    let tokens = 0..<x.rows
    // Perhaps the same memory: the adapter is done with one before the other is written.
    let (mixed, dMixed) = (workspace.mixed(kept, rows: x.rows), workspace.mixed.rows(tokens))
    output.backward(dx, x: mixed, kept: kept.outputKept, into: dMixed, pass: pass)

    let dQuery = workspace.queryGradient.rows(tokens)
    let dKey = workspace.keyGradient.rows(tokens)
    let dValue = workspace.valueGradient.rows(tokens)
    Attention.backward(
      dMixed, query: heads(kept.query), key: heads(kept.key), value: heads(kept.value), shape: shape,
      segments: layout.segments, kept: kept.softmax, dQuery: heads(dQuery), dKey: heads(dKey), dValue: heads(dValue),
      isExact: engine.precision == .f32, pool: engine.pool, scratch: workspace.attentionScratch)
    workspace.rotary.applyInverse(to: heads(dQuery), positions: layout.positions, pool: engine.pool)
    workspace.rotary.applyInverse(to: heads(dKey), positions: layout.positions, pool: engine.pool)

    let normed = workspace.normed.rows(tokens)
    if query.adapter != nil || key.adapter != nil || value.adapter != nil {
      norm.forward(x, into: normed, keeping: kept.inverseRMS, pool: engine.pool)
    }
    let dNormed = reachesBelow ? workspace.normedGradient.rows(tokens) : nil
    Linear.backward(
      through: [
        (query, dQuery, kept.queryKept), (key, dKey, kept.keyKept), (value, dValue, kept.valueKept),
      ], x: normed, into: dNormed, pass: pass)
    if let dNormed {
      norm.backward(dNormed, x: x, inverseRMS: kept.inverseRMS, addingTo: dx, pool: engine.pool)
    }
  }

  /// Generation: attends from the rows of `x` to the cache and themselves; their keys and values join the cache.
  ///
  /// - Parameters:
  ///   - x: input, `[tokens, hidden]`; the block's share is added to it
  ///   - layout: positions of the rows, continuing where the cache ends
  func extend(
    _ x: Matrix, layout: SequenceLayout, keeping kept: Activations, cache: KeyValueCache.Layer, workspace: Workspace,
    pass: Pass
  ) {
    let pool = pass.engine.pool
    if cache.length == 0 {
      forward(x, addingTo: x, layout: layout, keeping: kept, workspace: workspace, pass: pass)
      cache.append(key: kept.key, value: kept.value, pool: pool)
      return
    }
    project(x, layout: layout, keeping: kept, workspace: workspace, pass: pass)
    for row in 0..<x.rows {
      cache.append(key: kept.key.rows(row..<row + 1), value: kept.value.rows(row..<row + 1), pool: pool)
      Attention.decode(
        query: heads(kept.query.rows(row..<row + 1)), keys: cache.keys, values: cache.values, shape: shape,
        into: workspace.mixed(kept, rows: x.rows).row(row), pool: pool, scratch: workspace.attentionScratch)
    }
    finish(addingTo: x, layout: layout, kept: kept, workspace: workspace, pass: pass)
  }
}
