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
  /// - Parameter folder: exists, and is empty
  /// - Throws: `AdapterError` for adapters that are not bottlenecks and one of PEFT's, of each kind one
  public static func link(_ adapters: [WeightedAdapter], in folder: String) throws {
    let sources = try adapters.map { try Source($0.directory) }
    func has(_ place: Place) -> Int { sources.count { $0.places.contains(place) } }
    guard sources.count > 1, Place.allCases.allSatisfy({ has($0) <= 1 }), has(.serial) + has(.parallel) > 0 else {
      throw AdapterError.unsuitableModel(
        "\(adapters.map(\.directory).joined(separator: ", ")): LoRA adapters can be used together, and so can a serial "
          + "bottleneck, a parallel one and one adapter of another method; no others")
    }
    if let weighted = adapters.first(where: { $0.weight != 1 }) {
      throw AdapterError.unsuitableModel("\(weighted.directory): only sums of LoRA adapters have weights")
    }
    var links: [() throws -> Void] = []
    for source in sources {
      let isParallelAlone = source.places.contains(.parallel) && !source.places.contains(.serial)
      let becomesSecond = isParallelAlone && has(.serial) > 0
      links.append { try link(source, becomesSecond: becomesSecond, in: folder) }
    }
    try join(links, in: folder)
  }

  /// Points to a folder's files, and writes its configuration.
  private static func link(_ source: Source, becomesSecond: Bool, in folder: String) throws {
    let directory = source.directory
    let path = AbsolutePath.of(directory)
    // A head is that of the first bottleneck.
    let hasHead = !becomesSecond && AdapterHubConfiguration.isOne(source.json)
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
