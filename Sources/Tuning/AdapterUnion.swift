import Formats
import FoundationEssentials

/// A folder with two adapters that work together: a bottleneck of AdapterHub's and one of PEFT's. Their weights have names of
/// their own, and one `adapter_config.json` has the keys of both, so that each library finds its half.
public enum AdapterUnion {
  /// Whether a folder's `adapter_config.json` is one of two.
  static func isOne(_ json: JSONValue) -> Bool { AdapterHubConfiguration.isOne(json) && json["peft_type"] != nil }

  /// Writes the configuration of two adapters as one.
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

  /// Makes a folder that stands for the adapters of two others, whose files it points to.
  ///
  /// - Parameter folder: exists, and is empty
  /// - Throws: `AdapterError` for adapters that are not a bottleneck and one of PEFT's
  public static func link(_ adapters: [WeightedAdapter], in folder: String) throws {
    let directories = adapters.map(\.directory)
    let configurations = try directories.map {
      try JSONValue.parse(contentsOf: "\($0)/\(PEFTConfiguration.fileName)")
    }
    guard directories.count == 2, configurations.count(where: AdapterHubConfiguration.isOne) == 1,
      !configurations.contains(where: isOne)
    else {
      throw AdapterError.unsuitableModel(
        "\(directories.joined(separator: ", ")): LoRA adapters can be used together, and a bottleneck with one adapter of "
          + "another method; no others")
    }
    if let weighted = adapters.first(where: { $0.weight != 1 }) {
      throw AdapterError.unsuitableModel("\(weighted.directory): only sums of LoRA adapters have weights")
    }
    try join(
      zip(directories, configurations).map { directory, configuration in
        {
          let source = AbsolutePath.of(directory)
          // A head is the bottleneck's.
          let others = AdapterHubConfiguration.isOne(configuration) ? ["config.json", AdapterHubHead.fileName] : []
          for name in OutputFolder.names(in: directory) where name.hasSuffix(".safetensors") || others.contains(name) {
            try FileManager.default.createSymbolicLink(
              atPath: "\(folder)/\(name)", withDestinationPath: "\(source)/\(name)")
          }
          try OutputFile.write(configuration.serialized(), to: "\(folder)/\(PEFTConfiguration.fileName)")
        }
      }, in: folder)
  }
}
