import Kernels

/// Gated feed-forward with its norm and residual: `y = x + down_proj(silu(gate_proj(n)) * up_proj(n))`, `n = norm(x)`.
///
/// Source: Shazeer 2020, arXiv 2002.05202 (SwiGLU).
struct FeedForwardBlock {
  let norm: RMSNorm
  var gate: Linear
  var up: Linear
  var down: Linear

  /// What `forward` keeps for `backward`.
  struct Activations {
    let gate: KeptMatrix  // [tokens, intermediate]; empty outside training
    let up: KeptMatrix  // [tokens, intermediate]; empty outside training
    let inverseRMS: Vector  // [tokens]
    let gateKept: Matrix
    let upKept: Matrix
    let downKept: Matrix

    func rows(_ range: Range<Int>) -> Self {
      Self(
        gate: gate.rows == 0 ? gate : gate.rows(range), up: up.rows == 0 ? up : up.rows(range),
        inverseRMS: inverseRMS.part(range),
        gateKept: gateKept.rows(range), upKept: upKept.rows(range), downKept: downKept.rows(range))
    }

    /// The same memory for a layer whose adapters keep fewer columns.
    func narrowed(to columns: (LinearModule) -> Int) -> Self {
      Self(
        gate: gate, up: up, inverseRMS: inverseRMS, gateKept: gateKept.narrowed(to: columns(.gate)),
        upKept: upKept.narrowed(to: columns(.up)), downKept: downKept.narrowed(to: columns(.down)))
    }
  }

  /// - Parameters:
  ///   - x: input, `[tokens, hidden]`
  ///   - y: the block's share is added to it, `[tokens, hidden]`; may be `x`
  func forward(
    _ x: Matrix, addingTo y: Matrix, layout: SequenceLayout, keeping kept: Activations, workspace: Workspace, pass: Pass
  ) {
    let engine = pass.engine
    let (gated, upward) = activate(x, layout: layout, keeping: kept, workspace: workspace, pass: pass)
    let hidden = gated
    Activation.silu.gate(gated, up: upward, into: hidden, pool: engine.pool)
    let mixed = engine.prepare(hidden, for: down.weight, rowsPerSequence: layout.rowLength)
    down.forward(mixed, into: y, accumulate: true, keeping: kept.downKept, pass: pass)
  }

  /// What `backward` needs of a layer that kept nothing.
  func recompute(_ x: Matrix, layout: SequenceLayout, keeping kept: Activations, workspace: Workspace, pass: Pass) {
    let (gated, upward) = activate(x, layout: layout, keeping: kept, workspace: workspace, pass: pass)
    guard let adapter = down.adapter else { return }
    let hidden = gated
    Activation.silu.gate(gated, up: upward, into: hidden, pool: pass.engine.pool)
    adapter.recompute(hidden, keeping: kept.downKept, pass: pass)
  }

  /// - Returns: the products of gate and up, `[tokens, intermediate]`
  private func activate(
    _ x: Matrix, layout: SequenceLayout, keeping kept: Activations, workspace: Workspace, pass: Pass
  ) -> (gate: Matrix, up: Matrix) {
    let engine = pass.engine
    let normed = workspace.normed.rows(0..<x.rows)
    let (gated, upward) = workspace.intermediates(rows: x.rows)
    norm.forward(x, into: normed, keeping: kept.inverseRMS, pool: engine.pool)
    let prepared = engine.prepare(normed, for: gate.weight, rowsPerSequence: layout.rowLength)
    Linear.forward(
      prepared, through: [(gate, gated, kept.gateKept), (up, upward, kept.upKept)], pass: pass)
    if kept.gate.rows > 0 {
      kept.gate.store(gated, pool: engine.pool)
      kept.up.store(upward, pool: engine.pool)
    }
    return (gated, upward)
  }

  /// On entry `dx` is the gradient of the block's output, on return that of its input.
  func backward(
    _ dx: Matrix, x: Matrix, kept: Activations, reachesBelow: Bool, workspace: Workspace, pass: Pass
  ) {
    let engine = pass.engine
    let tokens = 0..<x.rows
    let (dHidden, hidden) = workspace.intermediates(rows: x.rows)
    if down.adapter != nil {
      Activation.silu.gate(kept.gate, up: kept.up, into: hidden, pool: engine.pool)
    }
    down.backward(dx, x: hidden, kept: kept.downKept, into: dHidden, pass: pass)
    let (dGate, dUp) = (dHidden, hidden)
    Activation.silu.gateBackward(dHidden, gate: kept.gate, up: kept.up, into: dUp, pool: engine.pool)

    let normed = workspace.normed.rows(tokens)
    if gate.adapter != nil || up.adapter != nil {
      norm.forward(x, into: normed, keeping: kept.inverseRMS, pool: engine.pool)
    }
    let dNormed = reachesBelow ? workspace.normedGradient.rows(tokens) : nil
    Linear.backward(
      through: [(gate, dGate, kept.gateKept), (up, dUp, kept.upKept)], x: normed, into: dNormed, pass: pass)
    if let dNormed {
      norm.backward(dNormed, x: x, inverseRMS: kept.inverseRMS, addingTo: dx, pool: engine.pool)
    }
  }
}
