import Formats
import Kernels
import Memory
import Transformer

/// The experts at one linear layer: `y += Σ gate_e(x) s_e (x A_eᵀ) B_eᵀ`, with gates of the likeness of `x` to a prototype
/// of each expert.
private final class ExpertAdapter: LinearAdapter {
  let location: LinearLocation
  /// `[experts, in]`
  let prototypes: Trainable
  /// `A` of all experts, and the prototypes: `[rank + experts, in]`.
  let factors: Matrix
  /// `s Bᵀ` of all experts: `[rank, out]`.
  let bTransposed: Matrix
  private let gates: ExpertGates
  private let buffers: LowRankBuffers

  init(
    location: LinearLocation, prototypes: Trainable, factors: Matrix, bTransposed: Matrix, gates: ExpertGates,
    buffers: LowRankBuffers
  ) {
    self.location = location
    self.prototypes = prototypes
    self.factors = factors
    self.bTransposed = bTransposed
    self.gates = gates
    self.buffers = buffers
  }

  private var rank: Int { bTransposed.rows }

  /// The gated products, and all as they are.
  var keptColumns: Int { rank + factors.rows }

  private func gated(_ kept: Matrix) -> Matrix { kept.columns(0..<rank) }
  private func products(_ kept: Matrix) -> Matrix { kept.columns(rank..<kept.columns) }

  func forward(_ x: Matrix, weight: StoredMatrix, keeping kept: Matrix, pass: Pass) -> LowRankTerm? {
    ThinProduct.project(x, factors, into: products(kept), pool: pass.engine.pool)
    gates.apply(products(kept), into: gated(kept), pool: pass.engine.pool)
    return LowRankTerm(p: gated(kept), w: bTransposed)
  }

  func backward(
    _ dy: Matrix, isFree: Bool, x: Matrix, kept: Matrix, pass: Pass
  ) -> (dy: Matrix, term: LowRankTerm?) {
    let pool = pass.engine.pool
    let gradient = buffers.projectionGradient(at: location, rows: dy.rows, rank: factors.rows)
    ThinProduct.project(dy, bTransposed, into: gradient.columns(0..<rank), pool: pool)
    gates.backward(gradient, products: products(kept), pool: pool)
    if prototypes.gradient.rows > 0 {
      ThinProduct.weightGradient(
        gradient.columns(rank..<factors.rows), x, addingTo: prototypes.gradient, rowLength: pass.rowLength, pool: pool)
    }
    return (dy, LowRankTerm(p: gradient, w: factors))
  }

  /// To be called when the prototypes have changed.
  func refresh() {
    for expert in 0..<prototypes.matrix.rows { factors.row(rank + expert).copy(prototypes.matrix.row(expert)) }
  }
}

/// A mixture of LoRA experts, of which the prototypes are trained.
public final class MixtureMethod: TuningMethod {
  public let configuration: MixtureConfiguration
  public let trainables: Trainables
  private let places: [MixtureConfiguration.Place]
  private let adapters: [ExpertAdapter]
  private let keptColumns: [LinearLocation: Int]

  init(configuration: MixtureConfiguration, model: LanguageModel, in room: TuningRoom) throws {
    self.configuration = configuration
    let places = try configuration.places(in: model)
    self.places = places
    let trainables = try Trainables(
      places.map {
        .init(MixtureFiles.prototypes($0.location.name), rows: $0.parts.count, columns: $0.location.shape.in)
      }, of: model, in: room)
    let arena = room.arena
    let buffers = LowRankBuffers(
      tokens: room.tokens, rank: places.map { $0.rank + $0.parts.count }.max() ?? 0,
      places: (model.linearLocations.map(\.place).max() ?? 0) + 1, widestInput: 0, widestScaled: 0, dropout: false,
      arena: arena)
    adapters = zip(places, trainables.entries).map { place, prototypes in
      let shape = place.location.shape
      return ExpertAdapter(
        location: place.location, prototypes: prototypes,
        factors: arena.matrix(
          "experts and prototypes", kind: .adapter, rows: place.rank + place.parts.count, columns: shape.in),
        bTransposed: arena.matrix("experts", kind: .adapter, rows: place.rank, columns: shape.out),
        gates: ExpertGates(
          ranks: place.parts.map(\.rank), topK: configuration.topK, temperature: Float(configuration.temperature)),
        buffers: buffers)
    }
    self.trainables = trainables
    keptColumns = Dictionary(uniqueKeysWithValues: adapters.map { ($0.location, $0.keptColumns) })
  }

  public func keptColumns(at location: LinearLocation) -> Int { keptColumns[location] ?? 0 }

  public func hook(into model: LanguageModel) {
    for adapter in adapters { model.setAdapter(adapter, at: adapter.location) }
    trainables.attachHead()
  }

