import Kernels
import Memory
import WeightStore

/// A decoder-only language model of the Llama family on a frozen store, with room for an adapter at every linear layer.
///
/// Source: Touvron et al. 2023, arXiv 2302.13971; Qwen2 adds biases to the query, key and value products.
public final class CausalLanguageModel {
  public let configuration: ModelConfiguration
  public let store: WeightStore
  public private(set) var layers: [DecoderLayer]
  let layerPages: [LayerPages]
  let embedding: StoredMatrix  // [vocabulary, hidden]
  let head: LanguageModelHead
  public let attentionShape: AttentionShape
  /// Norm weights and biases, copied from the store because they are few and must be fp32.
  private let parameters: Arena

  /// Binds the store's tensors to layers; shapes are checked against the configuration.
  ///
  /// - Throws: what is missing or has the wrong shape.
  public init(store: WeightStore) throws {
    let configuration = store.configuration
    self.store = store
    self.configuration = configuration
    let hidden = configuration.hiddenSize
    let arena = try Arena(reservedByteCount: 1 << 30)
    parameters = arena
    var pending: [(Vector, [Float])] = []

    func vector(_ name: String, count: Int) throws -> Vector {
      let values = try store.vector(name, count: count)
      let view = arena.vector(name, kind: .weights, count: count)
      pending.append((view, values))
      return view
    }
    func norm(_ name: String) throws -> RMSNorm {
      RMSNorm(weight: try vector("\(name).weight", count: hidden), epsilon: configuration.rmsNormEpsilon)
    }
    func linear(_ layer: Int, _ module: LinearModule) throws -> Linear {
      let name = LinearLocation(layer: layer, module: module).name
      let shape = configuration.shape(of: module)
      let hasBias =
        switch module {
        case .query, .key, .value: configuration.attentionBias
        default: false
        }
      return Linear(
        weight: try store.matrix(name, rows: shape.out, columns: shape.in),
        bias: hasBias ? try vector("\(name).bias", count: shape.out) : nil)
    }

    attentionShape = AttentionShape(
      headCount: configuration.headCount, keyValueHeadCount: configuration.keyValueHeadCount,
      headSize: configuration.headSize)
    embedding = try store.matrix("model.embed_tokens", rows: configuration.vocabularySize, columns: hidden)
    var layers: [DecoderLayer] = []
    for index in 0..<configuration.layerCount {
      layers.append(
        DecoderLayer(
          attention: AttentionBlock(
            norm: try norm("model.layers.\(index).input_layernorm"), query: try linear(index, .query),
            key: try linear(index, .key), value: try linear(index, .value), output: try linear(index, .output),
            shape: attentionShape),
          feedForward: FeedForwardBlock(
            norm: try norm("model.layers.\(index).post_attention_layernorm"), gate: try linear(index, .gate),
            up: try linear(index, .up), down: try linear(index, .down))))
    }
    self.layers = layers
    layerPages = layers.map(LayerPages.init)
    head = LanguageModelHead(
      norm: try norm("model.norm"),
      weight: configuration.tiedEmbeddings
        ? embedding : try store.matrix("lm_head", rows: configuration.vocabularySize, columns: hidden))
    try arena.commit()
    for (view, values) in pending { view.assign(values) }
  }

  /// Every linear layer that an adapter could wrap, in the order of computation.
  public var linearLocations: [LinearLocation] {
    layers.indices.flatMap { layer in LinearModule.allCases.map { LinearLocation(layer: layer, module: $0) } }
  }

  /// The frozen weight at `location`.
  public func weight(at location: LinearLocation) -> StoredMatrix { layers[location.layer][location.module].weight }

  /// Wraps the linear layer at `location`; `nil` unwraps it.
  public func setAdapter(_ adapter: (any LinearAdapter)?, at location: LinearLocation) {
    layers[location.layer][location.module].adapter = adapter
  }

