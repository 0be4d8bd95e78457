/// Every way in which a GGUF file can be wrong, or beyond this reader.
public enum GGUFError: Error, CustomStringConvertible {
  case notGGUF(file: String)
  case unsupportedVersion(file: String, version: UInt32)
  case truncated(file: String, place: String)
  case badValue(file: String, place: String, reason: String)
  case missingParts(file: String, names: [String], count: Int)

  public var description: String {
    switch self {
    case .notGGUF(let file): "\(file): not a GGUF file"
    case .unsupportedVersion(let file, let version):
      "\(file): GGUF version \(version) is not supported, only little-endian 2 and 3"
    case .truncated(let file, let place):
      "\(file): \(place) lies beyond the end of the file\n       the file is damaged or incomplete; download it again"
    case .badValue(let file, let place, let reason): "\(file): \(place): \(reason)"
    case .missingParts(let file, let names, let count):
      "\(file): is one of \(count) parts; not in its folder: "
        + names.prefix(5).joined(separator: ", ") + (names.count > 5 ? " and \(names.count - 5) more" : "")
        + "\n       download the missing parts into the same folder"
    }
  }
}

/// A metadata value.
public enum GGUFValue: Sendable, Equatable {
  case integer(Int)
  case number(Double)
  case bool(Bool)
  case string(String)
  case array([GGUFValue])

  public var intValue: Int? { if case .integer(let value) = self { value } else { nil } }
  public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
  public var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var arrayValue: [GGUFValue]? { if case .array(let value) = self { value } else { nil } }
  public var doubleValue: Double? {
    switch self {
    case .number(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }
}
