import Foundation

/// A file that is being written; every error carries its name.
public final class OutputFile {
  public let path: String
  private let descriptor: Int32
  private var buffer: [UInt8] = []
  public private(set) var byteCount = 0

  public init(path: String) throws {
    self.path = path
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw FileError.cannotWrite(file: path, reason: FileError.systemReason) }
    buffer.reserveCapacity(1 << 20)
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

  public func append(repeating byte: UInt8, count: Int) throws {
    try [UInt8](repeating: byte, count: count).withUnsafeBytes { try append($0) }
  }

  /// Replaces the first bytes of the file.
  public func overwriteStart(with bytes: [UInt8]) throws {
    try flush()
    guard bytes.withUnsafeBytes({ pwrite(descriptor, $0.baseAddress, $0.count, 0) }) == bytes.count else {
      throw FileError.writingFailed(file: path, reason: FileError.systemReason)
    }
  }

  private func flush() throws {
    try buffer.withUnsafeBytes { try write($0) }
    buffer.removeAll(keepingCapacity: true)
  }

  private func write(_ bytes: UnsafeRawBufferPointer) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = Foundation.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw FileError.writingFailed(file: path, reason: FileError.systemReason) }
      rest = rest.dropFirst(count)
    }
    // Written pages would count as cache of this process' group: hand them to the disk as they come.
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
  }

  /// Writes what is left and waits until it is on the disk.
  public func finish() throws {
    try flush()
    guard fsync(descriptor) == 0 else { throw FileError.writingFailed(file: path, reason: FileError.systemReason) }
  }

  /// Writes a whole small file.
  public static func write(_ text: String, to path: String) throws {
    let file = try OutputFile(path: path)
    try Array(text.utf8).withUnsafeBytes { try file.append($0) }
    try file.finish()
  }
}

/// A file or folder that appears under its name complete or not at all.
///
/// It is written under a temporary name beside the final one, put on the disk, and renamed. What is there already is
/// replaced only with `force`, and only at the end.
public final class AtomicOutput {
  public let path: String
  /// Where to write until `commit`.
  public let temporaryPath: String
  private let force: Bool
  private var isDone = false

  /// - Throws: `FileError.alreadyExists` unless `force`
  public init(path: String, force: Bool) throws {
    var trimmed = path
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    self.path = trimmed
    self.force = force
    let name = (trimmed as NSString).lastPathComponent
    guard !["", ".", "..", "/"].contains(name) else {
      throw FileError.cannotWrite(file: path, reason: "it is not the name of a new file or folder")
    }
    let parent = (trimmed as NSString).deletingLastPathComponent
    let stem = ".\(name).partial-"
    temporaryPath = (parent.isEmpty ? "" : parent + "/") + "\(stem)\(getpid())"
    if !force, FileManager.default.fileExists(atPath: trimmed) { throw FileError.alreadyExists(file: trimmed) }
    Self.removeLeftovers(of: stem, in: parent.isEmpty ? "." : parent)
  }

  /// Removes what killed processes, and an earlier one of this process' number, have left of this output.
  private static func removeLeftovers(of stem: String, in directory: String) {
    for name in (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? [] where name.hasPrefix(stem) {
      guard let process = Int32(name.dropFirst(stem.count)), process > 0 else { continue }
      if process == getpid() || (kill(process, 0) != 0 && errno == ESRCH) {
        try? FileManager.default.removeItem(atPath: "\(directory)/\(name)")
      }
    }
  }

  /// Makes the temporary folder, and its parents.
  public func createDirectory() throws {
    var parts = ""
    for part in temporaryPath.split(separator: "/", omittingEmptySubsequences: false) {
      parts += part
      if !part.isEmpty, mkdir(parts, 0o755) != 0, errno != EEXIST {
        let reason = FileError.systemReason
        throw FileError.cannotWrite(file: path, reason: "cannot create the folder \(parts): \(reason)")
      }
      parts += "/"
    }
  }

  deinit {
    if !isDone { try? FileManager.default.removeItem(atPath: temporaryPath) }
  }

  /// Gives the output its name.
  public func commit() throws {
    Self.synchronize(temporaryPath)
    let parent = (path as NSString).deletingLastPathComponent
    if !force, FileManager.default.fileExists(atPath: path) { throw FileError.alreadyExists(file: path) }
    let old = temporaryPath + ".old"
    // A file is replaced by the renaming itself; a folder must step aside.
    var isDirectory: ObjCBool = false
    let replaces = FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory.boolValue
    if replaces, rename(path, old) != 0 { throw FileError.cannotWrite(file: path, reason: FileError.systemReason) }
    guard rename(temporaryPath, path) == 0 else {
      let reason = FileError.systemReason
      if replaces { rename(old, path) }
      throw FileError.cannotWrite(file: path, reason: reason)
    }
    isDone = true
    Self.synchronize(parent.isEmpty ? "." : parent)
    if replaces { try? FileManager.default.removeItem(atPath: old) }
  }

  private static func synchronize(_ path: String) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }
}