  /// What an engine needs room for.
  ///
  /// - Parameters:
  ///   - tokens: of a micro-batch
  ///   - feedForwardTokens: that a feed-forward block computes together
  ///   - headRows: tokens of a chunk of the vocabulary head
  public func demands(
    tokens: Int, feedForwardTokens: Int = .max, headRows: Int, gradients: Bool
  ) -> [ComputeEngine.Demand] {
    linearLocations.map { location in
      let weight = weight(at: location)
      let isAttention = [.query, .key, .value, .output].contains(location.module)
      return ComputeEngine.Demand(
        weight: weight, rows: isAttention ? tokens : min(feedForwardTokens, tokens), weightRows: weight.rows,
        hasGradient: gradients)
    } + [
      ComputeEngine.Demand(
        // the rows of its gradient are the head's own
        weight: head.weight, rows: headRows, weightRows: 0, hasGradient: gradients)
    ]
  }

  /// Sum of the cross-entropies of all tokens that have a label.
  ///
  /// - Parameter batches: micro-batches of up to the workspace's capacity; all go through a layer before the next one
  public func loss(_ batches: [MicroBatch], workspace: Workspace, pass: Pass) throws -> Double {
    try forward(batches, workspace: workspace, pass: pass, savesInputs: false)
    return head.loss(
      residual(of: batches, workspace), batches.map(\.headLabels), workspace: workspace, pass: pass)
  }

  /// The same sum, adding `gradientScale` times its gradient to the gradients of the adapters.
  ///
  /// - Parameters:
  ///   - pass: knows where the tokens stand in the step
  ///   - firstLabel: labels of the step before those of `batches`
  /// - Throws: `SpillError` where layer inputs are kept in a file
  public func lossAndGradient(
    _ batches: [MicroBatch], gradientScale: Float, firstLabel: Int = 0, workspace: Workspace, pass: Pass
  ) throws -> Double {
    guard let inputs = workspace.inputs else { preconditionFailure("a workspace for training") }
    try forward(batches, workspace: workspace, pass: pass, savesInputs: true)
    let loss = pass.engine.pool.meter.counting(as: .head) {
      head.lossAndGradient(
        residual(of: batches, workspace), batches.map(\.headLabels), gradientScale: gradientScale,
        firstLabel: firstLabel, workspace: workspace, pass: pass)
    }
    let lowest = layers.firstIndex { $0.hasAdapter } ?? layers.count
    for index in layers.indices.reversed() where index >= lowest {
      workspace.residency.enter(index, next: index - 1)
      for (batch, dx, tokens, pass) in places(of: batches, workspace, pass) {
        layers[index].backward(
          dx, input: try inputs.load(layer: index, tokens, pool: pass.engine.pool), tokens: tokens,
          layout: batch.layout, kept: workspace.layers[index], reachesBelow: index > lowest, workspace: workspace,
          pass: pass)
      }
      workspace.residency.leave(index)
    }
    return loss
  }

  /// Logits after every token, `[tokens, vocabulary]`, handed over in chunks of rows.
  public func logits(
    _ batch: MicroBatch, workspace: Workspace, pass: Pass, _ body: (_ rows: Range<Int>, _ logits: Matrix) throws -> Void
  ) throws {
    try forward([batch], workspace: workspace, pass: pass, savesInputs: false)
    let final = workspace.residual.rows(0..<batch.tokens.count)
    for sequence in stride(from: 0, to: final.rows, by: batch.layout.rowLength) {
      let end = min(sequence + batch.layout.rowLength, final.rows)
      for start in stride(from: sequence, to: end, by: workspace.head.logits.rows) {
        let rows = start..<min(start + workspace.head.logits.rows, end)
        try body(rows, head.logits(of: final.rows(rows), workspace: workspace, pass: pass))
      }
    }
  }

  /// Reads `tokens` after what `cache` holds and returns the logits after the last of them, `[vocabulary]`.
  public func extend(_ cache: KeyValueCache, with tokens: [Int32], workspace: Workspace, pass: Pass) -> Vector {
    precondition(!tokens.isEmpty && tokens.count <= workspace.tokenCapacity, "as many tokens as the workspace holds")
    precondition(cache.length + tokens.count <= cache.capacity, "the cache has room for the tokens")
    let layout = SequenceLayout(continuingAt: cache.length, count: tokens.count)
    let x = workspace.residual.rows(0..<tokens.count)
    embed(tokens, into: x, workspace: workspace, pool: pass.engine.pool)
    for (index, layer) in layers.enumerated() {
      layer.extend(
        x, layout: layout, keeping: workspace.layers[index], cache: cache.layers[index], workspace: workspace,
        pass: pass)
    }
    return head.logits(of: x.rows(tokens.count - 1..<tokens.count), workspace: workspace, pass: pass).row(0)
  }

