/// A repository of the hub and one of its revisions: `owner/name`, `datasets/owner/name`, each with `@revision`, or the
/// address of its page.
public struct RepositoryName: Sendable, Equatable {
  public enum Kind: String, Sendable, CaseIterable {
    case model, dataset

    /// In the addresses of the interface.
    var apiName: String { self == .model ? "models" : "datasets" }
    /// In front of the name in the addresses of pages and files.
    var pagePrefix: String { self == .model ? "" : "datasets/" }
  }

  /// What names no repository.
  public struct Invalid: Error, CustomStringConvertible {
    let text: String
    public var description: String {
      "\(text): no repository of the hub; expected owner/name, datasets/owner/name, either with @revision, "
        + "or the address of its page"
    }
  }

  public let kind: Kind
  /// `owner/name`; the oldest models have no owner.
  public let path: String
  public let revision: String

  /// The last part of the path.
  public var name: String { path.split(separator: "/").last.map(String.init) ?? path }
  /// What `fetch` takes.
  public var text: String { kind.pagePrefix + path + (revision == "main" ? "" : "@\(revision)") }

  /// - Parameter kind: what it is, unless the text says so itself
  public init(_ text: String, kind: Kind = .model) throws {
    var rest = Substring(text)
    let isAddress = rest.hasPrefix("https://") || rest.hasPrefix("http://")
    if isAddress {
      // https://HOST/owner/name/tree/revision?query
      rest = rest.drop { $0 != ":" }.dropFirst(3)
      guard let slash = rest.firstIndex(of: "/") else { throw Invalid(text: text) }
      rest = rest[rest.index(after: slash)...].prefix { $0 != "?" && $0 != "#" }
    } else if rest.hasPrefix("hf://") {
      rest = rest.dropFirst(5)
    }
    var revision = "main"
    if let at = rest.firstIndex(of: "@") {
      revision = String(rest[rest.index(after: at)...])
      rest = rest[..<at]
    }
    var parts = rest.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    while isAddress, parts.last == "" { parts.removeLast() }
    var kind = kind
    switch parts.first {
    case "datasets" where parts.count > 1: (kind, parts) = (.dataset, Array(parts.dropFirst()))
    case "models" where parts.count == 3: parts.removeFirst()
    default: break
    }
    if isAddress, parts.count > 3, parts[2] == "tree" {
      revision = parts[3...].joined(separator: "/").replacing("%2F", with: "/")
      parts = Array(parts[..<2])
    }
    guard (1...2).contains(parts.count), parts.allSatisfy(Self.isName), Self.isRevision(revision),
      !rest.hasPrefix("/"), isAddress || !rest.hasSuffix("/")
    else { throw Invalid(text: text) }
    (self.kind, self.path, self.revision) = (kind, parts.joined(separator: "/"), revision)
  }

  private static func isName(_ part: String) -> Bool {
    part.count <= 96 && part.first.map { $0 != "." && $0 != "-" } == true
      && part.utf8.allSatisfy { isPlain($0) }
  }

  /// A branch, a tag, a commit or `refs/pr/1`.
  private static func isRevision(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= 256 && !text.contains("..")
      && text.utf8.allSatisfy { isPlain($0) || "/+=".utf8.contains($0) }
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
      true
    default: false
    }
  }

  /// The repository that somebody means who writes it where a file or folder is expected: `owner/name` or the address of a
  /// page.
  public static func meant(by text: String) -> RepositoryName? {
    let isAddress = text.hasPrefix("https://") || text.hasPrefix("http://") || text.hasPrefix("hf://")
    guard let name = try? RepositoryName(text), name.path.contains("/") else { return nil }
    return isAddress || !text.hasPrefix(".") ? name : nil
  }
}

/// Text as a part of an address; `/` stays with `keepingSlashes`.
func percentEncoded(_ text: String, keepingSlashes: Bool) -> String {
  let digits = Array("0123456789ABCDEF")
  var result = ""
  for byte in text.utf8 {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "~"):
      result.unicodeScalars.append(Unicode.Scalar(byte))
    case UInt8(ascii: "/") where keepingSlashes: result += "/"
    default: result += "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
    }
  }
  return result
}
