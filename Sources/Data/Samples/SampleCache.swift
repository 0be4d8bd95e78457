import Architectures
import Formats
import FoundationEssentials

/// Tokenised data that is kept in a folder beside the output of a run, so that a run that goes on need not read it again.
///
/// The folder's name says what for and what was read, and how: `.data-train-KEY`. It appears whole or not at all, and what is
/// read back is checked against its checksums.
public struct SampleCache {
  private let folder: String
  private let name: String
  /// What names of the same purpose begin with.
  private let stem: String

  private static let prefix = ".data-"
  private static let infoName = "info.json"
  /// Layout of the files; another one is made anew.
  private static let version = 1

  /// - Parameters:
  ///   - folder: output of the run
  ///   - purpose: `train`, ...: the cache takes the place of others of the same purpose
  ///   - settings: everything that samples depend on beside the files
  ///   - files: that are read; of standard input nothing is known
  public init(folder: String, purpose: String, settings: [(String, String)], files: [String]) throws {
    self.folder = folder
    var hash = FNV1a()
    hash.add("\(Self.version)")
    for (name, value) in settings { hash.add("\(name)=\(value)") }
    for file in files { try hash.add(contentOf: file) }
    stem = "\(Self.prefix)\(purpose)-"
    name = stem + hash.text
  }

  /// Whether data is large enough to be kept: what memory takes is read again at once.
  public static func isWorthwhile(_ files: [String]) -> Bool {
    files.contains("-") || files.reduce(0) { $0 + FNV1a.byteCount(of: $1) } > 16 << 20
  }

  /// The data that is kept, or what `read` makes.
  ///
  /// - Parameters:
  ///   - note: gets a line for people
  ///   - read: reads into the place that it is given
  public func data(note: (String) -> Void, read: (SamplePlace) throws -> TrainingData) throws -> TrainingData {
    let path = "\(folder)/\(name)"
    if FileManager.default.fileExists(atPath: path) {
      do {
        let data = try TrainingData(cached: path)
        note("tokenised data found in \(path)")
        return data
      } catch {
        note("warning: \(error); the data is read again")
      }
    }
    try OutputFolder.create(folder)
    let output = try AtomicOutput(path: path, force: true)
    try output.createDirectory()
    let data = try read(.folder(output.temporaryPath))
    try OutputFile.write(data.info.serialized(pretty: true) + "\n", to: "\(output.temporaryPath)/\(Self.infoName)")
    try output.commit()
    removeOthers()
    return data
  }

  /// Removes what was kept of other data.
  private func removeOthers() {
    for other in Self.names(in: folder) where other != name && other.hasPrefix(stem) {
      try? FileManager.default.removeItem(atPath: "\(folder)/\(other)")
    }
  }

  /// Removes all that was kept in a folder.
  public static func removeAll(in folder: String) {
    for name in names(in: folder) { try? FileManager.default.removeItem(atPath: "\(folder)/\(name)") }
  }

  private static func names(in folder: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).filter {
      $0.hasPrefix(prefix) && !$0.contains(".partial")
    }
  }
}

extension TrainingData {
  /// What `info.json` of a cache says.
  fileprivate var info: JSONValue {
    let storage = samples.storage
    var files = JSONObject()
    for (name, sum) in checksums { files[name] = .integer(Int(sum.crc32)) }
    return .object(
      JSONObject([
        ("samples", .integer(storage.count)), ("bytes", .integer(storage.byteCount)),
        ("tokens", .integer(storage.tokenCount)), ("labels", .integer(storage.labelCount)),
        ("tokens_crc32", .integer(Int(storage.tokensChecksum))),
        ("labels_crc32", .integer(Int(storage.labelsChecksum))), ("truncated", .integer(truncatedCount)),
        ("skipped_lines", .integer(skippedLines)), ("left_out", .integer(uselessCount)),
        ("left_out_places", .array(uselessPlaces.map { .string($0) })), ("one_per_row", .bool(isOnePerRow)),
        ("files", .object(files)), ("labelling", labelling.map(Self.json) ?? .null),
      ]))
  }

