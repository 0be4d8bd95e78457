import Formats
import Glibc

/// Brings files of a repository into a folder that appears whole or not at all.
///
/// They are collected in `OUTPUT.partial`, each under its name once its digest is right, before that with the end
/// `.unfinished`. So a second start goes on where the first one ended, also in the middle of a file, and trusts nothing that
/// it has not computed the digest of.
public final class RepositoryFetch {
  static let unfinished = ".unfinished"
  /// Attempts without a byte in between before a request is given up.
  private static let mostAttempts = 6

  /// What the caller hears of.
  public enum Event {
    /// What will be fetched, in all.
    case chosen(files: Int, byteCount: Int, commit: String)
    /// Bytes of all files that are there.
    case progress(done: Int, of: Int, file: String)
    /// The file is there and right; `isOld`: it was before.
    case finished(HubFile, isOld: Bool)
    case retrying(reason: String, seconds: Double)
  }

  public let hub: HubAddress
  public let repository: RepositoryName
  private let client: HTTPClient
  private let shouldStop: () -> Bool
  private let report: (Event) -> Void

  /// - Parameters:
  ///   - shouldStop: is asked about once a second, and for every piece that comes
  public init(
    _ repository: RepositoryName, from hub: HubAddress, userAgent: String, shouldStop: @escaping () -> Bool,
    report: @escaping (Event) -> Void
  ) throws {
    self.hub = hub
    self.repository = repository
    self.shouldStop = shouldStop
    self.report = report
    client = try HTTPClient(userAgent: userAgent, shouldStop: shouldStop)
  }

  /// Fetches what `wishes` choose, or what a model or data set needs.
  ///
  /// - Returns: the files, in the order of the repository
  /// - Throws: `HubError`, `FileError`, `FolderLock.Held`
  @discardableResult
  public func run(wishes: [String] = [], to path: String, force: Bool) throws -> [HubFile] {
    let target = try AtomicOutput(path: path, force: force)
    try OutputFolder.create(OutputFolder.above(target.path))
    let lock = try FolderLock(output: target.path, purpose: "fetch")
    let listing = HubListing(repository: repository, hub: hub) { [self] in try request($0, into: $1, what: $2) }
    let commit = try listing.commit()
    let files = try FileSelection.choose(from: try listing.files(commit: commit), of: repository, wishes: wishes)
    let byteCount = files.reduce(0) { $0 + $1.byteCount }
    report(.chosen(files: files.count, byteCount: byteCount, commit: commit))

    let partial = target.path + ".partial"
    try OutputFolder.create(partial)
    removeOthers(than: files, in: partial)
    var done = 0
    var missing: [HubFile] = []
    for file in files {
      if try isThere(file, in: partial) {
        done += file.byteCount
        report(.finished(file, isOld: true))
      } else {
        missing.append(file)
      }
    }
    try checkRoom(for: missing, in: partial)
    for file in missing {
      try fetch(file, commit: commit, into: partial) { [report] bytes in
        report(.progress(done: done + bytes, of: byteCount, file: file.path))
      }
      done += file.byteCount
      report(.finished(file, isOld: false))
    }
    guard rename(partial, target.temporaryPath) == 0 else {
      throw FileError.cannotWrite(file: target.path, reason: .system)
    }
    try target.commit()
    return withExtendedLifetime(lock) { files }
  }

  // MARK: Files

  /// Takes away what an earlier start wanted and this one does not.
  private func removeOthers(than files: [HubFile], in folder: String) {
    let wanted = Set(files.flatMap { [$0.path, $0.path + Self.unfinished] })
    func clean(_ relative: String) {
      for name in OutputFolder.names(in: relative.isEmpty ? folder : "\(folder)/\(relative)") {
        let path = relative.isEmpty ? name : "\(relative)/\(name)"
        if wanted.contains(path) { continue }
        if case .directory? = try? PathKind("\(folder)/\(path)") { clean(path) } else { unlink("\(folder)/\(path)") }
      }
    }
    clean("")
  }

  private func isThere(_ file: HubFile, in folder: String) throws -> Bool {
    guard let found = try? MappedFile(path: "\(folder)/\(file.path)") else { return false }
    var digest = HubDigest(of: file)
    let isRight = found.byteCount == file.byteCount && Self.add(found, to: &digest) && digest.finish() == file.digest
    if !isRight { unlink("\(folder)/\(file.path)") }
    return isRight
  }

