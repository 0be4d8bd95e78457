import Architectures
import Kernels
import Memory
import WeightStore

/// A language model on a frozen store, made from its description, with room for an adapter at every linear layer.
public final class LanguageModel {
  public let description: ModelDescription
  public let store: WeightStore
  public let layers: [TransformerLayer]
  /// Every linear layer that an adapter could wrap, in the order of computation.
  public let linears: [Linear]
  /// Keys and values that a method has put in front of every attention: the positions of text begin behind them.
  private(set) var prefixCount = 0
  let layerPages: [LayerPages]
  let embedding: Embedding
  /// Every norm that has weights, with its path and what its files leave out of the weights.
  private let norms: [(path: String, norm: Norm, offset: Float)]
  let head: ModelHead
  /// Norm weights and biases, copied from the store because they are few and must be fp32.
  private let parameters: Arena

  /// Binds the store's tensors to layers; shapes are checked against the description.
  ///
  /// - Throws: what is missing or has the wrong shape.
  public init(store: WeightStore) throws {
    let description = store.description
    self.store = store
    self.description = description
    let assembly = try ModelAssembly(store: store)
    embedding = try assembly.embedding(description.embedding)
    layers = try description.layers.map(assembly.layer)
    head = try assembly.head(description.head, embedding: embedding)
    linears = assembly.linears
    norms = assembly.norms
    layerPages = layers.map(LayerPages.init)
    parameters = try assembly.finish()
  }

  /// The head of a model that says something of texts or tokens.
  public var labelHead: LabelHead? { if case .labels(let head) = head { head } else { nil } }

  /// Where every linear layer stands.
  public var linearLocations: [LinearLocation] { linears.map(\.location) }

  /// The frozen weight at `location`.
  public func weight(at location: LinearLocation) -> StoredMatrix { linears[location.index].weight }

  /// Wraps the linear layer at `location`; `nil` unwraps it.
  public func setAdapter(_ adapter: (any LinearAdapter)?, at location: LinearLocation) {
    linears[location.index].adapter = adapter
  }

  /// The model's own bias of the linear layer at `location`, `[out]`, if it has one.
  public func bias(at location: LinearLocation) -> Vector? { linears[location.index].frozenBias }

  /// Puts a bias in place of the model's at `location`.
  public func setBias(_ bias: TrainedBias, at location: LinearLocation) { linears[location.index].trainedBias = bias }

  /// The model's own biases of norms, by the names that its files have for them, in the order of computation.
  public var normBiases: [(name: String, values: Vector)] {
    norms.compactMap { path, norm, _ in norm.frozenBias.map { ("\(path).bias", $0) } }
  }

  /// Puts a bias in place of the model's, by that name.
  public func setNormBias(_ bias: TrainedBias, named name: String) {
    for (path, norm, _) in norms where "\(path).bias" == name { norm.hooks.bias = bias }
  }

  /// The model's own norms that have weights, in the order of computation: the path that Hugging Face gives them, their
  /// weights `[size]`, and what the files leave out of those.
  public var normWeights: [(path: String, values: Vector, offset: Float)] {
    norms.map { ($0.path, $0.norm.frozenWeight, $0.offset) }
  }

  /// Puts weights in place of the model's, by that path.
  public func setNormWeight(_ weight: TrainedNormWeight, at path: String) {
    for (own, norm, _) in norms where own == path { norm.hooks.weight = weight }
  }

  /// The last layers of all feed-forward blocks: those whose inputs an adapter may scale.
  public var lastFeedForwardLocations: Set<LinearLocation> { Set(layers.map { $0.feedForward.down.location }) }

  /// The last layers of all attention blocks, whose inputs an adapter may scale if it keeps them.
  public var lastAttentionLocations: Set<LinearLocation> { Set(layers.map { $0.attention.output.location }) }

  /// Takes away whatever a method has hooked in.
  public func removeHooks() {
    for linear in linears { (linear.adapter, linear.trainedBias) = (nil, nil) }
    for (_, norm, _) in norms { (norm.hooks.bias, norm.hooks.weight) = (nil, nil) }
    for layer in layers { layer.attention.hooks.prefix = nil }
    for layer in layers {
      layer.attention.residual.hooks.removeAll()
      layer.feedForward.residual.hooks.removeAll()
    }
    prefixCount = 0
    (embedding.hooks.prompt, embedding.hooks.tokens, embedding.hooks.table) = (nil, nil, nil)
    setVocabularyHead(nil)
    for layer in labelHead?.layers ?? [] { layer.use(nil) }
  }

