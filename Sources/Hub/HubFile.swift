import Formats

/// A file of a repository as the hub lists it.
public struct HubFile: Sendable, Equatable {
  /// What names the content.
  public enum Digest: Sendable, Equatable {
    /// Of large files, which Git only refers to.
    case sha256(String)
    /// Of files in Git itself: SHA-1 of `blob`, the size, a zero byte and the content.
    case gitBlob(String)
  }

  /// In the repository, with `/`.
  public let path: String
  public let byteCount: Int
  public let digest: Digest

  public init(path: String, byteCount: Int, digest: Digest) {
    (self.path, self.byteCount, self.digest) = (path, byteCount, digest)
  }

  /// The files of one page of the list of a repository's tree; folders are passed over.
  /// - Throws: `HubError`
  public static func list(_ json: JSONValue, repository: String) throws -> [HubFile] {
    guard let entries = json.arrayValue else {
      throw HubError.unusableList(repository: repository, reason: "the list of files is no array")
    }
    return try entries.compactMap { entry in
      guard entry["type"]?.stringValue != "directory" else { return nil }
      guard let path = entry["path"]?.stringValue else {
        throw HubError.unusableList(repository: repository, reason: "a file has no path")
      }
      guard isSafe(path) else { throw HubError.unsafePath(repository: repository, path: quoted(path)) }
      let large = entry["lfs"]?.objectValue
      let name = large.map { ($0["oid"] ?? $0["sha256"])?.stringValue } ?? entry["oid"]?.stringValue
      let digits = large == nil ? 40 : 64
      guard let size = (large?["size"] ?? entry["size"])?.intValue, size >= 0, size < 1 << 48, let name,
        name.utf8.count == digits, name.utf8.allSatisfy({ "0123456789abcdef".utf8.contains($0) })
      else {
        throw HubError.unusableList(repository: repository, reason: "\(path) has no size or no digest")
      }
      return HubFile(path: path, byteCount: size, digest: large == nil ? .gitBlob(name) : .sha256(name))
    }
  }

  /// Whether a path stays inside the folder that it is relative to.
  static func isSafe(_ path: String) -> Bool {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    return !path.isEmpty && path.utf8.count < 1024 && path.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0 != "\\" }
      && parts.allSatisfy { !["", ".", ".."].contains($0) && !$0.hasSuffix(RepositoryFetch.unfinished) }
  }

  private static func quoted(_ path: String) -> String { JSONValue.string(String(path.prefix(200))).serialized() }
}

/// Computes the digest by which the hub knows a file.
struct HubDigest {
  private let isLarge: Bool
  private var sha256 = SHA256()
  private var sha1 = SHA1()

  init(of file: HubFile) {
    if case .sha256 = file.digest { isLarge = true } else { isLarge = false }
    guard !isLarge else { return }
    Array("blob \(file.byteCount)\0".utf8).withUnsafeBytes { sha1.update($0) }
  }

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    if isLarge { sha256.update(bytes) } else { sha1.update(bytes) }
  }

  mutating func finish() -> HubFile.Digest {
    isLarge ? .sha256(sha256.finish()) : .gitBlob(sha1.finish())
  }
}
