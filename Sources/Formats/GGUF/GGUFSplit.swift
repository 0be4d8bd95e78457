/// A model in several GGUF files: `NAME-00001-of-00003.gguf` and so on, each with `split.no` (from 0), `split.count` and
/// `split.tensors.count` (of all parts); the first one has the metadata of the model.
enum GGUFSplit {
  /// All parts in their order, the opened one among them.
  static func parts(of opened: GGUFPart) throws -> [GGUFPart] {
    func integer(_ key: String, of part: GGUFPart, in range: ClosedRange<Int>) throws -> Int {
      guard let value = part.metadata[key]?.intValue, range.contains(value) else {
        throw GGUFError.badValue(
          file: part.file.path, place: key, reason: "is no number from \(range.lowerBound) to \(range.upperBound)")
      }
      return value
    }
    guard opened.metadata["split.count"] != nil else { return [opened] }
    let count = try integer("split.count", of: opened, in: 0...Int(UInt16.max))
    if count <= 1 { return [opened] }
    let number = try integer("split.no", of: opened, in: 0...count - 1)
    let path = opened.file.path
    let folder = PathText.folder(path)
    let suffix = Self.suffix(number, of: count)
    guard PathText.name(path).hasSuffix(suffix) else {
      throw GGUFError.badValue(
        file: path, place: "split.no",
        reason: "is part \(number + 1) of \(count), but its name does not end with \(suffix), "
          + "so the other parts cannot be found; give all of them their names back")
    }
    let stem = PathText.name(path).dropLast(suffix.count)
    let names = (0..<count).map { "\(stem)\(Self.suffix($0, of: count))" }
    let prefix = path.utf8.contains(UInt8(ascii: "/")) ? (folder == "/" ? "/" : folder + "/") : ""
    let missing = names.filter { !System.isThere(prefix + $0) }
    guard missing.isEmpty else { throw GGUFError.missingParts(file: path, names: missing, count: count) }
    var tensorCount = 0
    let parts = try names.indices.map { index in
      let part = index == number ? opened : try GGUFPart(path: prefix + names[index])
      for (key, expected) in [("split.no", index), ("split.count", count)] {
        guard try integer(key, of: part, in: 0...Int(UInt16.max)) == expected else {
          throw GGUFError.badValue(
            file: part.file.path, place: key, reason: "is not \(expected): the part belongs to another model")
        }
      }
      tensorCount += part.tensors.count
      guard tensorCount <= GGUFPart.mostTensors else {
        throw GGUFError.badValue(file: part.file.path, place: "tensor count", reason: "too many in all parts")
      }
      return part
    }
    if parts[0].metadata["split.tensors.count"] != nil {
      let stated = try integer("split.tensors.count", of: parts[0], in: 0...GGUFPart.mostTensors)
      guard stated == tensorCount else {
        throw GGUFError.badValue(
          file: parts[0].file.path, place: "split.tensors.count",
          reason: "is \(stated), but the parts have \(tensorCount); download them again")
      }
    }
    return parts
  }

  private static func suffix(_ number: Int, of count: Int) -> String {
    func five(_ value: Int) -> String { String(repeating: "0", count: max(5 - "\(value)".count, 0)) + "\(value)" }
    return "-\(five(number + 1))-of-\(five(count)).gguf"
  }
}
