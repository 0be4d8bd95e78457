import Formats
import FoundationEssentials

/// What is known of a base model that a card names.
package struct BaseFacts {
  /// `OWNER/NAME`, where it is one on the hub.
  package private(set) var hubName: String?
  /// What people call it.
  package let shownName: String
  /// The hub's identifier of its licence, if its own card says it.
  package let licence: String?

  /// - Parameters:
  ///   - name: what the adapter calls it: a name on the hub or a path
  ///   - directory: where it lies
  package init(name: String?, directory: String?) {
    // A GGUF LoRA names none.
    let name = name == "" ? nil : name
    let folder = directory ?? name ?? ""
    let stated = (try? JSONValue.parse(contentsOf: "\(folder)/config.json"))?["_name_or_path"]?.stringValue
    let isFolder = name.map { FileManager.default.fileExists(atPath: $0) } ?? true
    hubName = [isFolder ? nil : name, stated, Self.cached(folder)].compactMap { $0 }.first(where: Self.isHubName)
    let last = RunFacts.lastPart(hubName ?? name ?? folder)
    shownName = last.isEmpty ? "base model" : last
    licence = Self.licence(of: folder)
  }

  /// The name that a folder of the hub's cache stands for: `models--OWNER--NAME/snapshots/...`.
  private static func cached(_ path: String) -> String? {
    guard let folder = path.split(separator: "/").first(where: { $0.hasPrefix("models--") }) else { return nil }
    return folder.dropFirst("models--".count).split(separator: "--", maxSplits: 1).joined(separator: "/")
  }

  /// Whether a text can be `OWNER/NAME`.
  package static func isHubName(_ text: String) -> Bool {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    return parts.count == 2
      && parts.allSatisfy { part in
        guard let first = part.utf8.first, part.utf8.count <= 96, first != UInt8(ascii: "."), first != UInt8(ascii: "-")
        else { return false }
        return part.utf8.allSatisfy { byte in
          (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
            || Array("-_.".utf8).contains(byte)
        }
      }
  }

  /// The line of the front matter of a model's `README.md`.
  private static func licence(of folder: String) -> String? {
    guard let file = try? MappedFile(path: "\(folder)/README.md") else { return nil }
    let text = withExtendedLifetime(file) { String(decoding: file.bytes.prefix(1 << 16), as: UTF8.self) }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard lines.first == "---" else { return nil }
    for line in lines.dropFirst() {
      if line == "---" { return nil }
      guard line.hasPrefix("license:") else { continue }
      let value = line.dropFirst("license:".count).filter { !$0.isWhitespace && $0 != "\"" && $0 != "'" }
      let isPlain = value.utf8.allSatisfy {
        $0 == 0x2D || $0 == 0x2E || (0x30...0x39).contains($0) || (0x61...0x7A).contains($0)
      }
      return isPlain && !value.isEmpty ? String(value) : nil
    }
    return nil
  }
}
