import Formats
import FoundationEssentials
import Options

/// Adapters that are given as `NAME=DIR`, or as a folder whose name is theirs, which may have an equals sign in it.
enum NamedAdapters {
  static func parse(_ words: [String]) throws -> [(name: String, path: String)] {
    var found: [(name: String, path: String)] = []
    for word in words {
      let isFolder = (try? PathKind(word)) != nil
      let parts = isFolder ? [word] : word.split(separator: "=", maxSplits: 1).map(String.init)
      let path = parts.count == 2 ? parts[1] : word
      let name = parts.count == 2 ? parts[0] : URL(fileURLWithPath: path).standardizedFileURL.lastPathComponent
      guard !found.contains(where: { $0.name == name }) else {
        throw OptionError("--adapter \(word): another adapter is called \(name); name it as in --adapter other=\(path)")
      }
      try MissingPath.checkAdapter(path)
      found.append((name, path))
    }
    return found
  }
}
