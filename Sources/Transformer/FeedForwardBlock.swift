import Kernels

/// Gated feed-forward with its norm and residual: `y = x + down_proj(silu(gate_proj(n)) * up_proj(n))`, `n = norm(x)`.
///
/// Source: Shazeer 2020, arXiv 2002.05202 (SwiGLU).
struct FeedForwardBlock {
  let norm: RMSNorm
  var gate: Linear
  var up: Linear
  var down: Linear

  /// What `forward` keeps for `backward`, which spends it: `gate` and `up` are overwritten with their gradients.
  struct Activations {
    let gate: Matrix  // [tokens, intermediate]
    let up: Matrix  // [tokens, intermediate]
    let inverseRMS: Vector  // [tokens]
    let gateKept: Matrix
    let upKept: Matrix
    let downKept: Matrix
  }

  /// - Parameters:
  ///   - x: input, `[tokens, hidden]`
  ///   - y: output, `[tokens, hidden]`; not `x`; `nil` when only the activations are wanted again
  func forward(
    _ x: Matrix, into y: Matrix?, layout: SequenceLayout, keeping kept: Activations, workspace: Workspace, pass: Pass
  ) {
    let engine = pass.engine
    let normed = workspace.normed.rows(0..<x.rows)
    norm.forward(x, into: normed, keeping: kept.inverseRMS, pool: engine.pool)
    let prepared = engine.prepare(normed, for: gate.weight, rowsPerSequence: layout.rowLength)
    gate.forward(prepared, into: kept.gate, keeping: kept.gateKept, pass: pass)
    up.forward(prepared, into: kept.up, keeping: kept.upKept, pass: pass)
    guard let y else { return }
    let hidden = workspace.intermediate.rows(0..<x.rows)
    VectorOperations.siluGate(gate: kept.gate, up: kept.up, into: hidden, pool: engine.pool)
    VectorOperations.copy(x, into: y, pool: engine.pool)
    let mixed = engine.prepare(hidden, for: down.weight, rowsPerSequence: layout.rowLength)
    down.forward(mixed, into: y, accumulate: true, keeping: kept.downKept, pass: pass)
  }

  /// On entry `dx` is the gradient of the block's output, on return that of its input.
  ///
  /// - Parameter recomputed: the activations come from a `forward` without output, so `downKept` is still to be made
  func backward(
    _ dx: Matrix, x: Matrix, kept: Activations, recomputed: Bool, reachesBelow: Bool,
    workspace: Workspace, pass: Pass
  ) {
    let engine = pass.engine
    let tokens = 0..<x.rows
    let hidden = workspace.intermediate.rows(tokens)
    if let adapter = down.adapter {
      VectorOperations.siluGate(gate: kept.gate, up: kept.up, into: hidden, pool: engine.pool)
      if recomputed { adapter.recompute(hidden, keeping: kept.downKept, pass: pass) }
    }
    let dHidden = workspace.intermediateGradient.rows(tokens)
    down.backward(dx, x: hidden, kept: kept.downKept, into: dHidden, accumulate: false, pass: pass)
    VectorOperations.siluGateBackward(dHidden, gate: kept.gate, up: kept.up, pool: engine.pool)

    let normed = workspace.normed.rows(tokens)
    if gate.adapter != nil || up.adapter != nil {
      norm.forward(x, into: normed, keeping: kept.inverseRMS, pool: engine.pool)
    }
    let dNormed = reachesBelow ? workspace.normedGradient.rows(tokens) : nil
    gate.backward(kept.gate, x: normed, kept: kept.gateKept, into: dNormed, accumulate: false, pass: pass)
    up.backward(kept.up, x: normed, kept: kept.upKept, into: dNormed, accumulate: true, pass: pass)
    if let dNormed {
      norm.backward(dNormed, x: x, inverseRMS: kept.inverseRMS, addingTo: dx, pool: engine.pool)
    }
  }
}
