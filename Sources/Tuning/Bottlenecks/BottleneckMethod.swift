import Architectures
import Formats
import FoundationEssentials
import Kernels
import Memory
import Randomness
import Transformer

/// Working memory that all bottlenecks share on the way back.
private final class BottleneckBuffers {
  private let inner: Vector  // [tokens * widest bottleneck]
  private let scaled: Vector  // [tokens * hidden], empty without a scaling

  init(tokens: Int, width: Int, hidden: Int, arena: Arena) {
    inner = arena.vector("gradient inside bottlenecks", kind: .adapter, count: tokens * width)
    scaled = arena.vector("gradient under a bottleneck's scaling", kind: .adapter, count: tokens * hidden)
  }

  func inner(rows: Int, columns: Int) -> Matrix { inner.matrix(rows: rows, columns: columns) }
  func scaled(rows: Int, columns: Int) -> Matrix { scaled.matrix(rows: rows, columns: columns) }
}

/// A bottleneck at a block: `y += scaling * (act(x Dᵀ + b) Uᵀ + c)`, `D`: `[width, hidden]`, `U`: `[hidden, width]`, where `y`
/// is what the block's last product makes, before a norm, and with the block's input where no norm comes first.
private final class Bottleneck: BlockAdapter {
  let location: LinearLocation
  private let source: BlockAdapterSource
  private let down: Trainable
  private let downBias: Trainable
  private let upTransposed: Trainable
  private let upBias: Trainable
  private let activation: Activation
  private let scaling: Float
  private let scaledBias: Vector  // [hidden]
  private let buffers: BottleneckBuffers
  private var rows = 0

  init(
    location: LinearLocation, source: BlockAdapterSource, entries: ArraySlice<Trainable>, activation: Activation,
    scaling: Float, scaledBias: Vector, buffers: BottleneckBuffers
  ) {
    self.location = location
    self.source = source
    let entries = Array(entries)
    (down, downBias, upTransposed, upBias) = (entries[0], entries[1], entries[2], entries[3])
    self.activation = activation
    self.scaling = scaling
    self.scaledBias = scaledBias
    self.buffers = buffers
  }

  private var width: Int { down.matrix.rows }

  /// It keeps the products before and after the activation.
  var demand: BlockAdapterDemand { BlockAdapterDemand(source: source, columns: 2 * width) }

  private func before(_ kept: Matrix) -> Matrix { kept.columns(0..<width) }
  private func after(_ kept: Matrix) -> Matrix { kept.columns(width..<2 * width) }

  func read(_ x: Matrix, keeping kept: Matrix, pass: Pass) {
    let pool = pass.engine.pool
    ThinProduct.project(x, down.matrix, into: before(kept), pool: pool)
    VectorOperations.addBias(downBias.matrix.row(0), to: before(kept), pool: pool)
    activation.apply(before(kept), into: after(kept), pool: pool)
  }

  func add(_ kept: Matrix, to y: Matrix, pass: Pass) {
    let pool = pass.engine.pool
    LowRankTerm(p: after(kept), w: upTransposed.matrix, scale: scaling).add(to: y, pool: pool)
    VectorOperations.fill(scaledBias, with: 0)
    VectorOperations.add(upBias.matrix.row(0), scaledBy: scaling, to: scaledBias)
    VectorOperations.addBias(scaledBias, to: y, pool: pool)
  }