  private static func json(_ labelling: Labelling) -> JSONValue {
    .object(
      JSONObject([
        ("task", .string(labelling.task.rawValue)), ("problem", .string(labelling.problem.rawValue)),
        ("labels", .array(labelling.labels.map { .string($0) })),
      ]))
  }

  private static func labelling(_ json: JSONValue?, _ file: String) throws -> Labelling? {
    guard let json, json != .null else { return nil }
    guard let task = json["task"]?.stringValue.flatMap({ ModelTask(rawValue: $0) }), task != .causalLM,
      let problem = json["problem"]?.stringValue.flatMap({ ProblemType(rawValue: $0) }),
      let labels = json["labels"]?.arrayValue?.compactMap(\.stringValue), !labels.isEmpty,
      labels.count <= Labelling.most
    else { throw FileError.cannotOpen(file: file, reason: "its labels are none") }
    return Labelling(task: task, problem: problem, labels: labels)
  }

  private var checksums: [(String, FileChecksum)] {
    guard let folder else { return [] }
    return SampleStorage.fileNames.compactMap { name in
      (try? FileChecksum(of: "\(folder)/\(name)")).map { (name, $0) }
    }
  }

  /// Reads a cache back.
  /// - Throws: what is wrong with it
  fileprivate init(cached folder: String) throws {
    let file = "\(folder)/info.json"
    let json = try JSONValue.parse(contentsOf: file)
    func number(_ key: String) throws -> Int {
      guard let value = json[key]?.intValue, value >= 0 else {
        throw FileError.cannotOpen(file: file, reason: "\(key) is no count")
      }
      return value
    }
    for name in SampleStorage.fileNames {
      let path = "\(folder)/\(name)"
      guard Int(try FileChecksum(of: path).crc32) == json["files"]?[name]?.intValue else {
        throw FileError.cannotOpen(file: path, reason: "its checksum is wrong")
      }
    }
    let storage = try SampleStorage(
      folder: folder, count: try number("samples"), byteCount: try number("bytes"),
      counts: (try number("tokens"), try number("labels")),
      checksums: (UInt(try number("tokens_crc32")), UInt(try number("labels_crc32"))))
    self.init(storage, in: folder)
    truncatedCount = try number("truncated")
    skippedLines = try number("skipped_lines")
    restore(
      uselessCount: try number("left_out"),
      places: json["left_out_places"]?.arrayValue?.compactMap(\.stringValue) ?? [])
    isOnePerRow = json["one_per_row"]?.boolValue ?? false
    labelling = try Self.labelling(json["labelling"], file)
  }
}

/// A short name for what was read. Source: Fowler, Noll & Vo, FNV-1a with 64 bits.
public struct FNV1a {
  private var value: UInt64 = 0xCBF2_9CE4_8422_2325
  private static let pages = 256
  private static let pageBytes = 4096

  public init() {}

  public mutating func add(_ bytes: UnsafeRawBufferPointer) {
    for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
  }

  public mutating func add(_ text: String) {
    var text = text + "\n"
    text.withUTF8 { add(UnsafeRawBufferPointer($0)) }
  }

  /// Size and time of a file, and pages from all over it: reading gigabytes would take as long as what it is to spare.
  mutating func add(contentOf file: String) throws {
    guard file != "-" else { return add("standard input") }
    let attributes = try? FileManager.default.attributesOfItem(atPath: file)
    let time = (attributes?[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
    add("\(Self.byteCount(of: file)) \(time)")
    func parts(_ size: Int) -> [Range<Int>] {
      let starts = (0..<Self.pages).map { max(0, size - Self.pageBytes) / (Self.pages - 1) * $0 }
      return starts.map { $0..<min($0 + Self.pageBytes, size) }
    }
    var copy = self
    try FilePieces.forEach(of: file, parts: parts) { copy.add($0) }
    self = copy
  }

  static func byteCount(of file: String) -> Int { (try? FilePieces.byteCount(of: file)) ?? 0 }

  /// 16 hexadecimal digits.
  public var text: String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