  /// Adds a file's bytes, whose pages do not stay in memory.
  private static func add(_ file: MappedFile, to digest: inout HubDigest) -> Bool {
    let piece = 8 << 20
    for start in stride(from: 0, to: file.byteCount, by: piece) {
      let count = min(piece, file.byteCount - start)
      digest.update(UnsafeRawBufferPointer(rebasing: file.bytes[start..<start + count]))
      file.dropPages(offset: start, count: count)
    }
    return true
  }

  private func checkRoom(for files: [HubFile], in folder: String) throws {
    guard let free = FreeSpace.byteCount(of: folder) else { return }
    let needed = files.reduce(0) { sum, file in
      var there = stat()
      let has = stat("\(folder)/\(file.path)\(Self.unfinished)", &there) == 0 ? Int(there.st_size) : 0
      return sum + max(0, file.byteCount - has)
    }
    guard needed < free else { throw HubError.noRoom(folder: OutputFolder.above(folder), needed: needed, free: free) }
  }

  private func fetch(
    _ file: HubFile, commit: String, into folder: String, progress: @escaping (Int) -> Void
  ) throws {
    let place = "\(folder)/\(file.path)"
    try OutputFolder.create(OutputFolder.above(place))
    let url = hub.fileAddress(repository, commit: commit, path: file.path)
    for isSecondTry in [false, true] {
      let part = try FilePart(path: place + Self.unfinished, file: file, progress: progress)
      let hadBytes = part.byteCount > 0
      let head = try request(url, into: part, what: file.path)
      if let error = part.failure { throw error }
      var problem: String?
      if part.byteCount != file.byteCount {
        problem = part.isTooLong ? "more bytes than expected came" : "\(part.byteCount) bytes came"
      } else {
        try part.finish()
        if case .sha256(let expected) = file.digest, let linked = head?.linkedETag, linked.utf8.count == 64,
          linked != expected
        {
          problem = "the file has changed meanwhile"
        } else if part.digest() != file.digest {
          problem = "the checksum is wrong"
        }
      }
      guard let problem else {
        guard rename(place + Self.unfinished, place) == 0 else {
          throw FileError.cannotWrite(file: place, reason: .system)
        }
        return
      }
      // What had come earlier may belong to another revision: once more from the start.
      unlink(place + Self.unfinished)
      guard hadBytes, !isSecondTry else {
        throw HubError.wrongContent(file: file.path, found: problem, expected: Self.expectation(file))
      }
    }
  }

  private static func expectation(_ file: HubFile) -> String {
    switch file.digest {
    case .sha256(let digits): "\(file.byteCount) bytes with SHA-256 \(digits)"
    case .gitBlob(let digits): "\(file.byteCount) bytes with Git's name \(digits)"
    }
  }

  // MARK: Requests

  /// Asks until the whole body has come, an answer is final, or too many attempts have brought nothing.
  ///
  /// - Returns: the head of the last answer; `nil` where nothing was left to ask for
  private func request(_ url: String, into target: any ResumableTarget, what: String) throws -> ResponseHead? {
    var attempt = 1
    while true {
      if target.isComplete { return nil }
      let before = target.byteCount
      let outcome = client.get(
        url, token: url.hasPrefix(hub.base + "/") ? hub.token : nil, from: target.byteCount, into: target)
      if target.hasFailed {
        if case .answered(let head, _) = outcome { return head }
        return nil
      }
      if target.byteCount > before { attempt = 1 }
      var reason: String
      var wait = 0.25 * Double(1 << attempt)
      switch outcome {
      case .stopped: throw HubError.stopped
      case .failed(let text): reason = text
      case .answered(let head, let message):
        switch head.status {
        case 200, 206: return head
        case 416 where target.byteCount > 0:
          reason = "the server has no byte \(target.byteCount)"
          try target.restart()
        case 408, 425, 429, 500...599:
          reason = head.status == 429 ? "the hub asks to wait" : "the server answers \(head.status)"
          if let asked = head.retryAfter { wait = min(max(asked, 0), 300) }
        default:
          throw HubFailure.error(head, message: message, repository: repository, hub: hub, what: what)
        }
      }
      guard attempt < Self.mostAttempts else { throw HubError.transfer(what: what, reason: reason) }
      attempt += 1
      report(.retrying(reason: "\(what): \(reason)", seconds: wait))
      try pause(wait)
    }
  }

  private func pause(_ seconds: Double) throws {
    for _ in 0..<Int((seconds * 10).rounded(.up)) {
      if shouldStop() { throw HubError.stopped }
      usleep(100_000)
    }
  }
}