  /// `dU += s dyᵀ h`, `dc += s Σdy`, `dz = act'(z) * (s dy U)`, `dD += dzᵀ x`, `db += Σdz`, where `h = act(z)`.
  func backward(_ dy: Matrix, x: Matrix, kept: Matrix, pass: Pass) {
    let pool = pass.engine.pool
    rows = dy.rows
    var dy = dy
    if scaling != 1 {
      let scaled = buffers.scaled(rows: dy.rows, columns: dy.columns)
      VectorOperations.copy(dy, into: scaled, pool: pool)
      VectorOperations.scale(scaled, by: scaling, pool: pool)
      dy = scaled
    }
    let length = pass.rowLength
    let inner = buffers.inner(rows: rows, columns: width)
    ThinProduct.weightGradient(
      after(kept), dy, addingTo: upTransposed.gradient, rowLength: length, pool: pool)
    ColumnFactors.biasGradient(dy, addingTo: upBias.gradient.row(0), rowLength: length, pool: pool)
    ThinProduct.project(dy, upTransposed.matrix, into: inner, pool: pool)
    activation.backward(inner, x: before(kept), pool: pool)
    ThinProduct.weightGradient(inner, x, addingTo: down.gradient, rowLength: length, pool: pool)
    ColumnFactors.biasGradient(inner, addingTo: downBias.gradient.row(0), rowLength: length, pool: pool)
  }

  func addInputGradient(to dx: Matrix, pass: Pass) {
    LowRankTerm(p: buffers.inner(rows: rows, columns: width), w: down.matrix).add(to: dx, pool: pass.engine.pool)
  }

  /// As `adapters` starts: matrices normal with a deviation of 0.02 (`bert`), or `D` uniform in `±1/sqrt(hidden)` and `U`
  /// zero (`mam_adapter`), or normal up to two deviations of 0.01 (`houlsby`); biases zero.
  func initialize(_ generator: inout SplitMix64, kind: String) {
    func normal(_ deviation: Float, limit: Float = .infinity) -> Float {
      while true {
        let value = generator.normal()
        if abs(value) <= limit { return deviation * value }
      }
    }
    let bound = 1 / Float(down.matrix.columns).squareRoot()
    for part in [down, upTransposed] {
      part.matrix.elements.assign(
        (0..<part.count).map { _ in
          switch kind {
          case "mam_adapter": part.isTransposed ? 0 : generator.uniform(in: -bound...bound)
          case "houlsby": normal(0.01, limit: 2)
          default: normal(0.02)
          }
        })
    }
    for part in [downBias, upBias] { VectorOperations.fill(part.matrix, with: 0) }
  }
}

/// Bottleneck adapters at blocks, in AdapterHub's folders.
public final class BottleneckMethod: TuningMethod {
  public let configuration: BottleneckConfiguration
  public let trainables: Trainables
  private let adapters: [Bottleneck]
  private let demands: [LinearLocation: BlockAdapterDemands]
  private let family: Family
  private let hiddenSize: Int

  static let weightsName = "adapter.safetensors"
  /// Of the second one in a folder.
  static let secondWeightsName = "parallel_adapter.safetensors"
  static let headName = "model_head.safetensors"

  init(configuration: BottleneckConfiguration, model: LanguageModel, in room: TuningRoom) throws {
    self.configuration = configuration
    family = model.description.family
    hiddenSize = model.description.hiddenSize
    let hidden = hiddenSize
    let places = try configuration.places(in: model)
    guard !places.isEmpty else {
      throw AdapterError.unsuitableModel("bottleneck adapters: every layer is switched off; nothing is left to train")
    }
    let trainables = try Trainables(
      places.flatMap { place -> [Trainables.Wish] in
        [
          .init(place.name + "adapter_down.0.weight", rows: place.width, columns: hidden),
          .init(place.name + "adapter_down.0.bias", rows: 1, columns: place.width, isVector: true),
          .init(place.name + "adapter_up.weight", rows: place.width, columns: hidden, isTransposed: true),
          .init(place.name + "adapter_up.bias", rows: 1, columns: hidden, isVector: true),
        ]
      }, of: model, in: room)
    let scaling = Float(configuration.scaling)
    let buffers = BottleneckBuffers(
      tokens: room.tokens, width: places.map(\.width).max() ?? 0, hidden: scaling == 1 ? 0 : hidden, arena: room.arena)
    let scaledBias = room.arena.vector("bias of a bottleneck, scaled", kind: .adapter, count: hidden)
    adapters = places.enumerated().map { index, place in
      Bottleneck(
        location: place.location, source: configuration.source, entries: trainables.entries[4 * index..<4 * index + 4],
        activation: configuration.nonLinearity.activation, scaling: scaling, scaledBias: scaledBias, buffers: buffers)
    }
    self.trainables = trainables
    demands = Dictionary(uniqueKeysWithValues: adapters.map { ($0.location, BlockAdapterDemands([$0.demand])) })
  }

