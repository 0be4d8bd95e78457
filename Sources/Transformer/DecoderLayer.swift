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
  ///   - kept: its `input` holds the layer's input
  ///   - y: output, `[tokens, hidden]`; not `kept.input`
  func forward(
    into y: Matrix, layout: SequenceLayout, keeping kept: Workspace.LayerActivations, workspace: Workspace, pass: Pass
  ) {
    attention.forward(
      kept.input, into: kept.middle, layout: layout, keeping: kept.attention, workspace: workspace, pass: pass)
    feedForward.forward(
      kept.middle, into: y, layout: layout, keeping: kept.feedForward, workspace: workspace, pass: pass)
  }

  /// On entry `dx` is the gradient of the layer's output, on return that of its input.
  ///
  /// - Parameter reachesBelow: whether a layer below has an adapter; if not, `dx` is left unfinished.
  func backward(
    _ dx: Matrix, layout: SequenceLayout, kept: Workspace.LayerActivations, reachesBelow: Bool, workspace: Workspace,
    pass: Pass
  ) {
    if !kept.keepsAll {
      attention.forward(
        kept.input, into: kept.middle, layout: layout, keeping: kept.attention, workspace: workspace, pass: pass)
      feedForward.forward(
        kept.middle, into: nil, layout: layout, keeping: kept.feedForward, workspace: workspace, pass: pass)
    }
    let attentionHasAdapter = [attention.query, attention.key, attention.value, attention.output].contains {
      $0.adapter != nil
    }
    feedForward.backward(
      dx, x: kept.middle, kept: kept.feedForward, recomputed: !kept.keepsAll,
      reachesBelow: reachesBelow || attentionHasAdapter, workspace: workspace, pass: pass)
    guard reachesBelow || attentionHasAdapter else { return }
    attention.backward(
      dx, x: kept.input, layout: layout, kept: kept.attention, reachesBelow: reachesBelow, workspace: workspace,
      pass: pass)
  }
}
