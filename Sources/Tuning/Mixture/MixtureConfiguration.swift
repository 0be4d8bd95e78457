import Formats
import Transformer

/// Trained LoRA adapters as experts between which every token chooses at every layer: by prototypes that follow from the
/// experts (Arrow), or by such that are trained from there.
///
/// Source: Ostapenko et al. 2024, arXiv 2405.11157; names as PEFT's `ArrowConfig` has them.
public struct MixtureConfiguration: TuningConfiguration, Equatable {
  static let architecture = "mixture"
  private static let mostExperts = 64

  public let experts: FrozenAdapters
  /// Experts that take part at a token.
  public var topK: Int
  /// Of the softmax over them.
  public var temperature: Double

  public init(experts: FrozenAdapters, topK: Int = 3, temperature: Double = 1) {
    self.experts = experts
    self.topK = topK
    self.temperature = temperature
  }

  /// Whether a folder's `adapter_config.json` is one of a mixture.
  static func isOne(_ json: JSONValue) -> Bool { json["architecture"]?.stringValue == architecture }

  /// What a folder says that holds a mixture.
  init(json: JSONValue, directory: String, file: String) throws {
    func refuse(_ reason: String) -> UnsupportedAdapter { .init(file: file, reason: reason) }
    guard let names = json["experts"]?.arrayValue?.compactMap(\.stringValue),
      (1...Self.mostExperts).contains(names.count)
    else { throw refuse("experts is no list of 1 to \(Self.mostExperts) names") }
    guard let topK = json["top_k"]?.intValue, topK > 0 else { throw refuse("top_k is not a number above 0") }
    guard let temperature = json["router_temperature"]?.doubleValue, temperature > 0, temperature.isFinite else {
      throw refuse("router_temperature is not a number above 0")
    }
    self.init(
      experts: try FrozenAdapters(mixture: directory, names: names), topK: topK, temperature: temperature)
  }

  /// Writes `adapter_config.json`.
  func write(to directory: String, common: PEFTCommon) throws {
    let json = JSONObject([
      ("architecture", .string(Self.architecture)),
      ("base_model_name_or_path", common.baseModel.map { .string($0) } ?? .null),
      ("experts", .array(experts.names.map { .string($0) })), ("router_temperature", .number(temperature)),
      ("task_type", common.taskType.map { .string($0) } ?? .null), ("top_k", .integer(topK)),
    ])
    try OutputFile.write(
      JSONValue.object(json).serialized(pretty: true) + "\n", to: "\(directory)/\(PEFTConfiguration.fileName)")
  }

  /// The experts at one layer.
  struct Place {
    let location: LinearLocation
    let parts: [FrozenAdapters.Part]

    var rank: Int { parts.reduce(0) { $0 + $1.rank } }
  }

  func places(in model: LanguageModel) throws -> [Place] {
    let parts = Dictionary(grouping: try experts.parts(in: model), by: \.location)
    guard !parts.isEmpty else { throw AdapterError.unsuitableModel("the experts of the mixture have no layers") }
    return model.linearLocations.compactMap { location in
      parts[location].map { Place(location: location, parts: $0) }
    }
  }

  public func reserve(for model: LanguageModel, in room: TuningRoom) throws -> any TuningMethod {
    try MixtureMethod(configuration: self, model: model, in: room)
  }

  public func floatProducts(for model: LanguageModel) throws -> Double {
    var products = 0
    for place in try places(in: model) {
      let shape = place.location.shape
      products += (place.rank + place.parts.count) * shape.in + place.rank * shape.out
    }
    return Double(products)
  }

  public func smaller(for model: LanguageModel) -> [(option: String, configuration: any TuningConfiguration)] { [] }

  public var identity: [(String, String)] {
    [("experts", experts.identity), ("top_k", "\(topK)"), ("temperature", "\(temperature)")]
  }
}
