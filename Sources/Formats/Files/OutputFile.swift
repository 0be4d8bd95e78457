#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file that is being written; every error carries its name.
public final class OutputFile {
  public let path: String
  private let descriptor: Int32
  private var buffer: [UInt8] = []
  public private(set) var byteCount = 0

  public init(path: String) throws {
    self.path = path
    descriptor = System.retrying { open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644) }
    guard descriptor >= 0 else { throw FileError.cannotWrite(file: path, reason: .system) }
    buffer.reserveCapacity(1 << 20)
  }

  /// A file without a name in `directory`, which the system removes with the process, however that ends.
  public init(unnamedIn directory: String) throws {
    path = "\(directory)/edge-lora-XXXXXX"
    var name = Array(path.utf8CString)
    descriptor = mkstemp(&name)
    guard descriptor >= 0 else { throw FileError.cannotWrite(file: directory, reason: .system) }
    unlink(name)
    buffer.reserveCapacity(1 << 16)
  }

  /// What was written so far, mapped.
  public func mapped() throws -> MappedFile {
    try flush()
    return try MappedFile(descriptor: descriptor, path: path)
  }

  /// A path under which what was written so far can be read, as long as this object lives: also of a file without a name.
  public func readablePath() throws -> String {
    try flush()
    return "/proc/self/fd/\(descriptor)"
  }

  deinit { close(descriptor) }

  public func append(_ bytes: UnsafeRawBufferPointer) throws {
    byteCount += bytes.count
    if buffer.count + bytes.count <= 1 << 20 {
      buffer.append(contentsOf: bytes)
      return
    }
    try flush()
    if bytes.count >= 1 << 20 { try write(bytes) } else { buffer.append(contentsOf: bytes) }
  }

  public func append(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try append($0) } }

  public func append(repeating byte: UInt8, count: Int) throws {
    let piece = [UInt8](repeating: byte, count: min(count, 1 << 16))
    var left = count
    while left > 0 {
      try piece.withUnsafeBytes { try append(UnsafeRawBufferPointer(rebasing: $0.prefix(left))) }
      left -= min(left, piece.count)
    }
  }

  /// Replaces the first bytes of the file.
  public func overwriteStart(with bytes: [UInt8]) throws {
    try flush()
    var place = 0
    while place < bytes.count {
      let count = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress! + place, $0.count - place, off_t(place)) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw FileError.writingFailed(file: path, reason: .system) }
      place += count
    }
  }

  private func flush() throws {
    try buffer.withUnsafeBytes { try write($0) }
    buffer.removeAll(keepingCapacity: true)
  }

  private func write(_ bytes: UnsafeRawBufferPointer) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = UnsafeRawBufferPointer(rebasing: rest)
      #if canImport(Glibc)
        let count = Glibc.write(descriptor, part.baseAddress, part.count)
      #else
        let count = Musl.write(descriptor, part.baseAddress, part.count)
      #endif
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw FileError.writingFailed(file: path, reason: .system) }
      rest = rest.dropFirst(count)
    }
    // Written pages would count as cache of this process' group: hand them to the disk as they come. It is a hint: a
    // pipe has no such pages.
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
  }

  /// Writes what is left and waits until it is on the disk.
  public func finish() throws {
    try flush()
    // EINVAL: a pipe or a device, which has nothing to wait for.
    guard System.retrying({ fsync(descriptor) }) == 0 || errno == EINVAL else {
      throw FileError.writingFailed(file: path, reason: .system)
    }
  }

  /// Writes a whole small file.
  public static func write(_ text: String, to path: String) throws {
    let file = try OutputFile(path: path)
    try file.append(Array(text.utf8))
    try file.finish()
  }
}

/// Folders that are made for outputs.
public enum OutputFolder {
  /// Makes a folder and the ones that lead to it; each new one is entered on the disk in the one that holds it.
  public static func create(_ path: String) throws {
    var missing: [String] = []
    var place = PathText.trimmed(path)
    while !System.isThere(place) {
      missing.append(place)
      let above = PathText.folder(place)
      if above == place { break }
      place = above
    }
    for folder in missing.reversed() {
      guard mkdir(folder, 0o755) == 0 || errno == EEXIST else {
        throw FileError.cannotWrite(file: path, reason: .system("cannot create the folder \(folder)"))
      }
      try System.synchronize(PathText.folder(folder))
    }
    guard case .directory = try PathKind(path) else {
      throw FileError.cannotWrite(file: path, reason: "cannot create the folder: Not a directory")
    }
  }

  /// Runs `body` with a new folder for files that nobody keeps, which is gone afterwards.
  public static func withTemporary<Result>(_ body: (_ folder: String) throws -> Result) throws -> Result {
    let named = getenv("TMPDIR").map { String(cString: $0) } ?? ""
    let parent = named.isEmpty ? "/tmp" : named
    var name = Array("\(parent)/edge-lora-XXXXXX".utf8CString)
    guard mkdtemp(&name) != nil else {
      throw FileError.cannotWrite(
        file: parent, reason: .system("no folder for a while can be made there, TMPDIR names another place"))
    }
    let folder = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { System.remove(folder) }
    return try body(folder)
  }

  /// The folder that holds a path: `.` for a plain name.
  public static func above(_ path: String) -> String { PathText.folder(path) }

  /// Names in a folder, sorted.
  /// - Throws: `FileError` where it cannot be read
  public static func readableNames(in folder: String) throws -> [String] {
    guard let names = System.names(in: folder) else {
      throw FileError.cannotOpen(file: folder, reason: .system("the folder cannot be read"))
    }
    return names
  }

  /// Names in a folder, sorted; none where it cannot be read.
  public static func names(in folder: String) -> [String] { System.names(in: folder) ?? [] }

  /// Waits until the names in a folder are on the disk, for callers that rename or remove files in it themselves.
  public static func synchronize(_ path: String) throws { try System.synchronize(path) }
}
