import Kernels
import Memory
import Transformer

/// Several methods at once, which hook in at different places: bottlenecks and prefixes, as He et al. 2022, arXiv 2110.04366,
/// join them, serial and parallel bottlenecks, as Zhou et al. 2023, arXiv 2301.12132, do, or any method beside LoRA adapters
/// that stay as they are.
public struct CombinedConfiguration: TuningConfiguration {
  /// One of them.
  public struct Part: Sendable {
    /// What it is called.
    public let name: String
    public let configuration: any TuningConfiguration
    /// Whether it is trained; one that is not does not belong to the folder of the others.
    public let isTrained: Bool
    /// What people call it.
    var shownName: String {
      if configuration is ScalingConfiguration { return "(IA)3" }
      if configuration is MixtureConfiguration { return "the mixture" }
      return isTrained ? name : "LoRA"
    }

    public init(name: String, configuration: any TuningConfiguration, isTrained: Bool = true) {
      self.name = name
      self.configuration = configuration
      self.isTrained = isTrained
    }
  }

  /// The first one that is trained has the model's head.
  public let parts: [Part]

  public init(_ parts: [Part]) { self.parts = parts }

  /// What computes with `parts`, while LoRA adapters take part that stay as they are, if there are any.
  public static func of(_ parts: [Part], on frozen: FrozenAdapters? = nil) -> any TuningConfiguration {
    var parts = parts
    if let frozen {
      if let index = parts.firstIndex(where: { $0.configuration is LowRankConfiguration }),
        var lowRank = parts[index].configuration as? LowRankConfiguration
      {
        lowRank.frozen = frozen
        parts[index] = .init(name: parts[index].name, configuration: lowRank)
      } else {
        parts.insert(
          .init(name: "frozen", configuration: LowRankConfiguration(frozen: frozen), isTrained: false), at: 0)
      }
    }
    return parts.count == 1 ? parts[0].configuration : CombinedConfiguration(parts)
  }

  public func reserve(for model: LanguageModel, in room: TuningRoom) throws -> any TuningMethod {
    try CombinedMethod(configuration: self, model: model, in: room)
  }

  public func floatProducts(for model: LanguageModel) throws -> Double {
    try parts.reduce(0) { try $0 + $1.configuration.floatProducts(for: model) }
  }

  public func smaller(for model: LanguageModel) -> [(option: String, configuration: any TuningConfiguration)] {
    parts.indices.flatMap { index in
      parts[index].configuration.smaller(for: model).map { option, smaller in
        var parts = parts
        parts[index] = Part(name: parts[index].name, configuration: smaller, isTrained: parts[index].isTrained)
        return (option, CombinedConfiguration(parts))
      }
    }
  }

  public var virtualTokenCount: Int { parts.reduce(0) { $0 + $1.configuration.virtualTokenCount } }
  public var promptRowCount: Int { parts.reduce(0) { $0 + $1.configuration.promptRowCount } }
  public var startTokenCount: Int { parts.map(\.configuration.startTokenCount).max() ?? 0 }

  public var identity: [(String, String)] {
    parts.flatMap { part in part.configuration.identity.map { ("\(part.name) \($0.0)", $0.1) } }
  }
}

/// Several methods at once.
public final class CombinedMethod: TuningMethod {
  public let configuration: CombinedConfiguration
  public let trainables: Trainables
  private let methods: [any TuningMethod]

