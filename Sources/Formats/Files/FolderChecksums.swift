/// Sizes and CRC-32 of the files of a folder and of the folders in it, in `checksums.json`.
///
/// Other programs pass over the file. A folder without one is as good as any: its bytes cannot be compared, that is all.
public struct FolderChecksums {
  public static let fileName = "checksums.json"
  /// Texts for people, who may well edit them.
  private static let passedOver: Set<String> = [fileName, "README.md"]
  private static let filesKey = "files"
  private static let sumKey = "crc32"

  /// Name and sum of each file, in alphabetical order; that of a file in a folder begins with the folder's.
  private let entries: [(name: String, bytes: Int, crc32: Int)]
  private let directory: String

  /// What differs from what was written.
  public struct Findings: Equatable, Sendable {
    /// A sentence for each file that is damaged or missing.
    public var problems: [String] = []
    /// Files that came later; not those in folders, which may be a run's.
    public var unlisted: [String] = []
  }

  private static func names(in directory: String) -> [String] {
    (System.names(in: directory) ?? []).filter { name in
      !name.hasPrefix(".") && !passedOver.contains(name) && System.kind("\(directory)/\(name)") != .directory
    }
  }

  /// Names of all files, those in folders with the folder's name before theirs.
  private static func allNames(in directory: String) -> [String] {
    let folders = (System.names(in: directory) ?? []).filter { name in
      !name.hasPrefix(".") && System.kind("\(directory)/\(name)") == .directory
    }
    let within = folders.flatMap { folder in allNames(in: "\(directory)/\(folder)").map { "\(folder)/\($0)" } }
    return (names(in: directory) + within).sorted()
  }

  /// Whether a name leads to something in the folder.
  private static func isInside(_ name: String) -> Bool {
    name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { !["", ".", ".."].contains($0) }
  }

  private static func text(_ files: JSONObject) -> String { JSONValue.object(files).serialized() }

  /// Writes the sums of all files that `directory` and its folders have.
  ///
  /// - Parameter piece: is called for every piece that has been read; what it throws ends the reading
  public static func write(into directory: String, piece: (_ byteCount: Int) throws -> Void = { _ in }) throws {
    var files = JSONObject()
    for name in allNames(in: directory) {
      let sum = try FileChecksum(of: "\(directory)/\(name)", piece: piece)
      files[name] = .object(JSONObject([("bytes", .integer(sum.byteCount)), (sumKey, .integer(Int(sum.crc32)))]))
    }
    let json = JSONObject([(filesKey, .object(files)), (sumKey, .integer(FileChecksum.crc32(of: text(files))))])
    try OutputFile.write(JSONValue.object(json).serialized(pretty: true) + "\n", to: "\(directory)/\(fileName)")
  }

  /// The sums of a folder; `nil` where it has none.
  /// - Throws: `JSONError`, `FileError` or `SafetensorsError.badIndex` where they are damaged themselves
  public init?(of directory: String) throws {
    let path = "\(directory)/\(Self.fileName)"
    guard System.isThere(path) else { return nil }
    let json = try JSONValue.parse(contentsOf: path)
    func refuse() -> SafetensorsError {
      .badIndex(file: path, reason: "its own checksum is wrong; the file is damaged, or was edited")
    }
    guard let files = json[Self.filesKey]?.objectValue,
      json[Self.sumKey]?.intValue == FileChecksum.crc32(of: Self.text(files))
    else { throw refuse() }
    entries = try files.entries.map { name, value in
      guard let bytes = value["bytes"]?.intValue, let sum = value[Self.sumKey]?.intValue, Self.isInside(name) else {
        throw refuse()
      }
      return (name, bytes, sum)
    }
    self.directory = directory
  }

  /// Reads all files and compares.
  ///
  /// - Parameter piece: is called for every piece that has been read
  public func check(piece: (_ byteCount: Int) throws -> Void = { _ in }) throws -> Findings {
    var findings = Findings()
    for entry in entries {
      let path = "\(directory)/\(entry.name)"
      guard System.isThere(path) else {
        findings.problems.append("\(path): is missing; it was written with the others")
        continue
      }
      do {
        let sum = try FileChecksum(of: path, piece: piece)
        if sum.byteCount != entry.bytes {
          findings.problems.append("\(path): has \(sum.byteCount) bytes, \(entry.bytes) were written")
        } else if Int(sum.crc32) != entry.crc32 {
          findings.problems.append("\(path): its checksum is not that of what was written")
        }
      } catch let error as FileError {
        findings.problems.append("\(error)")
      }
    }
    findings.unlisted = Self.names(in: directory).filter { name in !entries.contains { $0.name == name } }
    return findings
  }
}
