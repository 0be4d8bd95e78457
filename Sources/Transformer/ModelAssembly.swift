import Architectures
import Kernels
import Memory
import WeightStore

/// Makes the parts of a model from its description and a store.
final class ModelAssembly {
  private let store: WeightStore
  private let arena: Arena
  private var pending: [(Vector, [Float])] = []
  private(set) var linears: [Linear] = []
  /// Those that have weights, with the paths that Hugging Face gives them.
  private(set) var norms: [(path: String, norm: Norm, offset: Float)] = []

  init(store: WeightStore) throws {
    self.store = store
    arena = try Arena(reserving: Self.byteCount(store.description))
  }

  /// What norms and biases take, in bytes.
  private static func byteCount(_ description: ModelDescription) -> Int {
    let counting = Arena.counting
    func count(_ size: Int?) { if let size { _ = counting.vector("", kind: .weights, count: size) } }
    for norm in description.norms {
      count(norm.size)
      count(norm.bias.map { _ in norm.size })
    }
    for linear in description.linears { count(linear.bias?.shape[0]) }
    for layer in description.head.labels?.layers ?? [] {
      count(layer.linear.weight.shape.reduce(1, *))
      count(layer.linear.bias?.shape[0])
    }
    return counting.byteCount
  }

  /// Fills norms and biases, when all parts are made.
  func finish() throws -> Arena {
    try arena.commit()
    for (view, values) in pending { view.assign(values) }
    return arena
  }

  private func vector(_ name: String, _ values: [Float]) -> Vector {
    let view = arena.vector(name, kind: .weights, count: values.count)
    pending.append((view, values))
    return view
  }

  private func norm(_ norm: NormDescription?) throws -> Norm? {
    guard let norm else { return nil }
    let weights =
      try norm.weight.map { weight in try store.vector(weight).map { $0 + norm.weightOffset } }
      ?? [Float](repeating: 1, count: norm.size)
    let made = Norm(
      kind: norm.kind, frozenWeight: vector(norm.weight?.name ?? "weights of a norm without any", weights),
      frozenBias: try norm.bias.map { vector($0.name, try store.vector($0)) }, epsilon: norm.epsilon)
    if let weight = norm.weight {
      norms.append((String(weight.name.dropLast(".weight".count)), made, norm.weightOffset))
    }
    return made
  }

  /// - Parameters:
  ///   - place: among the layers with the same input
  ///   - meetsNorm: whether nothing but a norm follows
  private func linear(_ linear: LinearDescription, place: Int = 0, meetsNorm: Bool = false) throws -> Linear {
    let made = Linear(
      location: LinearLocation(
        index: linears.count, name: linear.path, place: place, shape: (linear.outputSize, linear.inputSize)),
      weight: try store.matrix(linear.weight), bias: try linear.bias.map { vector($0.name, try store.vector($0)) },
      meetsNorm: meetsNorm)
    linears.append(made)
    return made
  }

  private func residual(_ norms: BlockNorms, isParallel: Bool) throws -> Residual {
    Residual(
      before: try norm(norms.before), after: try norm(norms.after), around: try norm(norms.around),
      isParallel: isParallel)
  }

  func layer(_ layer: LayerDescription) throws -> TransformerLayer {
    TransformerLayer(
      attention: try attention(layer.attention, isParallel: layer.isParallel),
      feedForward: try feedForward(layer.feedForward, isParallel: layer.isParallel), isParallel: layer.isParallel)
  }

