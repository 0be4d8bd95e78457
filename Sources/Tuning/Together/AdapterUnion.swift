import Formats
import FoundationEssentials

/// A folder with adapters that work together: a serial bottleneck of AdapterHub's, a parallel one, and one of PEFT's, or two of
/// these.
///
/// Their weights have names of their own. One `adapter_config.json` has the keys of both libraries, so that each finds its
/// adapter; what AdapterHub's would say of the parallel one stands under `parallel_adapter`, where there is a serial one too:
/// AdapterHub knows one bottleneck at a place.
public enum AdapterUnion {
  /// The key of the second bottleneck.
  private static let secondKey = "parallel_adapter"
  /// In a folder that stands for others: LoRA adapters on which they were trained, by their numbers, and their weights.
  private static let beneathName = "beneath"
  private static let beneathWeights = "weights.json"

  /// What a folder can hold one of.
  private enum Place: CaseIterable {
    case serial, parallel, peft
  }

  /// What the configuration says of a parallel bottleneck beside a serial one; `nil` without one.
  static func second(in json: JSONValue) -> JSONValue? { json[secondKey] }

  /// Writes the configuration of the second bottleneck of a folder, for `join`.
  static func write(second file: AdapterHubConfiguration, to directory: String) throws {
    let json = JSONValue.object(JSONObject([(secondKey, file.json)]))
    try OutputFile.write(json.serialized(), to: "\(directory)/\(PEFTConfiguration.fileName)")
  }

  /// Writes the configuration of several adapters as one.
  ///
  /// - Parameter write: each puts its own into the folder
  static func join(_ writes: [() throws -> Void], in directory: String) throws {
    let file = "\(directory)/\(PEFTConfiguration.fileName)"
    var joined = JSONObject()
    for write in writes {
      try write()
      for (key, value) in try JSONValue.parse(contentsOf: file).objectValue?.entries ?? [] where joined[key] == nil {
        joined[key] = value
      }
      try FileManager.default.removeItem(atPath: file)
    }
    try OutputFile.write(JSONValue.object(joined).serialized(pretty: true) + "\n", to: file)
  }

  /// What a folder with adapters holds.
  private struct Source {
    let directory: String
    let json: JSONValue
    let places: Set<Place>

    init(_ directory: String) throws {
      self.directory = directory
      let file = "\(directory)/\(PEFTConfiguration.fileName)"
      json = try JSONValue.parse(contentsOf: file)
      guard AdapterHubConfiguration.isOne(json) else {
        places = [.peft]
        return
      }
      var places: Set<Place> = [try AdapterHubConfiguration(json: json, file: file).isParallel ? .parallel : .serial]
      if second(in: json) != nil { places.insert(.parallel) }
      if json["peft_type"] != nil { places.insert(.peft) }
      self.places = places
    }

    /// The configuration, with a parallel bottleneck where a second one stands.
    var asSecond: JSONValue {
      let own = ["config", "hidden_size", "model_class", "model_name", "model_type", "name", "version"]
      let entries = json.objectValue?.entries ?? []
      return .object(
        JSONObject(
          entries.filter { !own.contains($0.key) }
            + [(secondKey, .object(JSONObject(entries.filter { own.contains($0.key) })))]))
    }
  }

  /// Makes a folder that stands for the adapters of others, whose files it points to.
  ///
  /// LoRA adapters take part beneath the others where one folder of both libraries cannot hold them: several, one that has a
  /// weight, or one beside another of PEFT's. Of LoRA adapters alone the last one stands on the others: it may have what
  /// no sum has, biases, rows of tokens, whole modules or a head.
  ///
  /// - Parameter folder: exists, and is empty
  /// - Throws: `AdapterError` for adapters that are not bottlenecks and one of PEFT's, of each kind one, and LoRA
  public static func link(_ adapters: [WeightedAdapter], in folder: String) throws {
    let (beneath, above) = try layers(of: adapters)
    guard try fit(above) else {
      throw AdapterError.unsuitableModel(
        "\(adapters.map(\.directory).joined(separator: ", ")): LoRA adapters can be used together, alone or under a serial "
          + "bottleneck, a parallel one and one adapter of another method; no others")
    }
    if let weighted = above.first(where: { $0.weight != 1 }) {
      throw AdapterError.unsuitableModel("\(weighted.directory): only LoRA adapters have weights")
    }
    if !beneath.isEmpty { try linkBeneath(beneath, in: folder) }
    try link(try above.map { try Source($0.directory) }, in: folder)
  }

