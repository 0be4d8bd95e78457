import Formats

/// Values as Python's `json.dumps` writes them.
struct TemplateJSON {
  var indent: Int?
  var escapesAll = false
  var sortsKeys = false
  /// Between values, and between a key and its value.
  var separators: (item: String, key: String)

  init(indent: Int?, separators: (item: String, key: String)? = nil) {
    self.indent = indent
    self.separators = separators ?? (indent == nil ? ", " : ",", ": ")
  }

  func text(_ value: JSONValue, level: Int = 0) -> String {
    switch value {
    case .array(let values) where !values.isEmpty:
      return "["
        + values.map { line(level + 1) + text($0, level: level + 1) }.joined(separator: separators.item)
        + line(level) + "]"
    case .object(let object) where !object.entries.isEmpty:
      var entries = object.entries
      if sortsKeys { entries.sort { TemplateText.order($0.key, $1.key) < 0 } }
      return "{"
        + entries.map { line(level + 1) + string($0.key) + separators.key + text($0.value, level: level + 1) }
        .joined(separator: separators.item) + line(level) + "}"
    case .string(let text): return string(text)
    case .number(let number):
      return number.isNaN ? "NaN" : number.isInfinite ? number < 0 ? "-Infinity" : "Infinity" : "\(number)"
    default: return value.serialized()
    }
  }

  private func line(_ level: Int) -> String { indent.map { "\n" + String(repeating: " ", count: $0 * level) } ?? "" }

  private func string(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case "\u{8}": result += "\\b"
      case "\u{C}": result += "\\f"
      case _ where scalar.value < 0x20 || (escapesAll && scalar.value > 0x7E):
        for unit in String(scalar).utf16 {
          let digits = String(unit, radix: 16)
          result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
