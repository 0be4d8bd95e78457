#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file that goes on growing by records, each written whole or not at all.
public final class GrowingFile {
  public let path: String
  private let descriptor: Int32
  private var byteCount: Int

  /// - Parameter path: of a file that is there; records are written behind what it holds
  /// - Throws: `FileError`
  public init(path: String) throws {
    self.path = path
    descriptor = System.retrying { open(path, O_WRONLY | O_APPEND | O_CLOEXEC) }
    guard descriptor >= 0 else { throw FileError.cannotWrite(file: path, reason: .system) }
    byteCount = Int(lseek(descriptor, 0, SEEK_END))
  }

  deinit { close(descriptor) }

  /// - Throws: `FileError`; the file then ends with the record before, and the same record can be written again
  public func append(_ record: [UInt8]) throws {
    var done = 0
    while done < record.count {
      let count = record.withUnsafeBytes { write(descriptor, $0.baseAddress.map { $0 + done }, record.count - done) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let reason = FileError.Reason.system
        ftruncate(descriptor, off_t(byteCount))
        throw FileError.writingFailed(file: path, reason: reason)
      }
      done += count
    }
    byteCount += record.count
  }

  /// Waits until all that was written is on the disk.
  public func synchronize() throws {
    guard fsync(descriptor) == 0 || errno == EINVAL else {
      throw FileError.writingFailed(file: path, reason: .system("cannot be synced"))
    }
  }
}