  /// The last linear layers of every layer's blocks, which stand for the blocks.
  public var blocksForAdapters: [(attention: LinearLocation, feedForward: LinearLocation)] {
    layers.map { ($0.attention.output.location, $0.feedForward.down.location) }
  }

  /// Hooks an adapter in at the block that ends with the linear layer at `location`: beside the block or behind it, as what
  /// it reads says, where it takes the place of one that was there.
  public func setBlockAdapter(_ adapter: any BlockAdapter, at location: LinearLocation) {
    // AdapterHub looks norms in front of the sum up when its loop over the layers has ended: it finds those of the last one.
    let (attention, feedForward) = (layers.last?.attention.residual.after, layers.last?.feedForward.residual.after)
    for layer in layers {
      if layer.attention.output.location == location {
        layer.attention.residual.hooks.add(adapter, through: attention?.frozen)
      }
      if layer.feedForward.down.location == location {
        layer.feedForward.residual.hooks.add(adapter, through: feedForward?.frozen)
      }
    }
  }

  /// The shape and visibility of every layer's attention.
  public var attentions: [(shape: AttentionShape, visibility: Visibility)] {
    layers.map { ($0.attention.shape, $0.attention.visibility) }
  }

  /// Puts keys and values in front of layers' attention, of each as many.
  ///
  /// - Parameter prefixes: `nil` for layers that have none; the text stands behind the prefix there too
  public func setPrefixes(_ prefixes: [AttentionPrefix?], count: Int) {
    precondition(prefixes.count == layers.count, "a prefix or none for every layer")
    for (layer, prefix) in zip(layers, prefixes) { layer.attention.hooks.prefix = prefix }
    prefixCount = count
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
    func demand(_ linear: Linear, rows: Int) -> ComputeEngine.Demand {
      ComputeEngine.Demand(
        weight: linear.weight, rows: rows, weightRows: linear.weight.rows, hasGradient: gradients)
    }
    let inside = layers.flatMap { layer in
      layer.attention.linears.map { demand($0, rows: tokens) }
        + layer.feedForward.linears.map { demand($0, rows: min(feedForwardTokens, tokens)) }
    }
    let outside =
      (embedding.projection.map { [demand($0, rows: tokens)] } ?? [])
      + (head.projection.map { [demand($0, rows: headRows)] } ?? [])
    guard case .vocabulary(let head) = head else { return inside + outside }
    return inside + outside + [
      ComputeEngine.Demand(
        // the rows of its gradient are the head's own
        weight: head.weight, rows: headRows, weightRows: 0, hasGradient: gradients)
    ]
  }

  /// Sum of the losses of all tokens that have a label.
  ///
  /// - Parameters:
  ///   - batches: micro-batches of up to the workspace's capacity; all go through a layer before the next one
  ///   - observe: gets what a head with labels says of the tokens with a label, `[some, labels]`, in their order
  /// - Throws: what interrupts the engine
  public func loss(
    _ batches: [MicroBatch], workspace: Workspace, pass: Pass, observe: ((Matrix) -> Void)? = nil
  ) throws -> Double {
    try forward(batches, workspace: workspace, pass: pass, savesInputs: false)
    let x = residual(of: batches, workspace)
    let loss =
      switch (head, workspace.headRoom) {
      case (.vocabulary(let head), _):
        try head.loss(x, batches.map(\.headLabels), workspace: workspace, pass: pass)
      case (.labels(let head), .labels(let buffers)):
        head.loss(x, batches, buffers: buffers, pass: pass, observe: observe)
      default: preconditionFailure("a model with a head, and its room")
      }
    try pass.engine.checkInterruption()
    return loss
  }

