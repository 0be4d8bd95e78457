#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a path leads to.
public enum PathKind: Sendable {
  case directory
  case other

  /// - Throws: `FileError.cannotOpen` with the system's reason when there is nothing, or no way to it.
  public init(_ path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0 else { throw FileError.cannotOpen(file: path, reason: .system) }
    self = status.st_mode & S_IFMT == S_IFDIR ? .directory : .other
  }
}

/// A file mapped read-only; pages come in when they are touched and can be dropped again.
public final class MappedFile: @unchecked Sendable {
  // @unchecked: the mapping is read-only and lives as long as the object.

  public let path: String
  public let bytes: UnsafeRawBufferPointer
  public var byteCount: Int { bytes.count }

  public convenience init(path: String) throws {
    // O_NONBLOCK: opening a pipe would wait for a writer.
    let descriptor = System.retrying { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
    guard descriptor >= 0 else { throw FileError.cannotOpen(file: path, reason: .system) }
    defer { close(descriptor) }
    try self.init(descriptor: descriptor, path: path)
  }

  /// - Parameters:
  ///   - descriptor: of an open file; the mapping does without it afterwards
  ///   - path: what errors call it
  init(descriptor: Int32, path: String) throws {
    self.path = path
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw FileError.cannotOpen(file: path, reason: .system)
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: break
    case S_IFDIR: throw FileError.isDirectory(file: path)
    default: throw FileError.notRegular(file: path)
    }
    let count = Int(status.st_size)
    if count == 0 {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), address != MAP_FAILED else {
      throw FileError.cannotMap(file: path, reason: .system)
    }
    bytes = UnsafeRawBufferPointer(start: address, count: count)
  }

  deinit {
    if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
  }

  /// Drops the pages that lie wholly inside the range; they are read again when touched.
  public func dropPages(offset: Int, count: Int) { advise(offset: offset, count: count, MADV_DONTNEED, inward: true) }

  /// Starts to read the pages of the range.
  public func readAhead(offset: Int, count: Int) { advise(offset: offset, count: count, MADV_WILLNEED, inward: false) }

  private func advise(offset: Int, count: Int, _ advice: Int32, inward: Bool) {
    guard let base = bytes.baseAddress, count > 0 else { return }
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let start = inward ? (offset + page - 1) / page * page : offset / page * page
    let end = inward ? min(offset + count, bytes.count) / page * page : min(offset + count, bytes.count)
    if end > start { madvise(UnsafeMutableRawPointer(mutating: base + start), end - start, advice) }
  }
}