  public func keptColumns(at location: LinearLocation) -> Int { 0 }

  public func blockAdapters(at location: LinearLocation) -> BlockAdapterDemands {
    demands[location] ?? BlockAdapterDemands()
  }

  public func hook(into model: LanguageModel) {
    for adapter in adapters { model.setBlockAdapter(adapter, at: adapter.location) }
    trainables.attachHead()
  }

  public func initialize(seed: UInt64) {
    // Two at once do not begin with the same numbers.
    var generator = SplitMix64(seed: configuration.isSecond ? ~seed : seed)
    for adapter in adapters { adapter.initialize(&generator, kind: configuration.file.initialisation) }
    trainables.initializeHead(seed: seed)
  }

  private func weights(in directory: String) -> String {
    "\(directory)/\(configuration.isSecond ? Self.secondWeightsName : Self.weightsName)"
  }

  public func save(to directory: String, baseModel: String) throws {
    try TrainableFiles.write(trainables.methodEntries, \.matrix, to: weights(in: directory))
    if !heads.isEmpty { try TrainableFiles.write(heads, \.matrix, to: "\(directory)/\(Self.headName)") }
    var file = configuration.file
    file.modelName = baseModel
    file.modelType = family.rawValue
    file.hiddenSize = hiddenSize
    if configuration.isSecond {
      try AdapterUnion.write(second: file, to: directory)
    } else {
      try file.write(to: directory)
    }
    try family.adapterHubInterface?.write(to: directory)
    try trainables.saveHead(to: directory)
    try trainables.head.map {
      AdapterHubHead(
        modelClass: family.stem + $0.labelling.task.classEnding, modelType: family.rawValue, modelName: baseModel,
        hiddenSize: hiddenSize, labels: $0.labelling.labels)
    }?.write(to: directory)
  }

  /// The head under the names that it has in its model, in a file of its own, as AdapterHub keeps heads.
  private var heads: [Trainable] {
    trainables.headEntries.map { $0.named(String($0.name.dropFirst("base_model.model.".count))) }
  }

  public func load(from directory: String) throws {
    let weights = weights(in: directory)
    guard FileManager.default.fileExists(atPath: weights) else {
      throw configuration.isSecond
        ? UnsupportedAdapter(file: weights, reason: "is missing, which holds the parallel bottlenecks of the folder")
        : Self.missing(weights)
    }
    try checkInterface(in: directory)
    try TrainableFiles.read(trainables.methodEntries, from: weights)
    guard !heads.isEmpty else { return }
    let head = "\(directory)/\(Self.headName)"
    guard FileManager.default.fileExists(atPath: head) else { throw Self.missing(head) }
    try TrainableFiles.read(heads, from: head)
  }

  /// That bottlenecks which were trained elsewhere stand where they do here.
  private func checkInterface(in directory: String) throws {
    let path = "\(directory)/\(AdapterHubInterface.fileName)"
    guard let wanted = family.adapterHubInterface, FileManager.default.fileExists(atPath: path) else { return }
    let found = try AdapterHubInterface(json: try JSONValue.parse(contentsOf: path), file: path)
    try found.check(against: wanted, file: path)
  }

  private static func missing(_ path: String) -> UnsupportedAdapter {
    .init(file: path, reason: "is missing; AdapterHub writes it with save_adapter(..., use_safetensors=True)")
  }
}
