import Kernels

/// One decoder layer: attention, then feed-forward, each with its residual.
public struct DecoderLayer {
  var attention: AttentionBlock
  var feedForward: FeedForwardBlock

  subscript(module: LinearModule) -> Linear {
    get {
      switch module {
      case .query: attention.query
      case .key: attention.key
      case .value: attention.value
      case .output: attention.output
      case .gate: feedForward.gate
      case .up: feedForward.up
      case .down: feedForward.down
      }
    }
    set {
      switch module {
      case .query: attention.query = newValue
      case .key: attention.key = newValue
      case .value: attention.value = newValue
      case .output: attention.output = newValue
      case .gate: feedForward.gate = newValue
      case .up: feedForward.up = newValue
      case .down: feedForward.down = newValue
      }
    }
  }

  var hasAdapter: Bool { LinearModule.allCases.contains { self[$0].adapter != nil } }

  /// - Parameters:
  ///   - x: the residual stream, `[tokens, hidden]`: input on entry, output on return
  ///   - tokens: where the rows of `x` stand among those of all micro-batches that are worked on
  func forward(
    _ x: Matrix, tokens: Range<Int>, layout: SequenceLayout, keeping kept: Workspace.LayerActivations,
    workspace: Workspace, pass: Pass
  ) {
    let attended = kept.attention(tokens)
    attention.forward(x, addingTo: x, layout: layout, keeping: attended, workspace: workspace, pass: pass)
    if kept.keepsAttention { VectorOperations.copy(x, into: attended.output, pool: pass.engine.pool) }
    feedForward(x, tokens: tokens, layout: layout, keeping: kept, workspace: workspace, pass: pass)
  }

  private func feedForward(
    _ x: Matrix, tokens: Range<Int>, layout: SequenceLayout, keeping kept: Workspace.LayerActivations,
    workspace: Workspace, pass: Pass
  ) {
    for part in layout.parts(ofTokens: workspace.feedForwardTokens) {
      let rows = x.rows(part)
      feedForward.forward(
        rows, addingTo: rows, layout: layout, keeping: kept.feedForward(part.shifted(by: tokens.lowerBound)),
        workspace: workspace, pass: pass.advanced(by: part.lowerBound))
    }
  }

  /// The forward pass of generation, with a cache.
  func extend(
    _ x: Matrix, layout: SequenceLayout, keeping kept: Workspace.LayerActivations, cache: KeyValueCache.Layer,
    workspace: Workspace, pass: Pass
  ) {
    let tokens = 0..<x.rows
    attention.extend(
      x, layout: layout, keeping: kept.attention(tokens), cache: cache, workspace: workspace, pass: pass)
    feedForward(x, tokens: tokens, layout: layout, keeping: kept, workspace: workspace, pass: pass)
  }

  /// On entry `dx` is the gradient of the layer's output, on return that of its input.
  ///
  /// - Parameters:
  ///   - input: of the layer, `[tokens, hidden]`
  ///   - reachesBelow: whether a layer below has an adapter; if not, `dx` is left unfinished
  func backward(
    _ dx: Matrix, input: Matrix, tokens: Range<Int>, layout: SequenceLayout, kept: Workspace.LayerActivations,
    reachesBelow: Bool, workspace: Workspace, pass: Pass
  ) {
    let attended = kept.attention(tokens)
    if !kept.keepsAttention {
      VectorOperations.copy(input, into: attended.output, pool: pass.engine.pool)
      attention.forward(
        input, addingTo: attended.output, layout: layout, keeping: attended, workspace: workspace, pass: pass)
    }
    let attentionHasAdapter = [attention.query, attention.key, attention.value, attention.output].contains {
      $0.adapter != nil
    }
    for part in layout.parts(ofTokens: workspace.feedForwardTokens) {
      let activations = kept.feedForward(part.shifted(by: tokens.lowerBound))
      let x = attended.output.rows(part)
      let pass = pass.advanced(by: part.lowerBound)
      if !kept.keepsFeedForward {
        feedForward.recompute(x, layout: layout, keeping: activations, workspace: workspace, pass: pass)
      }
      feedForward.backward(
        dx.rows(part), x: x, kept: activations, reachesBelow: reachesBelow || attentionHasAdapter,
        workspace: workspace, pass: pass)
    }
    guard reachesBelow || attentionHasAdapter else { return }
    attention.backward(
      dx, x: input, layout: layout, kept: attended, reachesBelow: reachesBelow, workspace: workspace, pass: pass)
  }
}

extension Range<Int> {
  func shifted(by offset: Int) -> Range<Int> { lowerBound + offset..<upperBound + offset }
}
