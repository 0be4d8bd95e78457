import Formats
import Glibc

/// Where the hub is, and who asks.
public struct HubAddress: Sendable {
  /// Without a slash at the end.
  public let base: String
  public let token: String?

  /// What the environment holds and cannot be used.
  public struct Invalid: Error, CustomStringConvertible {
    public let description: String
  }

  public init(base: String = "https://huggingface.co", token: String? = nil) throws {
    var base = base
    while base.hasSuffix("/") { base.removeLast() }
    guard base.hasPrefix("https://") || base.hasPrefix("http://"), base.unicodeScalars.allSatisfy({ $0.value > 0x20 })
    else { throw Invalid(description: "HF_ENDPOINT=\(base): expected an address that begins with https:// or http://") }
    let token = token.map { String($0.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed()) }
    if let token, !token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) {
      throw Invalid(description: "HF_TOKEN: has characters that no token has")
    }
    self.base = base
    self.token = token?.isEmpty == false ? token : nil
  }

  /// By `HF_ENDPOINT` and `HF_TOKEN`; a token that was stored by a login is found too.
  public static func fromEnvironment() throws -> HubAddress {
    func variable(_ name: String) -> String? {
      getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
    let home = variable("HOME").map { $0 + "/.cache" }
    let folder =
      variable("HF_HOME") ?? (variable("XDG_CACHE_HOME") ?? home).map { $0 + "/huggingface" }
    let file = variable("HF_TOKEN_PATH") ?? folder.map { $0 + "/token" }
    let stored = file.flatMap { try? MappedFile(path: $0) }.map {
      String(decoding: $0.bytes.prefix(1024), as: UTF8.self)
    }
    return try HubAddress(
      base: variable("HF_ENDPOINT") ?? "https://huggingface.co", token: variable("HF_TOKEN") ?? stored)
  }

  /// The page of a repository.
  func page(_ repository: RepositoryName) -> String { "\(base)/\(repository.kind.pagePrefix)\(repository.path)" }

  func fileAddress(_ repository: RepositoryName, commit: String, path: String) -> String {
    "\(page(repository))/resolve/\(commit)/\(percentEncoded(path, keepingSlashes: true))"
  }

  func api(_ repository: RepositoryName, _ rest: String) -> String {
    "\(base)/api/\(repository.kind.apiName)/\(repository.path)/\(rest)"
  }
}

/// What the hub's interface says of a repository.
struct HubListing {
  let repository: RepositoryName
  let hub: HubAddress
  let request: (_ url: String, _ target: any ResumableTarget, _ what: String) throws -> ResponseHead?

  private static let mostFiles = 100_000

  /// The commit that the revision stands for now, so that all files are of one.
  func commit() throws -> String {
    let revision = percentEncoded(repository.revision, keepingSlashes: false)
    let (json, _) = try answer(hub.api(repository, "revision/\(revision)"))
    guard let commit = json["sha"]?.stringValue, commit.utf8.count == 40,
      commit.utf8.allSatisfy({ "0123456789abcdef".utf8.contains($0) })
    else { throw HubError.unusableList(repository: repository.text, reason: "it names no commit") }
    return commit
  }

  func files(commit: String) throws -> [HubFile] {
    var files: [HubFile] = []
    var next: String? = hub.api(repository, "tree/\(commit)?recursive=true")
    while let url = next {
      let (json, head) = try answer(url)
      files += try HubFile.list(json, repository: repository.text)
      next = head?.nextPage
      guard files.count <= Self.mostFiles, next != url else {
        throw HubError.unusableList(repository: repository.text, reason: "the list of files does not end")
      }
    }
    guard Set(files.map(\.path)).count == files.count else {
      throw HubError.unusableList(repository: repository.text, reason: "a file is listed twice")
    }
    return files
  }

  private func answer(_ url: String) throws -> (JSONValue, ResponseHead?) {
    let body = MemoryBody(limit: 32 << 20)
    let head = try request(url, body, repository.text)
    guard !body.hasFailed else {
      throw HubError.unusableList(repository: repository.text, reason: "it is longer than 32 MB")
    }
    do {
      return (try body.bytes.withUnsafeBytes { try JSONValue.parse($0, file: url) }, head)
    } catch {
      throw HubError.unusableList(repository: repository.text, reason: "\(error)")
    }
  }
}

/// What a refusal of the hub means.
enum HubFailure {
  static func error(
    _ head: ResponseHead, message: String, repository: RepositoryName, hub: HubAddress, what: String
  ) -> HubError {
    let code = head.fields["x-error-code"] ?? ""
    switch (head.status, code) {
    case (_, "GatedRepo"), (403, _):
      return .noAccess(
        repository: repository.text,
        reason: "access is limited: agree to its conditions at \(hub.page(repository)), then set HF_TOKEN to a token "
          + "that may read it" + (hub.token == nil ? "" : " (the present one may not)"))
    case (404, "RevisionNotFound"):
      return .notFound(repository: repository.text, advice: "there is no revision \(repository.revision)")
    case (404, "EntryNotFound"):
      return .notFound(repository: repository.text, advice: "it has no file \(what) any more; fetch again")
    case (401, _), (404, _):
      let other =
        repository.kind == .model
        ? "a data set is fetched as datasets/\(repository.path)" : "a model as \(repository.path)"
      let access = hub.token == nil ? "if it is private, set HF_TOKEN" : "or HF_TOKEN may not read it"
      return .notFound(repository: repository.text, advice: "check the name (\(other)); \(access)")
    default:
      let detail = (head.fields["x-error-message"] ?? message).prefix(200).filter { !$0.isNewline }
      return .transfer(what: what, reason: "the server answers \(head.status)\(detail.isEmpty ? "" : ": \(detail)")")
    }
  }
}
