import Formats
import FoundationEssentials

/// The options that a run was given, as `run.json` keeps them: `--resume` alone goes on with them.
enum RecordedOptions {
  /// Options of this call and not of the run.
  private static let ofTheCall: Set<String> = ["resume", "force", "json", "output"]
  static let key = "options"

  /// What to keep: every option that was given, with the model and the data as they were found, and paths that do not
  /// depend on where the program was started.
  static func json(_ given: [String: [String]], model: String, files: [String]) -> JSONValue {
    var all = given
    all["model"] = [model]
    all["data"] = files
    let entries = all.filter { !ofTheCall.contains($0.key) }.sorted { $0.key < $1.key }.map { name, words in
      (name, JSONValue.array(words.map { .string(isPath(name) ? absolute($0) : $0) }))
    }
    return .object(JSONObject(entries))
  }

  /// - Returns: by option name; empty where there is no record, or an older one
  static func read(_ folder: String) -> [String: [String]] {
    guard let json = try? SealedJSON.read("\(folder)/\(RunFolder.recordName)"), let object = json[key]?.objectValue
    else { return [:] }
    var given: [String: [String]] = [:]
    for (name, value) in object.entries where TrainingOptions.declarations.contains(where: { $0.name == name }) {
      given[name] = value.arrayValue?.compactMap(\.stringValue) ?? []
    }
    return given
  }

  private static func isPath(_ name: String) -> Bool {
    let placeholder = TrainingOptions.declarations.first { $0.name == name }?.placeholder ?? ""
    return placeholder.hasPrefix("FILE") || placeholder == "DIR"
  }

  private static func absolute(_ path: String) -> String {
    if path == "-" || path == "auto" || path.hasPrefix("/") { return path }
    return FileManager.default.currentDirectoryPath + "/" + path
  }
}

extension TrainingOptions {
  /// What the run in `folder` was given, behind what is given now.
  ///
  /// - Parameter given: by option name
  public static func resuming(_ folder: String, _ given: [String: [String]]) -> [String: [String]] {
    // Of two options for one thing the one that is given anew counts.
    let rivals = [["epochs", "max-steps"], ["eval-data", "eval-split"], ["eval-steps", "eval-strategy"]]
    let recorded = RecordedOptions.read(folder).filter { name, _ in
      !rivals.contains { $0.contains(name) && $0.contains { $0 != name && given[$0] != nil } }
    }
    return recorded.merging(given) { _, now in now }
  }
}
