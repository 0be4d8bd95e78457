#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Room on a disk.
public enum FreeSpace {
  /// Bytes that this user may still write where a folder lies; `nil` where the system does not say.
  public static func byteCount(of folder: String) -> Int? {
    var status = statvfs()
    guard statvfs(folder, &status) == 0 else { return nil }
    return byteCount(blocks: UInt64(status.f_bavail), of: UInt64(status.f_frsize))
  }

  /// File systems of a network may say that they have as much room as a number can.
  package static func byteCount(blocks: UInt64, of size: UInt64) -> Int {
    let (bytes, overflows) = blocks.multipliedReportingOverflow(by: size)
    return overflows ? Int.max : Int(clamping: bytes)
  }
}
