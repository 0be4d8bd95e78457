import Kernels

/// One layer: attention and feed-forward, each with its residual, one after the other or side by side.
public struct TransformerLayer {
  let attention: AttentionBlock
  let feedForward: FeedForwardBlock
  /// Whether both blocks see the layer's input.
  let isParallel: Bool

  /// Every linear layer in the order of computation.
  public var linears: [Linear] { attention.linears + feedForward.linears }

  var hasAdapter: Bool { attention.hasAdapter || feedForward.hasAdapter }

  /// What each block costs for a token.
  public func cost(rowLength: Int) -> (attention: BlockCost, feedForward: BlockCost) {
    (attention.cost(rowLength: rowLength), feedForward.cost())
  }

  /// What a layer keeps, and what it shares with the others.
  struct Memory {
    let attention: AttentionBlock.Activations
    /// Whether `attention` is valid after the forward pass, or memory that the layers share.
    let keepsAttention: Bool
    let attentionWorking: AttentionBlock.Working
    let feedForward: FeedForwardBlock.Activations
    let keepsFeedForward: Bool
    let feedForwardWorking: FeedForwardBlock.Working
    let sum: Matrix  // [tokens, hidden]: the outputs of parallel blocks, or the gradient that both get; else empty

    /// Attention's memory for the tokens of one micro-batch: its own where it is kept, else the shared beginning.
    func attention(_ range: Range<Int>) -> AttentionBlock.Activations {
      attention.rows(keepsAttention ? range : 0..<range.count)
    }

    /// The same for the feed-forward block and a part of a micro-batch.
    func feedForward(_ range: Range<Int>) -> FeedForwardBlock.Activations {
      feedForward.rows(keepsFeedForward ? range : 0..<range.count)
    }
  }

  /// A micro-batch on its way through the layer.
  struct Context {
    /// Where its rows stand among those of all micro-batches that are worked on.
    let tokens: Range<Int>
    let layout: SequenceLayout
    let memory: Memory
    let workspace: Workspace
    let pass: Pass

    var attention: BlockContext<AttentionBlock.Working> {
      BlockContext(layout: layout, working: memory.attentionWorking, workspace: workspace, pass: pass)
    }

    /// - Parameter part: tokens of the micro-batch
    func feedForward(_ part: Range<Int>) -> BlockContext<FeedForwardBlock.Working> {
      BlockContext(
        layout: layout, working: memory.feedForwardWorking, workspace: workspace,
        pass: pass.advanced(by: part.lowerBound))
    }

    /// Parts of the micro-batch that feed-forward computes one after the other, and the memory of each.
    var parts: [(tokens: Range<Int>, kept: FeedForwardBlock.Activations)] {
      layout.parts(ofTokens: workspace.feedForwardTokens).map {
        ($0, memory.feedForward($0.shifted(by: tokens.lowerBound)))
      }
    }
  }

  /// - Parameter x: the residual stream, `[tokens, hidden]`: input on entry, output on return
  func forward(_ x: Matrix, in context: Context) {
    let attended = context.memory.attention(context.tokens)
    if isParallel {
      sideBySide(x, in: context) { attention.forward(x, into: $0, keeping: attended, in: context.attention) }
      return
    }
    attention.forward(x, into: x, keeping: attended, in: context.attention)
    if context.memory.keepsAttention { VectorOperations.copy(x, into: attended.output, pool: context.pass.engine.pool) }
    feedForward(x, into: x, in: context)
  }

  /// Both blocks of the same input; `attend` adds attention's share to the sum.
  private func sideBySide(_ x: Matrix, in context: Context, attend: (Matrix) -> Void) {
    let sum = context.memory.sum.rows(0..<x.rows)
    VectorOperations.copy(x, into: sum, pool: context.pass.engine.pool)
    attend(sum)
    feedForward(x, into: sum, in: context)
    VectorOperations.copy(sum, into: x, pool: context.pass.engine.pool)
  }

  private func feedForward(_ x: Matrix, into y: Matrix, in context: Context) {
    for (part, kept) in context.parts {
      feedForward.forward(x.rows(part), into: y.rows(part), keeping: kept, in: context.feedForward(part))
    }
  }

  /// The forward pass of generation, with a cache.
  func extend(_ x: Matrix, cache: KeyValueCache.Layer, in context: Context) {
    let attended = context.memory.attention(context.tokens)
    extend(x, in: context) { y in
      attention.extend(x, into: y, keeping: attended, cache: cache, in: context.attention)
    }
  }

  /// The same for a token each of several texts, whose caches stand in the order of the rows.
  func extend(_ x: Matrix, caches: [KeyValueCache.Layer], in context: Context) {
    let attended = context.memory.attention(context.tokens)
    extend(x, in: context) { y in
      attention.extend(x, into: y, keeping: attended, caches: caches, in: context.attention)
    }
  }

  private func extend(_ x: Matrix, in context: Context, attending: (Matrix) -> Void) {
    if isParallel {
      sideBySide(x, in: context, attend: attending)
      return
    }
    attending(x)
    feedForward(x, into: x, in: context)
  }

  /// On entry `dx` is the gradient of the layer's output, on return that of its input.
  ///
  /// - Parameters:
  ///   - input: of the layer, `[tokens, hidden]`
  ///   - reachesBelow: whether something below the layer is trained; if not, `dx` is left unfinished
  func backward(_ dx: Matrix, input: Matrix, reachesBelow: Bool, in context: Context) {
    let pool = context.pass.engine.pool
    let attended = context.memory.attention(context.tokens)
    if !context.memory.keepsAttention {
      let output = isParallel ? context.memory.sum.rows(0..<input.rows) : attended.output
      VectorOperations.copy(input, into: output, pool: pool)
      attention.forward(input, into: output, keeping: attended, in: context.attention)
    }
    let attentionIsPassed = reachesBelow || attention.hasAdapter
    // Where both blocks see the same input, both get the gradient as it comes.
    let dy = isParallel ? context.memory.sum.rows(0..<input.rows) : dx
    if isParallel { VectorOperations.copy(dx, into: dy, pool: pool) }
    let feedForwardInput = isParallel ? input : attended.output
    for (part, kept) in context.parts {
      let x = feedForwardInput.rows(part)
      let partContext = context.feedForward(part)
      if !context.memory.keepsFeedForward { feedForward.recompute(x, keeping: kept, in: partContext) }
      feedForward.backward(
        dy.rows(part), addingTo: dx.rows(part), x: x, kept: kept,
        reachesBelow: isParallel ? reachesBelow : attentionIsPassed, in: partContext)
    }
    guard attentionIsPassed else { return }
    attention.backward(
      dy, addingTo: dx, x: input, kept: attended, reachesBelow: reachesBelow, in: context.attention)
  }
}

extension Range<Int> {
  func shifted(by offset: Int) -> Range<Int> { lowerBound + offset..<upperBound + offset }
}