  /// Runs all layers; the residual stream holds the output of the last one afterwards.
  private func forward(_ batches: [MicroBatch], workspace: Workspace, pass: Pass, savesInputs: Bool) throws {
    for (batch, x, _, _) in places(of: batches, workspace, pass) {
      precondition(batch.tokens.count <= workspace.tokenCapacity, "a micro-batch fits the workspace")
      embed(batch.tokens, into: x, workspace: workspace, pool: pass.engine.pool)
    }
    for (index, layer) in layers.enumerated() {
      workspace.residency.enter(index, next: index + 1)
      for (batch, x, tokens, pass) in places(of: batches, workspace, pass) {
        if savesInputs {
          try workspace.inputs?.save(x, layer: index, first: tokens.lowerBound, pool: pass.engine.pool)
        }
        layer.forward(
          x, tokens: tokens, layout: batch.layout, keeping: workspace.layers[index], workspace: workspace, pass: pass)
      }
      workspace.residency.leave(index)
    }
  }

  /// Where each micro-batch stands in the residual stream.
  private func places(
    of batches: [MicroBatch], _ workspace: Workspace, _ pass: Pass
  ) -> [(batch: MicroBatch, x: Matrix, tokens: Range<Int>, pass: Pass)] {
    var start = 0
    return batches.map { batch in
      defer { start += batch.tokens.count }
      let tokens = start..<start + batch.tokens.count
      var pass = pass.advanced(by: start)
      pass.rowLength = batch.layout.rowLength
      return (batch, workspace.residual.rows(tokens), tokens, pass)
    }
  }

  /// The residual stream of all tokens of `batches`.
  private func residual(of batches: [MicroBatch], _ workspace: Workspace) -> Matrix {
    workspace.residual.rows(0..<batches.reduce(0) { $0 + $1.tokens.count })
  }

  /// `x[t] = embedding[tokens[t]]`: touches only the pages of the rows that occur.
  private func embed(_ tokens: [Int32], into x: Matrix, workspace: Workspace, pool: ThreadPool) {
    workspace.residency.enterEmbedding(tokens)
    for start in stride(from: 0, to: tokens.count, by: WeightResidency.embeddingTile) {
      for token in start..<min(start + WeightResidency.embeddingTile, tokens.count) {
        embedding.decodeRow(Int(tokens[token]), into: x.row(token))
      }
      workspace.residency.leaveEmbedding()
    }
  }
}

/// Tokens that go through a layer together.
public struct MicroBatch: Sendable {
  /// Ids below the vocabulary size, `[tokens]`.
  public let tokens: [Int32]
  /// The id that should follow each token, or `LanguageModelHead.ignoredLabel`; `[tokens]`.
  public let labels: [Int32]
  public let layout: SequenceLayout

  public init(tokens: [Int32], labels: [Int32], layout: SequenceLayout) {
    precondition(tokens.count == layout.tokenCount && labels.count == tokens.count, "one label and place per token")
    self.tokens = tokens
    self.labels = labels
    self.layout = layout
  }

  var headLabels: LanguageModelHead.Labels {
    LanguageModelHead.Labels(labels: labels, rowsPerSequence: layout.rowLength)
  }
}

extension ModelConfiguration {
  /// Output and input features of a linear layer.
  public func shape(of module: LinearModule) -> (out: Int, in: Int) {
    let queries = headCount * headSize
    let keys = keyValueHeadCount * headSize
    return switch module {
    case .query: (queries, hiddenSize)
    case .key, .value: (keys, hiddenSize)
    case .output: (hiddenSize, queries)
    case .gate, .up: (intermediateSize, hiddenSize)
    case .down: (hiddenSize, intermediateSize)
    }
  }
}
