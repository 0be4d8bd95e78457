#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The calls of the operating system that this target makes in more than one place, each with its errors seen.
enum System {
  /// Repeats a call that a signal interrupted.
  @inline(__always)
  static func retrying(_ call: () -> Int32) -> Int32 {
    while true {
      let result = call()
      if result != -1 || errno != EINTR { return result }
    }
  }

  /// What is at a path itself: a symbolic link is not followed.
  enum Kind {
    case nothing, directory, link, other
  }

  static func kind(_ path: String) -> Kind {
    var status = stat()
    guard lstat(path, &status) == 0 else { return .nothing }
    return switch status.st_mode & S_IFMT {
    case S_IFDIR: .directory
    case S_IFLNK: .link
    default: .other
    }
  }

  /// Without links; `nil` for what is not there.
  static func realPath(_ path: String) -> String? {
    guard let found = realpath(path, nil) else { return nil }
    defer { free(found) }
    return String(cString: found)
  }

  static func isThere(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// Names in a folder, sorted; `nil` when it cannot be read.
  static func names(in directory: String) -> [String]? {
    guard let stream = opendir(directory) else { return nil }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else { return errno == 0 ? names.sorted() : nil }
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: $0.pointee)) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
  }

  /// Removes a file, a link, or a folder with all that is in it; a link is never followed. What is gone is gone.
  ///
  /// - Returns: whether nothing is left
  @discardableResult
  static func remove(_ path: String) -> Bool {
    if case .directory = kind(path) {
      for name in names(in: path) ?? [] { remove("\(path)/\(name)") }
      return rmdir(path) == 0 || errno == ENOENT
    }
    return unlink(path) == 0 || errno == ENOENT
  }

  /// Waits until a file, or the names in a folder, are on the disk.
  static func synchronize(_ path: String) throws {
    let descriptor = retrying { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
    guard descriptor >= 0 else { throw FileError.writingFailed(file: path, reason: .system("cannot be synced")) }
    defer { close(descriptor) }
    // EINVAL: a file system that has nothing to wait for.
    guard retrying({ fsync(descriptor) }) == 0 || errno == EINVAL else {
      throw FileError.writingFailed(file: path, reason: .system("cannot be synced"))
    }
  }

  /// Waits until a file, or a folder with all that is in it, is on the disk.
  static func synchronizeTree(_ path: String) throws {
    switch kind(path) {
    case .link: return
    case .directory:
      guard let names = names(in: path) else {
        throw FileError.writingFailed(file: path, reason: .system("cannot be read to be synced"))
      }
      for name in names { try synchronizeTree("\(path)/\(name)") }
    case .nothing, .other: break
    }
    try synchronize(path)
  }

  private typealias RenameAt2 =
    @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) ->
    Int32

  /// `renameat2`, which the module map of the C library hides.
  private static let renameAt2: RenameAt2? = dlsym(nil, "renameat2").map { unsafeBitCast($0, to: RenameAt2.self) }

  enum Renaming: UInt32 {
    /// Fails with `EEXIST` where there is something already.
    case withoutReplacing = 1
    /// Both names are there before and after, and at no moment is one missing.
    case exchanging = 2
  }

  /// - Returns: `nil` when this kernel or file system has no such renaming, else whether it succeeded (`errno` if not)
  static func rename(_ from: String, _ to: String, _ renaming: Renaming) -> Bool? {
    guard let renameAt2 else { return nil }
    if renameAt2(AT_FDCWD, from, AT_FDCWD, to, renaming.rawValue) == 0 { return true }
    return [EINVAL, ENOSYS, ENOTSUP].contains(errno) ? nil : false
  }
}

/// Parts of a path, by its text alone.
enum PathText {
  /// The path without slashes at its end.
  static func trimmed(_ path: String) -> String {
    var trimmed = path[...]
    while trimmed.utf8.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    return String(trimmed)
  }

  static func name(_ path: String) -> String {
    let path = trimmed(path)
    return path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[path.index(after: $0)...]) } ?? path
  }

  /// The folder that holds a path: `.` for a plain name.
  static func folder(_ path: String) -> String {
    let path = trimmed(path)
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.startIndex ? "/" : trimmed(String(path[..<slash]))
  }
}
