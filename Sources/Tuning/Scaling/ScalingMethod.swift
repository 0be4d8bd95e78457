import Formats
import Kernels
import Memory
import Transformer

/// (IA)³ at one linear layer: `y = l * (x Wᵀ + b)`, or at the last layer of a block `y = (l * x) Wᵀ + b`.
///
/// Source: Liu et al. 2022, arXiv 2205.05638.
public final class ScalingAdapter: LinearAdapter {
  let location: LinearLocation
  let isInput: Bool
  public let keepsInput: Bool
  private let trainable: Trainable
  private let buffers: LowRankBuffers

  /// - Parameter keepsInput: whether the block overwrites the input
  init(location: LinearLocation, isInput: Bool, keepsInput: Bool, trainable: Trainable, buffers: LowRankBuffers) {
    self.location = location
    self.isInput = isInput
    self.keepsInput = keepsInput
    self.trainable = trainable
    self.buffers = buffers
  }

  /// `[out]`, or `[in]`.
  private var factor: Vector { trainable.matrix.row(0) }

  public var keptColumns: Int { isInput ? keepsInput ? location.shape.in : 0 : location.shape.out }
  public var inputScale: Vector? { isInput ? factor : nil }
  public var outputScale: OutputScale? { isInput ? nil : OutputScale(factor: factor, coversBias: true) }

  public func forward(_ x: Matrix, weight: StoredMatrix, keeping kept: Matrix, pass: Pass) -> LowRankTerm? { nil }

  /// `dl += sum(dy * u)` and `du = l * dy`, where `u` is the output before its scale.
  public func backward(
    _ dy: Matrix, isFree: Bool, x: Matrix, kept: Matrix, pass: Pass
  ) -> (dy: Matrix, term: LowRankTerm?) {
    if isInput { return (dy, nil) }
    let pool = pass.engine.pool
    let scaled = isFree ? dy : buffers.scaledGradient(rows: dy.rows, columns: dy.columns)
    ColumnFactors.backward(
      dy, by: factor, into: scaled, x: kept, addingTo: trainable.gradient.row(0), rowLength: pass.rowLength, pool: pool)
    return (scaled, nil)
  }

  public func scaleInputGradient(_ dx: Matrix, x: Matrix, pass: Pass) {
    guard isInput else { return }
    let pool = pass.engine.pool
    ColumnFactors.backward(
      dx, by: factor, into: dx, x: x, addingTo: trainable.gradient.row(0), rowLength: pass.rowLength, pool: pool)
  }

  func initialize() { VectorOperations.fill(factor, with: 1) }

  var merge: WeightMerge {
    let factors = factor.values
    if isInput {
      return WeightMerge { _, values in
        for column in 0..<values.count { values[column] *= factors[column] }
      }
    }
    return WeightMerge(bias: .scaled(factors)) { row, values in
      for column in 0..<values.count { values[column] *= factors[row] }
    }
  }
}

/// (IA)³: factors of the outputs of some layers and of the inputs of others.
public final class ScalingMethod: MergeableMethod {
  public let configuration: ScalingConfiguration
  public let trainables: Trainables
  private let adapters: [ScalingAdapter]
  private let usesConv1D: Bool

  init(configuration: ScalingConfiguration, model: LanguageModel, in room: TuningRoom) throws {
    self.configuration = configuration
    usesConv1D = model.description.linears.contains { $0.weight.isTransposed }
    let places = try configuration.places(in: model)
    let trainables = try Trainables(
      places.map { location, isInput in
        Trainables.Wish(
          "base_model.model.\(location.name).ia3_l", rows: 1, columns: isInput ? location.shape.in : location.shape.out,
          isTransposed: !isInput)
      }, of: model, in: room)
    let buffers = LowRankBuffers(
      tokens: room.tokens, rank: 0, places: 0, widestInput: 0,
      widestScaled: places.filter { !$0.isInput }.map(\.location.shape.out).max() ?? 0, dropout: false,
      arena: room.arena)
    let overwritten = model.lastAttentionLocations
    adapters = zip(places, trainables.entries).map {
      ScalingAdapter(
        location: $0.location, isInput: $0.isInput, keepsInput: $0.isInput && overwritten.contains($0.location),
        trainable: $1, buffers: buffers)
    }
    self.trainables = trainables
  }

  public func keptColumns(at location: LinearLocation) -> Int {
    adapters.first { $0.location == location }?.keptColumns ?? 0
  }

  public func hook(into model: LanguageModel) {
    for adapter in adapters { model.setAdapter(adapter, at: adapter.location) }
    trainables.attachHead()
  }

  /// Nothing is changed.
  public func initialize(seed: UInt64) {
    for adapter in adapters { adapter.initialize() }
    trainables.initializeHead(seed: seed)
  }

  public func save(to directory: String, baseModel: String) throws {
    try TrainableFiles.write(trainables.entries, \.matrix, to: "\(directory)/\(TrainableFiles.weightsName)")
    let targets = configuration.targetModules.modules(wrapped: adapters.map(\.location))
    let inner = configuration.feedforwardModules.modules(wrapped: adapters.filter(\.isInput).map(\.location))
    var file = PEFTIA3(
      targetModules: targets, feedforwardModules: inner, common: trainables.common(baseModel: baseModel))
    if configuration.selection.layers != nil {
      // PEFT's file has no numbers of layers here: each target by its whole name.
      file.targetModules = .names(adapters.map(\.location.name).sorted())
      file.feedforwardModules = .names(adapters.filter(\.isInput).map(\.location.name).sorted())
    } else if case .familyDefault = configuration.targetModules {
      // As names both lists have to agree.
      file.targetModules = .names(Self.names(adapters).sorted())
      file.feedforwardModules = .names(Self.names(adapters.filter(\.isInput)).sorted())
    }
    file.excludeModules = configuration.selection.excluded?.modules(wrapped: adapters.map(\.location))
    file.fanInFanOut = usesConv1D
    try PEFTConfiguration.ia3(file).write(to: directory)
    try trainables.saveHead(to: directory)
  }

  /// Ends of names that tell the layers apart: two parts where one is that of other layers too.
  private static func names(_ adapters: [ScalingAdapter]) -> [String] {
    var names: [String] = []
    for adapter in adapters {
      let parts = adapter.location.name.split(separator: ".")
      let name = parts.suffix(["c_proj", "dense"].contains(parts.last) ? 2 : 1).joined(separator: ".")
      if !names.contains(name) { names.append(name) }
    }
    return names
  }

  public func load(from directory: String) throws {
    try TrainableFiles.read(
      trainables.entries, from: "\(directory)/\(TrainableFiles.weightsName)", passingOver: trainables.isOtherHead)
  }

  public func merges() -> [(location: LinearLocation, merge: WeightMerge)] { adapters.map { ($0.location, $0.merge) } }
}