  private func attention(_ block: AttentionDescription, isParallel: Bool) throws -> AttentionBlock {
    let projection: AttentionBlock.Projection =
      switch block.projections {
      case .separate: .separate
      case .fused: .fused
      case .fusedByHead: .fusedByHead
      }
    let visibility: Visibility =
      switch block.span {
      case .causal: .causal
      case .window(let count): .window(count)
      case .whole: .full
      }
    let residual = try residual(block.norms, isParallel: isParallel)
    let inputs = try block.inputLinears.enumerated().map { try linear($1, place: $0) }
    let headNorms = try norm(block.queryNorm).flatMap { query in try norm(block.keyNorm).map { (query, $0) } }
    return AttentionBlock(
      residual: residual, inputs: inputs, output: try linear(block.output, meetsNorm: residual.after != nil),
      projection: projection,
      shape: AttentionShape(
        headCount: block.headCount, keyValueHeadCount: block.keyValueHeadCount, headSize: block.headSize,
        scale: block.scale),
      visibility: visibility, headNorms: headNorms, rotary: block.rotary)
  }

  private func feedForward(_ block: FeedForwardDescription, isParallel: Bool) throws -> FeedForwardBlock {
    let inner: FeedForwardBlock.Inner =
      switch block.inner {
      case .gated: .gated
      case .fusedGated: .fusedGated
      case .plain: .plain
      }
    let residual = try residual(block.norms, isParallel: isParallel)
    let inputs = try block.inputLinears.enumerated().map { try linear($1, place: $0) }
    return FeedForwardBlock(
      residual: residual, inputs: inputs, down: try linear(block.down, meetsNorm: residual.after != nil), inner: inner,
      activation: Activation(block.activation))
  }

  func embedding(_ part: EmbeddingDescription) throws -> Embedding {
    Embedding(
      tokens: try store.matrix(part.tokens), scale: part.scale,
      positions: try part.positions.map { (try store.matrix($0.table), $0.offset) },
      types: try part.tokenTypes.map { try store.matrix($0) }, norm: try norm(part.norm),
      projection: try part.projection.map { try linear($0) })
  }

  func head(_ part: HeadDescription, embedding: Embedding) throws -> ModelHead {
    let norm = try norm(part.norm)
    let projection = try part.projection.map { try linear($0) }
    if let labels = part.labels {
      return .labels(
        LabelHead(
          norm: norm, projection: projection, description: labels, layers: try labels.layers.map(labelLayer)))
    }
    guard let weight = part.weight else { return .none }
    return .vocabulary(
      LanguageModelHead(
        norm: norm, projection: projection, weight: part.isTied ? embedding.tokens : try store.matrix(weight),
        tied: part.isTied ? embedding.hooks : nil))
  }

  /// A layer of a head with labels, with the checkpoint's parameters if it has them.
  private func labelLayer(_ part: LabelHeadDescription.Layer) throws -> LabelLayer {
    let (weight, bias) = (part.linear.weight, part.linear.bias)
    let isThere = store.holds(weight)
    func values(_ tensor: TensorDescription) throws -> [Float] {
      isThere ? try store.vector(tensor) : [Float](repeating: 0, count: tensor.shape.reduce(1, *))
    }
    return LabelLayer(
      part,
      weight: vector(weight.name, try values(weight)).matrix(
        rows: part.linear.outputSize, columns: part.linear.inputSize),
      bias: try bias.map { vector($0.name, try values($0)).matrix(rows: 1, columns: part.linear.outputSize) },
      isInCheckpoint: isThere)
  }
}

/// What a model makes of its hidden states.
enum ModelHead {
  case vocabulary(LanguageModelHead)
  case labels(LabelHead)
  /// Nothing.
  case none

  /// A frozen linear layer in front of logits or labels.
  var projection: Linear? {
    switch self {
    case .vocabulary(let head): head.projection
    case .labels(let head): head.projection
    case .none: nil
    }
  }
}

/// The room of a model's head.
enum HeadRoom {
  case vocabulary(LanguageModelHead.Buffers)
  case labels(LabelHead.Buffers)
  case none
}

extension Activation {
  init(_ kind: ActivationKind) {
    self =
      switch kind {
      case .silu: .silu
      case .gelu: .gelu
      case .geluTanh: .geluTanh
      case .relu: .relu
      }
  }
}