  /// The same sum, adding `gradientScale` times its gradient to the gradients of the adapters.
  ///
  /// - Parameters:
  ///   - pass: knows where the tokens stand in the step
  ///   - firstLabel: labels of the step before those of `batches`
  /// - Throws: `SpillError` where layer inputs are kept in a file; what interrupts the engine
  public func lossAndGradient(
    _ batches: [MicroBatch], gradientScale: Float, firstLabel: Int = 0, workspace: Workspace, pass: Pass
  ) throws -> Double {
    guard let inputs = workspace.inputs else { preconditionFailure("a workspace for training") }
    try forward(batches, workspace: workspace, pass: pass, savesInputs: true)
    let loss = try pass.engine.pool.meter.counting(as: .head) {
      let x = residual(of: batches, workspace)
      switch (head, workspace.headRoom) {
      case (.vocabulary(let head), _):
        return try head.lossAndGradient(
          x, batches.map(\.headLabels), gradientScale: gradientScale, firstLabel: firstLabel, workspace: workspace,
          pass: pass)
      case (.labels(let head), .labels(let buffers)):
        return head.lossAndGradient(
          x, batches, gradientScale: gradientScale, firstLabel: firstLabel, buffers: buffers, pass: pass)
      default: preconditionFailure("a model with a head, and its room")
      }
    }
    let trainsEmbedding = embedding.isTrained
    let lowest = trainsEmbedding ? 0 : layers.firstIndex { $0.hasAdapter } ?? layers.count
    for index in layers.indices.reversed() where index >= lowest {
      workspace.residency.enter(index, next: index - 1)
      for place in places(of: batches, workspace, pass) {
        try pass.engine.checkInterruption()
        layers[index].backward(
          place.x, input: try inputs.load(layer: index, place.tokens, pool: pass.engine.pool),
          reachesBelow: trainsEmbedding || index > lowest, in: place.context(workspace, layer: index))
      }
      workspace.residency.leave(index)
    }
    if trainsEmbedding {
      for place in places(of: batches, workspace, pass) {
        embedding.backward(
          place.x, place.batch, working: workspace.embedding, workspace: workspace, pass: place.pass)
      }
    }
    try pass.engine.checkInterruption()
    return loss
  }

  /// Logits after every token, `[tokens, vocabulary]`, handed over in chunks of rows.
  public func logits(
    _ batch: MicroBatch, workspace: Workspace, pass: Pass, _ body: (_ rows: Range<Int>, _ logits: Matrix) throws -> Void
  ) throws {
    guard case .vocabulary(let head) = head else { preconditionFailure("a model that names tokens") }
    try forward([batch], workspace: workspace, pass: pass, savesInputs: false)
    let final = workspace.residual.rows(0..<batch.tokens.count)
    for sequence in stride(from: 0, to: final.rows, by: batch.layout.rowLength) {
      let end = min(sequence + batch.layout.rowLength, final.rows)
      for start in stride(from: sequence, to: end, by: workspace.head.logits.rows) {
        let rows = start..<min(start + workspace.head.logits.rows, end)
        let logits = head.logits(of: final.rows(rows), workspace: workspace, pass: pass)
        try pass.engine.checkInterruption()
        try body(rows, logits)
      }
    }
  }

  /// Output of the last layer for every token, `[tokens, hidden]`; valid until the workspace is used again.
  public func hiddenStates(_ batch: MicroBatch, workspace: Workspace, pass: Pass) throws -> Matrix {
    try forward([batch], workspace: workspace, pass: pass, savesInputs: false)
    return workspace.residual.rows(0..<batch.tokens.count)
  }

  /// Reads `tokens` after what `cache` holds and returns the logits after the last of them, `[vocabulary]`.
  public func extend(_ cache: KeyValueCache, with tokens: [Int32], workspace: Workspace, pass: Pass) -> Vector {
    guard case .vocabulary(let head) = head else { preconditionFailure("a model that names tokens") }
    precondition(!tokens.isEmpty && tokens.count <= workspace.tokenCapacity, "as many tokens as the workspace holds")
    precondition(cache.length + tokens.count <= cache.capacity, "the cache has room for the tokens")
    let layout = SequenceLayout(continuingAt: cache.length, count: tokens.count, of: cache.capacity)
      .behind(prefixCount)
    let x = workspace.residual.rows(0..<tokens.count)
    embedding.lookUp(tokens, layout: layout, into: x, working: workspace.embedding, workspace: workspace, pass: pass)
    for (index, layer) in layers.enumerated() {
      workspace.residency.enter(index, next: index + 1)
      layer.extend(
        x, cache: cache.layers[index],
        in: TransformerLayer.Context(
          tokens: 0..<tokens.count, layout: layout, memory: workspace.layers[index], workspace: workspace, pass: pass))
      workspace.residency.leave(index)
    }
    return head.logits(of: x.rows(tokens.count - 1..<tokens.count), workspace: workspace, pass: pass).row(0)
  }