  /// Takes over the experts.
  ///
  /// - Parameter prototypes: whether the prototypes become Arrow's
  private func readExperts(prototypes: Bool) throws {
    for (place, adapter) in zip(places, adapters) {
      var row = 0
      for (expert, part) in place.parts.enumerated() {
        let factors = try part.read()
        for index in 0..<part.rank {
          adapter.factors.row(row + index).assign(factors.a.row(index).map(Float.init))
          adapter.bTransposed.row(row + index).assign(factors.b.row(index).map { Float($0 * factors.weight) })
        }
        row += part.rank
        if prototypes { adapter.prototypes.matrix.row(expert).assign(MixtureFiles.arrow(factors)) }
      }
      adapter.refresh()
    }
  }

  public func initialize(seed: UInt64) { trainables.initializeHead(seed: seed) }

  public func initialize(seed: UInt64, for model: LanguageModel, workspace: Workspace, pass: Pass) throws {
    initialize(seed: seed)
    try readExperts(prototypes: true)
  }

  public func parametersChanged(pool: ThreadPool) { for adapter in adapters { adapter.refresh() } }

  public func save(to directory: String, baseModel: String) throws {
    let experts = zip(places, adapters).flatMap { place, adapter in
      var row = 0
      return place.parts.flatMap { part -> [Trainable] in
        defer { row += part.rank }
        let rows = row..<row + part.rank
        let names = MixtureFiles.names(place.location.name, expert: part.expert)
        return [(names.a, adapter.factors, false), (names.b, adapter.bTransposed, true)].map {
          name, matrix, isTransposed in
          Trainable(
            name: name, matrix: matrix.rows(rows), gradient: matrix.rows(rows), isTransposed: isTransposed,
            isVector: false, learningRateFactor: 1)
        }
      }
    }
    try TrainableFiles.write(
      experts + trainables.entries, \.matrix, to: "\(directory)/\(TrainableFiles.weightsName)")
    try configuration.write(to: directory, common: trainables.common(baseModel: baseModel))
    try trainables.saveHead(to: directory)
  }

  /// The experts come from where the configuration has them, which may be the same folder.
  public func load(from directory: String) throws {
    try TrainableFiles.read(
      trainables.entries, from: "\(directory)/\(TrainableFiles.weightsName)",
      passingOver: {
        MixtureFiles.isExpert($0) || trainables.isOtherHead($0)
      })
    try readExperts(prototypes: false)
  }
}

/// What a mixture's file holds: the experts, each with its scaling in `B`, and the prototypes.
enum MixtureFiles {
  static func prototypes(_ layer: String) -> String { "base_model.model.\(layer).lora_arrow.prototypes" }

  /// Ends of the names of an expert's factors, after PEFT's for an adapter `task_0`.
  static func ends(expert: Int) -> (a: String, b: String) {
    (".lora_A.task_\(expert).weight", ".lora_B.task_\(expert).weight")
  }

  static func names(_ layer: String, expert: Int) -> (a: String, b: String) {
    let ends = ends(expert: expert)
    return ("base_model.model.\(layer)\(ends.a)", "base_model.model.\(layer)\(ends.b)")
  }

  static func isExpert(_ name: String) -> Bool { name.contains(".lora_A.task_") || name.contains(".lora_B.task_") }

  /// The prototype of an expert: the direction of the input that it changes most.
  static func arrow(_ part: LowRankFile.Part) -> [Float] {
    SmallDecomposition.truncated(a: part.a, b: part.b, rank: 1).a.values.map(Float.init)
  }

  /// Writes the mixture of some adapters into a folder, without a model.
  ///
  /// - Throws: `AdapterError` where an adapter cannot be an expert
  static func write(_ configuration: MixtureConfiguration, to directory: String) throws {
    let experts = configuration.experts
    var tensors: [(name: String, shape: [Int], values: [Float])] = []
    var rows: [String: [Float]] = [:]
    for (expert, layer, part) in try experts.layers() {
      let names = names(layer, expert: expert)
      tensors.append((names.a, [part.a.rows, part.a.columns], part.a.values.map(Float.init)))
      tensors.append(
        (names.b, [part.b.columns, part.b.rows], part.b.transposed.values.map { Float($0 * part.weight) }))
      rows[layer, default: []] += arrow(part)
    }
    for (layer, values) in rows {
      let count = tensors.count { $0.name.hasPrefix("base_model.model.\(layer).lora_A.") }
      tensors.append((prototypes(layer), [count, values.count / count], values))
    }
    try SafetensorsWriter.write(tensors, to: "\(directory)/\(TrainableFiles.weightsName)")
    try configuration.write(to: directory, common: experts.common)
  }
}
