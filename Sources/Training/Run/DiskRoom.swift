import CGlibc
import Formats
import FoundationEssentials
import Glibc
import Options

/// What a run does when the disk is full.
public enum FullDiskPolicy: String, Sendable, CaseIterable {
  /// It waits until there is room again.
  case wait
  /// It ends with a checkpoint, in the room that is held for it.
  case stop
}

/// Room on the disk that a run will need, held by a file of that size.
final class DiskRoom {
  private let path: String
  private var descriptor: Int32 = -1

  private static let name = ".room"

  /// - Parameters:
  ///   - directory: output of the run
  ///   - held: bytes to hold for the end of the run
  ///   - needed: bytes that the run takes before it comes to them
  /// - Throws: `FileError.cannotWrite` when both together are not free
  init(in directory: String, held: Int, needed: Int) throws {
    path = "\(directory)/\(Self.name)"
    unlink(path)
    if let free = FreeSpace.byteCount(of: directory) {
      guard free >= held + needed else {
        throw FileError.cannotWrite(
          file: directory,
          reason: """
            the run will need \(Self.text(held + needed)) of the disk, and \(Self.text(free)) are free; \
            make room, or name another --output
            """)
      }
    }
    descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    // A file system that cannot reserve blocks holds nothing; the check has been made all the same.
    if descriptor >= 0, fallocate(descriptor, 0, 0, off_t(held)) != 0 { release() }
  }

  deinit { release() }

  private static func text(_ byteCount: Int) -> String { "\((byteCount + (1 << 20) - 1) >> 20) MiB" }

  /// Gives the room to whoever writes next.
  func release() {
    guard descriptor >= 0 else { return }
    close(descriptor)
    unlink(path)
    descriptor = -1
  }

  /// Whether an error says that the disk, or the user's share of it, is full.
  static func isExhausted(_ error: any Error) -> Bool {
    switch error {
    case FileError.cannotWrite(_, let reason), FileError.writingFailed(_, let reason):
      reason.code == ENOSPC || reason.code == EDQUOT
    default: false
    }
  }

  /// Does `work`, again and again while the disk is full.
  ///
  /// - Parameters:
  ///   - policy: `stop` hands on the first error
  ///   - isInterrupted: ends the waiting: `work` is done a last time, in the room that was held
  ///   - warn: gets a line when the waiting begins
  func waiting(
    _ policy: FullDiskPolicy, isInterrupted: () -> Bool, warn: (String) -> Void, _ work: () throws -> Void
  ) throws {
    var hasWarned = false
    while true {
      do {
        return try work()
      } catch  where policy == .wait && Self.isExhausted(error) {
        if !hasWarned {
          warn(
            "warning: \(error)\n         the last good checkpoint stays; waiting for room "
              + "(--on-disk-full stop would end the run)")
        }
        hasWarned = true
      }
      for _ in 0..<20 where !isInterrupted() { usleep(100_000) }
      if isInterrupted() {
        release()
        return try work()
      }
    }
  }
}
