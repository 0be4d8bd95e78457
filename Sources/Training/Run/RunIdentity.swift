import Formats
import FoundationEssentials
import Options

/// What makes a run this one and no other: a checkpoint of another run is not taken up.
struct RunIdentity: Equatable {
  /// Name and value: the model's content, the data's, and every option that changes the bits.
  private(set) var entries: [(name: String, value: String)] = []
  /// The program that ran it. Another one may end with other bits, which is told and no reason to refuse.
  let program: String

  private static let evaluationName = "evaluation"

  /// - Parameters:
  ///   - hyperParameters: those of an initial adapter count before the options
  ///   - evaluation: data of its own to evaluate on, which decides which state is the best
  init(
    options: [(String, String)], hyperParameters: [(String, String)], model: String, data: String, evaluation: String?
  ) {
    program = Program.version
    let content = [("model", model), ("data", data)] + (evaluation.map { [(Self.evaluationName, $0)] } ?? [])
    for (name, value) in content + options + hyperParameters {
      if let place = entries.firstIndex(where: { $0.name == name }) {
        entries[place].value = value
      } else {
        entries.append((name, value))
      }
    }
  }

  /// - Throws: `CheckpointError` where it is none
  init(json: JSONValue?, file: String) throws {
    guard let object = json?.objectValue, let program = object["program"]?.stringValue else {
      throw CheckpointError(path: file, reason: "does not say which run it is of")
    }
    self.program = program
    for (name, value) in object.entries where name != "program" {
      guard let text = value.stringValue else { throw CheckpointError(path: file, reason: "\(name) is no text") }
      entries.append((name, text))
    }
  }

  var json: JSONValue {
    .object(JSONObject([("program", .string(program))] + entries.map { ($0.name, .string($0.value)) }))
  }

  static func == (left: RunIdentity, right: RunIdentity) -> Bool { left.differences(from: right).isEmpty }

  /// What is other than in `old`, as `name value (was value)`.
  func differences(from old: RunIdentity) -> [String] {
    let names = entries.map(\.name) + old.entries.map(\.name).filter { name in !entries.contains { $0.name == name } }
    return names.compactMap { name in
      let now = entries.first { $0.name == name }?.value
      let then = old.entries.first { $0.name == name }?.value
      if now == then { return nil }
      if name == "model" { return "another base model" }
      if name == "data" { return "other data" }
      if name == Self.evaluationName { return "other data to evaluate on" }
      func text(_ value: String?) -> String { value.map { $0.isEmpty ? "default" : $0 } ?? "none" }
      return "--\(name) \(text(now)) (was \(text(then)))"
    }
  }
}

/// Tells base models apart by what is in them, without reading gigabytes: all of `config.json`, and of each file of weights
/// its header, its size and pages from all over it.
package enum BaseModelDigest {
  private static let pages = 64
  private static let pageBytes = 4096
  /// Longer headers count as far as this.
  private static let headerBytes = 16 << 20

  private static func lengthOfHeader(_ size: Int) -> [Range<Int>] { [0..<min(size, 8)] }

  package static func of(directory: String) throws -> String {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a
    func add(_ bytes: UnsafeRawBufferPointer) {
      for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    }
    try FilePieces.forEach(of: "\(directory)/config.json", add)
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    for name in names.sorted() where name.hasSuffix(".safetensors") {
      let path = "\(directory)/\(name)"
      var first: [UInt8] = []
      try FilePieces.forEach(of: path, parts: Self.lengthOfHeader) { first += $0 }
      let said = first.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      let header = Int(min(said, UInt64(headerBytes))) + first.count
      func parts(_ size: Int) -> [Range<Int>] {
        withUnsafeBytes(of: size) { add($0) }
        let starts = (0..<pages).map { max(0, size - pageBytes) / (pages - 1) * $0 }
        return [0..<min(header, size)] + starts.map { $0..<min($0 + pageBytes, size) }
      }
      try FilePieces.forEach(of: path, parts: parts, add)
    }
    let text = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - text.count) + text
  }
}
