/// A JSON document; objects keep the order of their keys.
public enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  case integer(Int)
  /// A whole number that no `Int` holds, by its digits.
  case longInteger(String)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)

  /// The member `key`, if this is an object that has it.
  public subscript(key: String) -> JSONValue? { objectValue?[key] }

  public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
  public var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var arrayValue: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
  public var objectValue: JSONObject? { if case .object(let value) = self { value } else { nil } }

  /// The number, if it is whole.
  public var intValue: Int? {
    switch self {
    case .integer(let value): value
    case .number(let value) where value == value.rounded() && abs(value) < 9e15: Int(value)
    default: nil
    }
  }

  public var doubleValue: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .longInteger(let digits): Double(digits)
    case .number(let value): value
    default: nil
    }
  }

  /// The document as text.
  /// - Parameter pretty: two spaces per level, one member per line
  public func serialized(pretty: Bool = false) -> String {
    var text = ""
    write(to: &text, indent: pretty ? 0 : nil)
    return text
  }

  private func write(to text: inout String, indent: Int?) {
    func line(_ level: Int) -> String { indent == nil ? "" : "\n" + String(repeating: "  ", count: level) }
    let level = indent ?? 0
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .integer(let value): text += String(value)
    case .longInteger(let digits): text += digits
    case .number(let value): text += value.isFinite ? "\(value)" : "null"
    case .string(let value): Self.quote(value, to: &text)
    case .array(let values):
      text += "["
      for (index, value) in values.enumerated() {
        text += (index == 0 ? "" : indent == nil ? ", " : ",") + line(level + 1)
        value.write(to: &text, indent: indent.map { $0 + 1 })
      }
      text += (values.isEmpty ? "" : line(level)) + "]"
    case .object(let object):
      text += "{"
      for (index, entry) in object.entries.enumerated() {
        text += (index == 0 ? "" : indent == nil ? ", " : ",") + line(level + 1)
        Self.quote(entry.key, to: &text)
        text += ": "
        entry.value.write(to: &text, indent: indent.map { $0 + 1 })
      }
      text += (object.entries.isEmpty ? "" : line(level)) + "}"
    }
  }

  private static func quote(_ string: String, to text: inout String) {
    text += "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20:
        let hex = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}

/// The members of a JSON object in their order.
public struct JSONObject: Sendable, Equatable {
  public private(set) var entries: [(key: String, value: JSONValue)] = []
  /// Places of the keys plus one by their hash, 0 where there is none, once there are more than a few: a `Dictionary`
  /// would take most of the memory of a large document, and a table for every object most of that of small ones.
  private var table: [Int32] = []
  private static let mostWithoutTable = 8

  /// By the bytes: for Swift, strings are equal where only their meaning is, as é in one scalar and in two. The seed of
  /// `Hasher` is another in every process, so that no document can be made whose keys meet.
  private static func hash(_ key: String) -> Int {
    var key = key
    var hasher = Hasher()
    key.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    return hasher.finalize()
  }

  private static func isSame(_ left: String, _ right: String) -> Bool { left.utf8.elementsEqual(right.utf8) }

  public init() {}

  public init(_ entries: [(key: String, value: JSONValue)]) {
    for (key, value) in entries { self[key] = value }
  }

  public var keys: [String] { entries.map(\.key) }

  private func place(of key: String) -> Int? {
    if table.isEmpty { return entries.firstIndex { Self.isSame($0.key, key) } }
    let slot = slot(of: key)
    return table[slot] == 0 ? nil : Int(table[slot]) - 1
  }

  /// The slot that has the key, or the free one where it belongs.
  private func slot(of key: String) -> Int {
    let mask = table.count - 1
    var slot = Self.hash(key) & mask
    while table[slot] != 0, !Self.isSame(entries[Int(table[slot]) - 1].key, key) { slot = (slot + 1) & mask }
    return slot
  }

  /// Makes the table anew with room for as many entries again, or drops it when there are few.
  private mutating func makeTable() {
    table = []
    guard entries.count > Self.mostWithoutTable else { return }
    var size = 32
    while size < entries.count * 3 { size *= 2 }
    table = [Int32](repeating: 0, count: size)
    for (index, entry) in entries.enumerated() { table[slot(of: entry.key)] = Int32(index + 1) }
  }

  /// Setting a key that exists keeps its place; `nil` removes it.
  public subscript(key: String) -> JSONValue? {
    get { place(of: key).map { entries[$0].value } }
    set {
      let place = place(of: key)
      if let newValue {
        if let place {
          entries[place].value = newValue
        } else {
          entries.append((key, newValue))
          if entries.count * 3 > table.count * 2 {
            makeTable()
          } else {
            table[slot(of: key)] = Int32(entries.count)
          }
        }
      } else if let place {
        entries.remove(at: place)
        makeTable()
      }
    }
  }

  public static func == (left: JSONObject, right: JSONObject) -> Bool {
    left.entries.count == right.entries.count
      && zip(left.entries, right.entries).allSatisfy { isSame($0.key, $1.key) && $0.value == $1.value }
  }
}
