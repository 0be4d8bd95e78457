import FoundationEssentials
import Glibc

/// Something that could not be written to, or read from, a spill file.
public struct SpillError: Error, CustomStringConvertible {
  let directory: String
  let reason: String
  public var description: String {
    "\(directory): cannot keep layer inputs in a file: \(reason)\n"
      + "       free some space, or give more --max-mem or --layer-inputs f32"
  }
}

/// A file without a name that takes layer inputs; the system removes it with the process, however that ends.
public final class SpillFile {
  private let directory: String
  private var descriptor: Int32 = -1

  /// The file is made at the first write: a plan that is only looked at leaves nothing behind.
  public init(directory: String) { self.directory = directory }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// - Throws: `SpillError`, as everything here does
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
    if descriptor < 0 {
      var name = Array("\(directory)/edge-lora-XXXXXX".utf8CString)
      descriptor = mkstemp(&name)
      guard descriptor >= 0 else { throw failure() }
      unlink(name)
    }
    try transfer(bytes.count) { done, left in
      pwrite(descriptor, bytes.baseAddress.map { $0 + done }, left, off_t(offset + done))
    }
  }

  public func read(into bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws {
    try transfer(bytes.count) { done, left in
      pread(descriptor, bytes.baseAddress.map { $0 + done }, left, off_t(offset + done))
    }
  }

  /// Waits until the storage has what was written.
  public func synchronize() throws {
    guard fdatasync(descriptor) == 0 else { throw failure() }
  }

  private func failure() -> SpillError { SpillError(directory: directory, reason: String(cString: strerror(errno))) }

  /// - Parameter call: moves some of so many bytes behind those already done
  private func transfer(_ count: Int, _ call: (_ done: Int, _ left: Int) -> Int) throws {
    var done = 0
    while done < count {
      let moved = call(done, count - done)
      if moved < 0, errno == EINTR { continue }
      guard moved > 0 else { throw failure() }
      done += moved
    }
  }
}