  /// Those that take part beneath the others, and the others.
  private static func layers(
    of adapters: [WeightedAdapter]
  ) throws -> (beneath: [WeightedAdapter], above: [WeightedAdapter]) {
    let isLowRank = try adapters.map { try AdapterFolder.areLowRank([$0.directory]) }
    if !isLowRank.contains(false) {
      let last = adapters[adapters.count - 1]
      try checkPlain(last)
      return (adapters.dropLast(), [last])
    }
    let lowRank = zip(adapters, isLowRank).filter(\.1).map(\.0)
    if try fit(adapters), lowRank.allSatisfy({ $0.weight == 1 }) { return ([], adapters) }
    return (lowRank, zip(adapters, isLowRank).filter { !$1 }.map(\.0))
  }

  /// Whether one folder of both libraries can hold them.
  private static func fit(_ adapters: [WeightedAdapter]) throws -> Bool {
    let sources = try adapters.map { try Source($0.directory) }
    return Place.allCases.allSatisfy { place in sources.count { $0.places.contains(place) } <= 1 }
  }

  /// - Throws: for a DoRA adapter, which cannot stand on others
  private static func checkPlain(_ adapter: WeightedAdapter) throws {
    if case .lora(let lora) = try PEFTConfiguration.load(directory: adapter.directory), lora.useDoRA {
      _ = try LowRankFile(directory: adapter.directory)
    }
  }

  private static func linkBeneath(_ adapters: [WeightedAdapter], in folder: String) throws {
    let beneath = "\(folder)/\(beneathName)"
    try OutputFolder.create(beneath)
    for (index, adapter) in adapters.enumerated() {
      try FileManager.default.createSymbolicLink(
        atPath: "\(beneath)/\(index)", withDestinationPath: AbsolutePath.of(adapter.directory))
    }
    let weights = JSONValue.array(adapters.map { .number($0.weight) })
    try OutputFile.write(weights.serialized(), to: "\(beneath)/\(beneathWeights)")
  }

  /// The LoRA adapters that a folder of `link` has beneath the others.
  static func beneath(_ directory: String) throws -> FrozenAdapters? {
    let folder = "\(directory)/\(beneathName)"
    let file = "\(folder)/\(beneathWeights)"
    guard case .other = try? PathKind(file) else { return nil }
    let weights = try JSONValue.parse(contentsOf: file).arrayValue?.compactMap(\.doubleValue) ?? []
    // By their own names, which stand in what is said of them.
    return try FrozenAdapters(
      weights.enumerated().map { index, weight in
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(index)")
        return WeightedAdapter(directory: own, weight: weight)
      })
  }

  private static func link(_ sources: [Source], in folder: String) throws {
    let hasSerial = sources.contains { $0.places.contains(.serial) }
    // A head is that of the first bottleneck.
    let head = sources.first { AdapterHubConfiguration.isOne($0.json) } ?? sources[0]
    try join(
      sources.map { source in
        let isParallelAlone = source.places.contains(.parallel) && !source.places.contains(.serial)
        let becomesSecond = isParallelAlone && hasSerial
        let hasHead = AdapterHubConfiguration.isOne(source.json) || source.directory == head.directory
        return { try link(source, becomesSecond: becomesSecond, hasHead: hasHead && !becomesSecond, in: folder) }
      }, in: folder)
  }

  /// Points to a folder's files, and writes its configuration.
  private static func link(_ source: Source, becomesSecond: Bool, hasHead: Bool, in folder: String) throws {
    let directory = source.directory
    let path = AbsolutePath.of(directory)
    let others = hasHead ? ["config.json", AdapterHubHead.fileName, AdapterHubInterface.fileName] : []
    for name in OutputFolder.names(in: directory) where name.hasSuffix(".safetensors") || others.contains(name) {
      if becomesSecond, name == BottleneckMethod.headName { continue }
      let isSecond = becomesSecond && name == BottleneckMethod.weightsName
      try FileManager.default.createSymbolicLink(
        atPath: "\(folder)/\(isSecond ? BottleneckMethod.secondWeightsName : name)",
        withDestinationPath: "\(path)/\(name)")
    }
    let json = becomesSecond ? source.asSecond : source.json
    try OutputFile.write(json.serialized(), to: "\(folder)/\(PEFTConfiguration.fileName)")
  }
}
