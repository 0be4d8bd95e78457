import Formats
import FoundationEssentials

/// The model and the adapter that a command works with: those that are named, or those that are here.
enum ModelFinder {
  /// Where `train` puts an adapter unless told otherwise.
  private static let usualAdapter = "adapter"

  /// - Parameters:
  ///   - model: as given
  ///   - adapter: as given
  /// - Throws: `UsageError` where none is found, or several are
  static func find(model: String?, adapter: String?) throws -> (model: String, adapter: String?) {
    if let model { return (try checked(model), adapter) }
    let found = adapter ?? (isAdapter(usualAdapter) ? usualAdapter : nil)
    guard let found else { return (try onlyModelHere(), nil) }
    let base = try base(of: found) ?? onlyModelHere()
    if adapter == nil { Console.error("with the adapter in \(found) on \(base)") }
    return (base, found)
  }

  /// The only model in this folder.
  static func onlyModelHere() throws -> String {
    let names = ((try? FileManager.default.contentsOfDirectory(atPath: ".")) ?? []).sorted()
    let folders = (["."] + names).filter(isModel)
    guard folders.count == 1 else {
      throw UsageError(
        description: folders.isEmpty
          ? "no model here; name one with --model, or make one with edge-lora quantize"
          : "several models here (\(folders.joined(separator: ", "))); name one with --model")
    }
    return folders[0]
  }

  /// `path`, if it may be a model's folder.
  /// - Throws: `UsageError` with what to do where it cannot be
  static func checked(_ path: String) throws -> String {
    let manager = FileManager.default
    var isFolder = false
    if manager.fileExists(atPath: path, isDirectory: &isFolder) {
      guard !isFolder else { return path }
      guard let kind = [".safetensors", ".gguf"].first(where: { path.lowercased().hasSuffix($0) }) else {
        throw UsageError(description: "--model \(path) is a file; name the folder of a model")
      }
      let name = (path.split(separator: "/").last.map(String.init) ?? path).dropLast(kind.count)
      throw UsageError(
        description: "--model \(path) is a file; edge-lora quantize \(path) -o \(name) makes a folder to name here")
    }
    if path.contains("://") {
      throw UsageError(
        description: "--model \(path) is an address; edge-lora fetch OWNER/NAME gets a model, then name its folder")
    }
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    if parts.count == 2, parts.allSatisfy({ !$0.isEmpty }), !manager.fileExists(atPath: String(parts[0])) {
      throw UsageError(
        description: "--model \(path): no such folder; for the model of this name on the hub: edge-lora fetch \(path)")
    }
    try MissingPath.checkModel(path)
    return path
  }

  private static func isModel(_ folder: String) -> Bool {
    let here = FileManager.default
    return here.fileExists(atPath: "\(folder)/config.json")
      && (here.fileExists(atPath: "\(folder)/model.safetensors")
        || here.fileExists(atPath: "\(folder)/model.safetensors.index.json"))
  }

  private static func isAdapter(_ folder: String) -> Bool {
    FileManager.default.fileExists(atPath: "\(folder)/adapter_config.json")
      && ["adapter_model.safetensors", "adapter.safetensors"].contains {
        FileManager.default.fileExists(atPath: "\(folder)/\($0)")
      }
  }

  /// The model that an adapter's files name, if it is a folder here.
  private static func base(of adapter: String) throws -> String? {
    let path = "\(adapter)/adapter_config.json"
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    let json = try JSONValue.parse(contentsOf: path)
    let name = json["base_model_name_or_path"]?.stringValue ?? json["model_name"]?.stringValue
    return name.flatMap { isModel($0) ? $0 : nil }
  }
}
