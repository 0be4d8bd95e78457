#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file or folder that appears under its name complete or not at all.
///
/// It is written under a temporary name beside the final one, put on the disk, and renamed. What is there already is
/// replaced only with `force`, only at the end, and by an exchange: at no moment is neither the old nor the new there.
/// Where the kernel or the file system cannot exchange names, a replaced folder steps aside for the time between two
/// renamings; a process that is killed just then leaves it as `.NAME.partial-PID.old`, which the next one puts back.
public final class AtomicOutput {
  public let path: String
  /// Where to write until `commit`.
  public let temporaryPath: String
  private let force: Bool
  private let canExchange: Bool
  private var ownsTemporary = true

  /// - Parameter inputs: files and folders that are read: neither they nor what holds one of them is replaced
  /// - Throws: `FileError.alreadyExists` unless `force`, `FileError.notReplaceable`
  public convenience init(path: String, force: Bool, inputs: [String] = []) throws {
    try self.init(path: path, force: force, canExchange: true)
    guard let target = System.realPath(self.path) else { return }
    if inputs.contains(where: { System.realPath($0).map { $0 == target || $0.hasPrefix("\(target)/") } ?? false }) {
      let isFolder = System.kind(target) == .directory
      throw FileError.notReplaceable(file: path, reason: isFolder ? "the source is in it" : "it is the source")
    }
  }

  /// - Parameter canExchange: `false` takes the way of a file system that cannot exchange names
  package init(path: String, force: Bool, canExchange: Bool) throws {
    let trimmed = PathText.trimmed(path)
    self.path = trimmed
    self.force = force
    self.canExchange = canExchange
    let name = PathText.name(trimmed)
    guard !["", ".", "..", "/"].contains(name) else {
      throw FileError.cannotWrite(file: path, reason: "it is not the name of a new file or folder")
    }
    let folder = trimmed.utf8.contains(UInt8(ascii: "/")) ? PathText.folder(trimmed) + "/" : ""
    temporaryPath = "\(folder)\(Self.stem(name))\(getpid())"
    Self.removeLeftovers(of: trimmed)
    if !force, System.kind(trimmed) != .nothing { throw FileError.alreadyExists(file: trimmed) }
  }

  private static func stem(_ name: String) -> String { ".\(name).partial-" }

  /// Removes what killed processes, and an earlier output of this process, have left of an output; an old folder that a
  /// kill kept from coming back comes back.
  ///
  /// - Parameter ofAnyProcess: whether a lock tells that nobody else writes this output. A number alone does not tell that a
  ///   process still writes: after a restart it may be another one's, and a process that nobody waits for keeps it.
  public static func removeLeftovers(of path: String, ofAnyProcess: Bool = false) {
    let folder = PathText.folder(path)
    let stem = stem(PathText.name(path))
    for name in System.names(in: folder) ?? [] where name.hasPrefix(stem) {
      var number = name.dropFirst(stem.count)
      let isOld = number.hasSuffix(".old")
      if isOld { number = number.dropLast(4) }
      guard let process = Int32(number), process > 0, number.allSatisfy(\.isNumber),
        ofAnyProcess || process == getpid() || (kill(process, 0) != 0 && errno == ESRCH)
      else { continue }
      let left = "\(folder)/\(name)"
      if isOld, System.kind(path) == .nothing, rename(left, path) == 0 { continue }
      System.remove(left)
    }
  }

  /// Makes the temporary folder, and its parents.
  public func createDirectory() throws { try OutputFolder.create(temporaryPath) }

  deinit {
    // What cannot be removed now is found by the next output of this name.
    if ownsTemporary { System.remove(temporaryPath) }
  }

  /// Gives the output its name.
  ///
  /// - Throws: `FileError`. After `writingFailed` of the folder the output is in place, but a power cut may undo that.
  public func commit() throws {
    try System.synchronizeTree(temporaryPath)
    switch (System.kind(temporaryPath), System.kind(path)) {
    case (_, .nothing): try renameToFreeName()
    case _ where !force: throw FileError.alreadyExists(file: path)
    case (.directory, .directory), (.directory, .link): try replaceFolder()
    case (.directory, .other): throw FileError.notReplaceable(file: path, reason: "it is a file, the output a folder")
    case (_, .directory): throw FileError.notReplaceable(file: path, reason: "it is a folder, the output a file")
    default:
      // A file takes the place of a file, or of a link, in one step.
      guard rename(temporaryPath, path) == 0 else { throw refusal() }
    }
    // The old output may lie under the temporary name now. It stays until the exchange is on the disk; what cannot be
    // removed then is found by the next output of this name.
    ownsTemporary = false
    try System.synchronize(PathText.folder(path))
    System.remove(temporaryPath)
  }

  /// Refuses to replace a folder that is no older result, or holds more than one: `--force` names what is removed.
  ///
  /// - Parameters:
  ///   - mark: the file by which a result is known
  ///   - kind: what people call a result, with its article
  ///   - own: the one folder that a result may hold
  public func requireResult(_ mark: String, kind: String, folder own: String? = nil) throws {
    guard System.kind(path) != .nothing else { return }
    guard let names = System.names(in: path) else {
      throw FileError.notReplaceable(file: path, reason: "it is no folder that can be read")
    }
    if let folder = names.first(where: { $0 != own && (try? PathKind("\(path)/\($0)")) == .directory }) {
      throw FileError.notReplaceable(file: path, reason: "it holds the folder \(folder)")
    }
    guard names.isEmpty || names.contains(mark) else {
      throw FileError.notReplaceable(file: path, reason: "it holds no \(mark), as \(kind) does")
    }
  }

  /// Refuses to replace a file of another kind.
  ///
  /// - Parameters:
  ///   - kind: what people call such a file
  ///   - isOne: whether the file at a path is one; an empty one may go too
  public func requireFile(kind: String, _ isOne: (_ path: String) -> Bool) throws {
    guard System.kind(path) != .nothing, try PathKind(path) != .directory else { return }
    guard try MappedFile(path: path).byteCount == 0 || isOne(path) else {
      throw FileError.notReplaceable(file: path, reason: "it is no \(kind) file")
    }
  }

  private func refusal() -> FileError { FileError.cannotWrite(file: path, reason: .system) }

  private func renameToFreeName() throws {
    switch canExchange ? System.rename(temporaryPath, path, .withoutReplacing) : nil {
    case true?: break
    case false?:
      guard errno == EEXIST else { throw refusal() }
      // Someone else made it just now.
      throw FileError.alreadyExists(file: path)
    case nil: guard rename(temporaryPath, path) == 0 else { throw refusal() }
    }
  }

  /// Leaves the old folder under the temporary name.
  private func replaceFolder() throws {
    switch canExchange ? System.rename(temporaryPath, path, .exchanging) : nil {
    case true?: return
    case false?: throw refusal()
    case nil: break
    }
    let old = temporaryPath + ".old"
    guard rename(path, old) == 0 else { throw refusal() }
    guard rename(temporaryPath, path) == 0 else {
      let error = refusal()
      rename(old, path)
      throw error
    }
    // As after an exchange. If it fails, the old one is removed by the next output of this name.
    rename(old, temporaryPath)
  }
}
