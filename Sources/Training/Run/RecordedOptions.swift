import Formats

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
    let kept = TrainingOptions.withAbsolutePaths(all.filter { !ofTheCall.contains($0.key) })
    let entries = kept.sorted { $0.key < $1.key }.map { name, words in
      (name, JSONValue.array(words.map { .string($0) }))
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
}

extension TrainingOptions {
  /// Options whose files and folders are found from wherever the program is started.
  ///
  /// - Parameter given: words by option name
  public static func withAbsolutePaths(_ given: [String: [String]]) -> [String: [String]] {
    let paths = declarations.filter { option in
      ["FILE", "DIR"].contains { option.placeholder?.hasPrefix($0) ?? false }
    }
    var all = given
    for option in paths {
      // "-" is standard input, "auto" no file.
      all[option.name] = given[option.name]?.map { ["-", "auto"].contains($0) ? $0 : AbsolutePath.of($0) }
    }
    return all
  }

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
