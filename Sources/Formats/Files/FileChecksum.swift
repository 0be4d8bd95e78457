import CZlib

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Size and CRC-32 of a file's bytes.
public struct FileChecksum: Equatable, Sendable {
  public let byteCount: Int
  public let crc32: UInt32

  /// What tells a file from others, for people and for comparing.
  public var text: String { "\(byteCount) bytes of CRC \(String(crc32, radix: 16))" }

  /// Read in pieces, which leave the page cache again: a mapping would make the whole file resident.
  ///
  /// - Parameter report: is called for every piece that has been read; what it throws ends the reading
  public init(of path: String, piece report: (_ byteCount: Int) throws -> Void = { _ in }) throws {
    var crc = crc32_z(0, nil, 0)
    var count = 0
    try FilePieces.forEach(of: path) { piece in
      crc = crc32_z(crc, piece.baseAddress?.assumingMemoryBound(to: UInt8.self), piece.count)
      count += piece.count
      try report(piece.count)
    }
    byteCount = count
    crc32 = UInt32(truncatingIfNeeded: crc)
  }

  /// Of a short text.
  public static func crc32(of text: String) -> Int {
    var text = text
    return text.withUTF8 { Int(UInt32(truncatingIfNeeded: crc32_z(0, $0.baseAddress, $0.count))) }
  }
}

/// A file's bytes, read rather than mapped.
public enum FilePieces {
  /// Bytes of a file.
  public static func byteCount(of path: String) throws -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else { throw FileError.cannotOpen(file: path, reason: .system) }
    return Int(status.st_size)
  }

  private static let most = 1 << 20
  /// The reason of an error where a file ends before its end.
  public static let shortened: FileError.Reason = "it became shorter"

  /// - Parameter parts: of the file; the whole of it if `nil`
  public static func forEach(
    of path: String, parts: ((_ byteCount: Int) -> [Range<Int>])? = nil, _ body: (UnsafeRawBufferPointer) throws -> Void
  ) throws {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw FileError.cannotOpen(file: path, reason: .system) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw FileError.notRegular(file: path)
    }
    let size = Int(status.st_size)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: min(most, max(size, 1)), alignment: 64)
    defer { buffer.deallocate() }
    for part in parts?(size) ?? [0..<size] {
      var offset = part.lowerBound
      while offset < part.upperBound {
        let count = pread(descriptor, buffer.baseAddress, min(buffer.count, part.upperBound - offset), off_t(offset))
        if count < 0, errno == EINTR { continue }
        guard count > 0 else {
          throw FileError.cannotOpen(file: path, reason: count == 0 ? shortened : .system("reading stopped"))
        }
        try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        posix_fadvise(descriptor, off_t(offset), off_t(count), POSIX_FADV_DONTNEED)
        offset += count
      }
    }
  }
}
