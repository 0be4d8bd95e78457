import Formats
import FoundationEssentials
import Hub
import Options
import Training

/// A file or folder that is named and is not there, with what may have been meant.
struct MissingPath: Error, CustomStringConvertible {
  let path: String
  let hint: String

  var description: String { "\(path): no such file or folder\n       \(hint)" }

  private static let dataEnds = [".jsonl", ".json", ".txt", ".csv", ".tsv", ".conll", ".bio", ".iob"]
  private static let fileEnds = [".gguf", ".safetensors"] + dataEnds

  /// Looks whether what the options name is there, before minutes go into other things.
  static func check(_ arguments: Arguments, of command: Command) throws {
    let models = ["quantize", "inspect", "verify"].contains(command.name) ? arguments.positional : []
    for path in models { try check(path, hub: .model) { "" } }
    for option in ["data", "eval-data", "sample-prompts"] {
      for path in arguments.values.given[option] ?? [] where path != "-" {
        try check(path, hub: .dataset) { near(path, "data") { name in dataEnds.contains { name.hasSuffix($0) } } }
      }
    }
    for path in arguments.values.given["init-adapter"] ?? [] { try checkAdapter(path) }
  }

  /// - Throws: `MissingPath` where `path` is not there
  static func checkAdapter(_ path: String) throws {
    guard !isThere(path) else { return try RunWithoutAdapter.check(path) }
    throw MissingPath(
      path: path, hint: near(path, "adapter") { isThere("\(folder(of: path))/\($0)/adapter_config.json") })
  }

  /// - Throws: `MissingPath` where `path` is not there
  static func checkModel(_ path: String) throws {
    guard !isThere(path) else { return }
    throw MissingPath(
      path: path, hint: near(path, "model") { isThere("\(folder(of: path))/\($0)/config.json") })
  }

  private static func isThere(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  /// - Parameter otherwise: what to say where it can be no name of the hub
  private static func check(_ path: String, hub kind: RepositoryName.Kind, otherwise: () -> String) throws {
    guard (try? PathKind(path)) == nil else { return }
    let isFile = fileEnds.contains { path.lowercased().hasSuffix($0) }
    if !isFile, let meant = RepositoryName.meant(by: path) {
      let prefix = meant.kind == .model && kind == .dataset ? "datasets/" : ""
      throw MissingPath(
        path: path, hint: "if it is a name of the Hugging Face hub: edge-lora fetch \(prefix)\(meant.text)")
    }
    let hint = otherwise()
    if !hint.isEmpty, !isThere(path) { throw MissingPath(path: path, hint: hint) }
  }

  private static func folder(of path: String) -> String {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
    return parts.isEmpty ? "." : parts == [""] ? "/" : parts.joined(separator: "/")
  }

  /// What there is of the kind in the same folder.
  private static func near(_ path: String, _ kind: String, _ fits: (String) -> Bool) -> String {
    let folder = folder(of: path)
    guard let all = try? FileManager.default.contentsOfDirectory(atPath: folder) else {
      return "there is no folder \(folder) either; is the path right?"
    }
    let place = folder == "." ? "this folder" : folder
    // What begins alike is meant most likely.
    let wanted = Array((path.split(separator: "/").last ?? "").utf8)
    func likeness(_ name: String) -> Int { zip(name.utf8, wanted).prefix { $0 == $1 }.count }
    let found = all.filter { !$0.hasPrefix(".") && fits($0) }.sorted()
    let best = found.map(likeness).max() ?? 0
    let names = found.filter { likeness($0) == best } + found.filter { likeness($0) != best }
    if names.isEmpty { return "\(place) has no \(kind); name the path from here, or the whole path" }
    return "\(place) has \(names.prefix(4).joined(separator: ", "))\(names.count > 4 ? ", ..." : "")"
  }
}

/// The folder of a run that has not come to its adapter.
struct RunWithoutAdapter: Error, CustomStringConvertible {
  let path: String
  let checkpoint: String

  var description: String {
    "\(path): the run has not ended and has no adapter yet\n       "
      + "edge-lora train --resume --output \(ShellWord.quoted(path)) ends it; \(checkpoint) is the adapter of its last "
      + "checkpoint"
  }

  /// - Throws: where `path` is such a folder
  static func check(_ path: String) throws {
    let names = OutputFolder.names(in: path)
    guard !names.contains(PEFTConfiguration.fileName) else { return }
    guard let last = TrainingCheckpoint.steps(in: path).last else { return }
    throw RunWithoutAdapter(path: path, checkpoint: "\(path)/\(TrainingCheckpoint.name(last))")
  }
}