  /// Reads a token behind what each of `caches` holds, and returns the logits after each, `[caches, vocabulary]`. The texts
  /// pass over the weights together, and in 8 bits each gets the logits that it would get alone, to the bit.
  public func extend(_ caches: [KeyValueCache], with tokens: [Int32], workspace: Workspace, pass: Pass) -> Matrix {
    guard case .vocabulary(let head) = head else { preconditionFailure("a model that names tokens") }
    precondition(
      tokens.count == caches.count && tokens.count <= workspace.tokenCapacity && !tokens.isEmpty,
      "as many tokens as the workspace holds")
    precondition(caches.allSatisfy { $0.length < $0.capacity }, "every cache has room for a token")
    let layout = SequenceLayout(continuingAt: caches.map(\.length), of: caches[0].capacity).behind(prefixCount)
    let x = workspace.residual.rows(0..<tokens.count)
    return pass.engine.withRowsOfTexts {
      embedding.lookUp(tokens, layout: layout, into: x, working: workspace.embedding, workspace: workspace, pass: pass)
      for (index, layer) in layers.enumerated() {
        workspace.residency.enter(index, next: index + 1)
        layer.extend(
          x, caches: caches.map { $0.layers[index] },
          in: TransformerLayer.Context(
            tokens: 0..<tokens.count, layout: layout, memory: workspace.layers[index], workspace: workspace, pass: pass)
        )
        workspace.residency.leave(index)
      }
      return head.logits(of: x, workspace: workspace, pass: pass)
    }
  }

  /// Runs all layers; the residual stream holds the output of the last one afterwards.
  private func forward(_ batches: [MicroBatch], workspace: Workspace, pass: Pass, savesInputs: Bool) throws {
    for place in places(of: batches, workspace, pass) {
      precondition(place.batch.tokens.count <= workspace.tokenCapacity, "a micro-batch fits the workspace")
      embedding.lookUp(
        place.batch.tokens, typeIDs: place.batch.typeIDs, layout: place.batch.layout, into: place.x,
        working: workspace.embedding, workspace: workspace, pass: place.pass)
    }
    for (index, layer) in layers.enumerated() {
      workspace.residency.enter(index, next: index + 1)
      for place in places(of: batches, workspace, pass) {
        try pass.engine.checkInterruption()
        if savesInputs {
          try workspace.inputs?.save(place.x, layer: index, first: place.tokens.lowerBound, pool: pass.engine.pool)
        }
        layer.forward(place.x, in: place.context(workspace, layer: index))
      }
      workspace.residency.leave(index)
    }
    try pass.engine.checkInterruption()
  }

  /// A micro-batch and where it stands in the residual stream.
  private struct Place {
    let batch: MicroBatch
    let x: Matrix
    let tokens: Range<Int>
    let pass: Pass

    func context(_ workspace: Workspace, layer: Int) -> TransformerLayer.Context {
      TransformerLayer.Context(
        tokens: tokens, layout: batch.layout, memory: workspace.layers[layer], workspace: workspace, pass: pass)
    }
  }

  private func places(of batches: [MicroBatch], _ workspace: Workspace, _ pass: Pass) -> [Place] {
    var start = 0
    return batches.map { batch in
      defer { start += batch.tokens.count }
      let tokens = start..<start + batch.tokens.count
      var pass = pass.advanced(by: start)
      pass.rowLength = batch.layout.rowLength
      let batch =
        prefixCount == 0
        ? batch
        : MicroBatch(
          tokens: batch.tokens, labels: batch.labels, layout: batch.layout.behind(prefixCount), typeIDs: batch.typeIDs,
          targets: batch.targets)
      return Place(batch: batch, x: workspace.residual.rows(tokens), tokens: tokens, pass: pass)
    }
  }

  /// The residual stream of all tokens of `batches`.
  private func residual(of batches: [MicroBatch], _ workspace: Workspace) -> Matrix {
    workspace.residual.rows(0..<batches.reduce(0) { $0 + $1.tokens.count })
  }
}

/// Tokens that go through a layer together.
public struct MicroBatch: Sendable {
  /// Ids below the vocabulary size, or of `VirtualToken`, `[tokens]`.
  public let tokens: [Int32]
  /// The id that should follow each token, or its label's id, or `Label.ignored`; `[tokens]`.
  public let labels: [Int32]
  public let layout: SequenceLayout
  /// Which text of its sample each token counts to; empty if all count to the first.
  public let typeIDs: [Int32]
  /// Where labels are no ids: the numbers of every token with a label, one after the other, `[tokens with a label * labels]`.
  public let targets: [Float]

  public init(
    tokens: [Int32], labels: [Int32], layout: SequenceLayout, typeIDs: [Int32] = [], targets: [Float] = []
  ) {
    precondition(tokens.count == layout.tokenCount && labels.count == tokens.count, "one label and place per token")
    precondition(typeIDs.isEmpty || typeIDs.count == tokens.count, "one type per token")
    self.tokens = tokens
    self.labels = labels
    self.layout = layout
    self.typeIDs = typeIDs
    self.targets = targets
  }

  var headLabels: LanguageModelHead.Labels {
    LanguageModelHead.Labels(labels: labels, rowsPerSequence: layout.rowLength)
  }
}
