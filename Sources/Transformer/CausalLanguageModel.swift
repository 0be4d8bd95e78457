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
  let embedding: StoredMatrix  // [vocabulary, hidden]
  let head: LanguageModelHead
  let attentionShape: AttentionShape
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

  /// What an engine needs for micro-batches of `tokens` tokens.
  public func demands(tokens: Int, headRows: Int, gradients: Bool) -> ComputeEngine.Demands {
    ComputeEngine.Demands(
      rows: tokens, weights: linearLocations.map(weight(at:)), gradients: gradients, headRows: headRows,
      head: head.weight)
  }

  /// Sum of the cross-entropies of all tokens that have a label.
  ///
  /// - Parameters:
  ///   - tokens: `[tokens]`; ids below the vocabulary size
  ///   - labels: the id that should follow each token, or `LanguageModelHead.ignoredLabel`
  public func loss(
    tokens: [Int32], labels: [Int32], layout: SequenceLayout, workspace: Workspace, pass: Pass
  ) -> Double {
    let final = forward(tokens: tokens, layout: layout, workspace: workspace, pass: pass)
    return head.loss(
      final, labels: labels, gradientScale: 0, gradientInto: nil, rowsPerSequence: layout.rowLength,
      buffers: workspace.head, pass: pass)
  }

  /// The same sum, adding `gradientScale` times its gradient to the gradients of the adapters.
  public func lossAndGradient(
    tokens: [Int32], labels: [Int32], gradientScale: Float, layout: SequenceLayout, workspace: Workspace, pass: Pass
  ) -> Double {
    let final = forward(tokens: tokens, layout: layout, workspace: workspace, pass: pass)
    let dx = workspace.gradient.rows(0..<tokens.count)
    let loss = head.loss(
      final, labels: labels, gradientScale: gradientScale, gradientInto: dx, rowsPerSequence: layout.rowLength,
      buffers: workspace.head, pass: pass)
    let lowest = layers.firstIndex { $0.hasAdapter } ?? layers.count
    for index in layers.indices.reversed() where index >= lowest {
      layers[index].backward(
        dx, layout: layout, kept: workspace.layers[index].tokens(tokens.count), reachesBelow: index > lowest,
        workspace: workspace, pass: pass)
    }
    return loss
  }

  /// Logits after every token, `[tokens, vocabulary]`, handed over in chunks of rows.
  public func logits(
    tokens: [Int32], layout: SequenceLayout, workspace: Workspace, pass: Pass,
    _ body: (_ rows: Range<Int>, _ logits: Matrix) throws -> Void
  ) rethrows {
    let final = forward(tokens: tokens, layout: layout, workspace: workspace, pass: pass)
    for sequence in stride(from: 0, to: tokens.count, by: layout.rowLength) {
      let end = min(sequence + layout.rowLength, tokens.count)
      for start in stride(from: sequence, to: end, by: workspace.head.logits.rows) {
        let rows = start..<min(start + workspace.head.logits.rows, end)
        let logits = workspace.head.logits.rows(0..<rows.count)
        head.logits(of: final.rows(rows), into: logits, buffers: workspace.head, pass: pass)
        try body(rows, logits)
      }
    }
  }

  /// Reads `tokens` after what `cache` holds and returns the logits after the last of them, `[vocabulary]`.
  public func extend(_ cache: KeyValueCache, with tokens: [Int32], workspace: Workspace, pass: Pass) -> Vector {
    precondition(!tokens.isEmpty && tokens.count <= workspace.tokenCapacity, "as many tokens as the workspace holds")
    precondition(cache.length + tokens.count <= cache.capacity, "the cache has room for the tokens")
    let layout = SequenceLayout(continuingAt: cache.length, count: tokens.count)
    embed(tokens, into: workspace.layers[0].input, pool: pass.engine.pool)
    for (index, layer) in layers.enumerated() {
      let kept = workspace.layers[index].tokens(tokens.count)
      layer.attention.extend(
        kept.input, into: kept.middle, layout: layout, keeping: kept.attention, cache: cache.layers[index],
        workspace: workspace, pass: pass)
      layer.feedForward.forward(
        kept.middle, into: output(of: index, count: tokens.count, workspace), layout: layout,
        keeping: kept.feedForward, workspace: workspace, pass: pass)
    }
    let last = workspace.final.rows(tokens.count - 1..<tokens.count)
    let logits = workspace.head.logits.rows(0..<1)
    head.logits(of: last, into: logits, buffers: workspace.head, pass: pass)
    return logits.row(0)
  }

  private func forward(tokens: [Int32], layout: SequenceLayout, workspace: Workspace, pass: Pass) -> Matrix {
    precondition(tokens.count == layout.tokenCount && tokens.count <= workspace.tokenCapacity, "one layout, one batch")
    embed(tokens, into: workspace.layers[0].input, pool: pass.engine.pool)
    for (index, layer) in layers.enumerated() {
      layer.forward(
        into: output(of: index, count: tokens.count, workspace), layout: layout,
        keeping: workspace.layers[index].tokens(tokens.count), workspace: workspace, pass: pass)
    }
    return workspace.final.rows(0..<tokens.count)
  }

  /// Where layer `index` writes: the input of the next one.
  private func output(of index: Int, count: Int, _ workspace: Workspace) -> Matrix {
    (index + 1 < layers.count ? workspace.layers[index + 1].input : workspace.final).rows(0..<count)
  }

  /// `x[t] = embedding[tokens[t]]`: touches only the pages of the rows that occur.
  private func embed(_ tokens: [Int32], into x: Matrix, pool: ThreadPool) {
    let tile = 64
    pool.run((tokens.count + tile - 1) / tile) { task, _ in
      for token in task * tile..<min((task + 1) * tile, tokens.count) {
        embedding.decodeRow(Int(tokens[token]), into: x.row(token))
      }
    }
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