  /// - Throws: `AdapterError` where two of them want the same place
  init(configuration: CombinedConfiguration, model: LanguageModel, in room: TuningRoom) throws {
    self.configuration = configuration
    let parts = configuration.parts
    let holder = parts.firstIndex(where: \.isTrained)
    func reserve(
      _ index: Int, on arena: Arena, vectors: (parameters: Vector, gradients: Vector)?
    ) throws -> any TuningMethod {
      let part = parts[index]
      return try part.configuration.reserve(
        for: model,
        in: TuningRoom(
          arena: arena, tokens: room.tokens, isTrained: room.isTrained && part.isTrained,
          includesHead: room.includesHead && index == holder, vectors: vectors))
    }
    let counts = try parts.indices.map { index in
      try reserve(index, on: Arena.counting, vectors: nil).trainables.parameters.count
    }
    let count = counts.reduce(0, +)
    let all = room.vectors ?? Trainables.vectors(count, trains: room.isTrained, arena: room.arena)
    var next = 0
    methods = try parts.indices.map { index in
      defer { next += counts[index] }
      let range = next..<next + counts[index]
      let trains = room.isTrained && parts[index].isTrained
      return try reserve(
        index, on: room.arena, vectors: (all.parameters.part(range), all.gradients.part(trains ? range : 0..<0)))
    }
    trainables = Trainables(
      joining: methods.map(\.trainables), parameters: all.parameters, gradients: all.gradients)
    try check(model)
  }

  private func check(_ model: LanguageModel) throws {
    func refuse(_ places: String) -> AdapterError {
      .unsuitableModel(
        "\(configuration.parts.map(\.shownName).joined(separator: " and ")) both hook in at \(places); they cannot be "
          + "put together. Merge one of them into the model first (edge-lora merge)")
    }
    for location in model.linearLocations {
      if methods.count(where: { $0.keptColumns(at: location) > 0 }) > 1 { throw refuse(location.name) }
      let demands = methods.map { $0.blockAdapters(at: location) }
      if demands.count(where: { $0.beside != nil }) > 1 || demands.count(where: { $0.behind != nil }) > 1 {
        throw refuse("the block of \(location.name)")
      }
    }
    if methods.count(where: { $0.prefixCount > 0 }) > 1 { throw refuse("the keys in front of the text") }
    if methods.count(where: { $0.promptCount > 0 }) > 1 { throw refuse("the rows in front of the text") }
  }

  public func keptColumns(at location: LinearLocation) -> Int {
    methods.reduce(0) { $0 + $1.keptColumns(at: location) }
  }

  public func blockAdapters(at location: LinearLocation) -> BlockAdapterDemands {
    BlockAdapterDemands(of: methods.map { $0.blockAdapters(at: location) })
  }

  public var prefixCount: Int { methods.reduce(0) { $0 + $1.prefixCount } }
  public var promptCount: Int { methods.reduce(0) { $0 + $1.promptCount } }
  public var replaced: ReplacedTables {
    ReplacedTables(
      embedding: methods.contains(where: \.replaced.embedding), head: methods.contains(where: \.replaced.head))
  }

  public func hook(into model: LanguageModel) { for method in methods { method.hook(into: model) } }

  public func initialize(seed: UInt64) { for method in methods { method.initialize(seed: seed) } }

  /// A start that the model computes is one of the model without the other methods.
  public func initialize(seed: UInt64, for model: LanguageModel, workspace: Workspace, pass: Pass) throws {
    for method in methods { try method.initialize(seed: seed, for: model, workspace: workspace, pass: pass) }
    attach(to: model)
  }

  public func parametersChanged(pool: ThreadPool) { for method in methods { method.parametersChanged(pool: pool) } }
  public func prepareUpdate() { for method in methods { method.prepareUpdate() } }
  public func completeGradients(pool: ThreadPool) { for method in methods { method.completeGradients(pool: pool) } }

  /// Those that belong to the folder.
  private var saved: [any TuningMethod] { zip(configuration.parts, methods).filter(\.0.isTrained).map(\.1) }

  public func save(to directory: String, baseModel: String) throws {
    let saved = saved
    if saved.count == 1 {
      try saved[0].save(to: directory, baseModel: baseModel)
    } else {
      try AdapterUnion.join(
        saved.map { method in { try method.save(to: directory, baseModel: baseModel) } }, in: directory)
    }
  }

  public func load(from directory: String) throws { for method in methods { try method.load(from: directory) } }
}
