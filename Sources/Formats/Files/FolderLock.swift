#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A lock that one process holds on a folder or an output, so that a second run with the same output is refused.
///
/// It is `flock` on a small file, which says who holds it. The kernel frees it when the process ends, however it ends:
/// a file that a killed process left is no lock. A file system without locks (some network shares) gives a lock that
/// `isEffective` is false of.
public final class FolderLock {
  /// Another process has it.
  public struct Held: Error, CustomStringConvertible {
    /// What is locked.
    public let path: String
    /// What the holder wrote into the lock, such as `process 123: train`; empty when it cannot be read.
    public let holder: String

    public var description: String {
      "\(path): in use by \(holder.isEmpty ? "another process" : holder); wait until it has ended, or name another output"
    }
  }

  /// The file of the lock.
  public let file: String
  /// Whether the file system really locks.
  public let isEffective: Bool
  private let descriptor: Int32

  /// Locks a folder that exists.
  ///
  /// - Parameters:
  ///   - name: name of the file in the folder
  ///   - purpose: what the holder does, for the message of the other one
  /// - Throws: `Held`; `FileError.cannotWrite` when there can be no such file
  public convenience init(folder: String, name: String = ".lock", purpose: String) throws {
    let folder = PathText.trimmed(folder)
    try self.init(path: folder, file: "\(folder)/\(name)", purpose: purpose)
  }

  /// Locks the name of an output that need not exist yet, by a file beside it.
  public convenience init(output path: String, purpose: String) throws {
    let path = PathText.trimmed(path)
    try self.init(path: path, file: "\(PathText.folder(path))/.\(PathText.name(path)).lock", purpose: purpose)
  }

  private init(path: String, file: String, purpose: String) throws {
    self.file = file
    while true {
      let descriptor = System.retrying { open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644) }
      guard descriptor >= 0 else { throw FileError.cannotWrite(file: file, reason: .system) }
      if System.retrying({ flock(descriptor, LOCK_EX | LOCK_NB) }) != 0 {
        let code = errno
        defer { close(descriptor) }
        guard [ENOLCK, ENOTSUP, ENOSYS].contains(code) else {
          if code == EWOULDBLOCK { throw Held(path: path, holder: Self.text(descriptor)) }
          throw FileError.cannotWrite(file: file, reason: .system("cannot be locked"))
        }
        isEffective = false
        self.descriptor = -1
        return
      }
      // The holder before may have removed the file between the two calls: then this one is not what others will find.
      var opened = stat()
      var named = stat()
      if fstat(descriptor, &opened) == 0, stat(file, &named) == 0, opened.st_ino == named.st_ino,
        opened.st_dev == named.st_dev
      {
        self.descriptor = descriptor
        break
      }
      close(descriptor)
    }
    isEffective = true
    // Only for the message of another process: a full disk must not keep the lock from being one.
    let text = Array("process \(getpid()): \(purpose)".utf8)
    if ftruncate(descriptor, 0) == 0 { _ = text.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) } }
  }

  private static func text(_ descriptor: Int32) -> String {
    var bytes = [UInt8](repeating: 0, count: 256)
    let count = pread(descriptor, &bytes, bytes.count, 0)
    return String(decoding: bytes.prefix(max(count, 0)).map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
  }

  deinit {
    guard descriptor >= 0 else { return }
    // Removed while it is held, so that no other process can hold a file of that name meanwhile.
    unlink(file)
    close(descriptor)
  }
}
