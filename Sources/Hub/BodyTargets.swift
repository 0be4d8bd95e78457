import Formats
import Glibc

/// A body that can come in several requests.
protocol ResumableTarget: BodyTarget {
  /// Bytes that are there: the first one to ask for.
  var byteCount: Int { get }
  /// Whether nothing more is wanted.
  var isComplete: Bool { get }
  /// Whether no further request will help.
  var hasFailed: Bool { get }
  /// Forgets what has come.
  func restart() throws
}

/// An answer of the interface, in memory: small, and asked for as a whole.
final class MemoryBody: ResumableTarget {
  private(set) var bytes: [UInt8] = []
  private let limit: Int
  private(set) var hasFailed = false
  let byteCount = 0
  let isComplete = false

  init(limit: Int) { self.limit = limit }

  func take(_ piece: UnsafeRawBufferPointer, head: ResponseHead) -> Bool {
    if head.isNewAnswer { bytes = [] }
    guard bytes.count + piece.count <= limit else {
      hasFailed = true
      return false
    }
    bytes.append(contentsOf: piece)
    return true
  }

  func restart() { bytes = [] }
}

/// A file that is coming, with the digest of what is there.
final class FilePart: ResumableTarget {
  private let path: String
  private let file: HubFile
  private let descriptor: Int32
  private let progress: (Int) -> Void
  private var hash: HubDigest
  private(set) var byteCount = 0
  private(set) var isTooLong = false
  /// What the disk refused.
  private(set) var failure: (any Error)?

  var isComplete: Bool { byteCount == file.byteCount }
  var hasFailed: Bool { failure != nil || isTooLong }

  /// Goes on with what an earlier start has left.
  init(path: String, file: HubFile, progress: @escaping (Int) -> Void) throws {
    self.path = path
    self.file = file
    self.progress = progress
    hash = HubDigest(of: file)
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard descriptor >= 0 else { throw FileError.cannotWrite(file: path, reason: .system) }
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while byteCount <= file.byteCount {
      let count = buffer.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      buffer.withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0.prefix(count))) }
      byteCount += count
    }
    if byteCount > file.byteCount { try restart() }
  }

  deinit { close(descriptor) }

  func restart() throws {
    guard ftruncate(descriptor, 0) == 0, lseek(descriptor, 0, SEEK_SET) == 0 else {
      throw FileError.writingFailed(file: path, reason: .system)
    }
    byteCount = 0
    hash = HubDigest(of: file)
  }

  func take(_ piece: UnsafeRawBufferPointer, head: ResponseHead) -> Bool {
    do {
      return try place(piece, head)
    } catch {
      failure = error
      return false
    }
  }

  /// - Returns: whether to go on
  private func place(_ piece: UnsafeRawBufferPointer, _ head: ResponseHead) throws -> Bool {
    if head.isNewAnswer {
      // Whoever does not know ranges sends all again; whoever does says where it begins.
      let start = head.status == 206 ? head.rangeStart ?? -1 : 0
      if start != byteCount {
        try restart()
        // Another range than was asked for: once more, from the start.
        guard start == 0 else { return false }
      }
    }
    guard byteCount + piece.count <= file.byteCount else {
      isTooLong = true
      return false
    }
    var rest = piece[...]
    while !rest.isEmpty {
      let part = UnsafeRawBufferPointer(rebasing: rest)
      let count = write(descriptor, part.baseAddress, part.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw FileError.writingFailed(file: path, reason: .system)
      }
      rest = rest.dropFirst(count)
    }
    hash.update(piece)
    byteCount += piece.count
    progress(byteCount)
    return true
  }

  /// Waits until the file is on the disk.
  func finish() throws {
    guard fsync(descriptor) == 0 else {
      throw FileError.writingFailed(file: path, reason: .system)
    }
  }

  func digest() -> HubFile.Digest { hash.finish() }
}
