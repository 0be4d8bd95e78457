import Formats
import Glibc

/// Text for pages: what comes from files never becomes markup.
enum HTMLText {
  /// Text for the inside of an element or of a quoted attribute.
  static func escaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&#39;"
      // HTML has no place for other control characters.
      case _ where scalar.value < 0x20 && !["\n", "\t"].contains(scalar): escaped += "\u{FFFD}"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }

  /// JSON for the inside of a `script` element, which no text in it can end.
  static func data(_ json: JSONValue) -> String {
    json.serialized().split(separator: "<", omittingEmptySubsequences: false).joined(separator: "\\u003c")
  }

  /// The beginning of a text.
  static func shortened(_ text: String, _ most: Int) -> String {
    text.unicodeScalars.count <= most
      ? text : String(String.UnicodeScalarView(text.unicodeScalars.prefix(most))) + " ..."
  }

  // MARK: Numbers

  /// So many decimals, thousands apart, whatever the locale.
  static func decimal(_ value: Double, _ places: Int) -> String {
    guard value.isFinite else { return "-" }
    let text = withVaList([abs(value)]) { arguments in
      var buffer = [CChar](repeating: 0, count: 400)
      vsnprintf(&buffer, buffer.count, "%.\(places)f", arguments)
      return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    let parts = text.split(separator: ".")
    var whole = ""
    for (index, digit) in parts[0].reversed().enumerated() {
      if index > 0, index % 3 == 0 { whole = "," + whole }
      whole = String(digit) + whole
    }
    return (value < 0 ? "-" : "") + whole + (parts.count > 1 ? "." + parts[1] : "")
  }

  /// About four digits.
  static func short(_ value: Double) -> String {
    switch abs(value) {
    case 1000...: decimal(value, 0)
    case 100..<1000: decimal(value, 1)
    case 10..<100: decimal(value, 2)
    case 0.001..<10: decimal(value, 4)
    case 0: "0"
    default: "\(Thinning.rounded(value))"
    }
  }

  /// Whole bytes, however wrong a file's number is.
  static func bytes(_ number: Double) -> Int { Int(min(max(number, 0), 1e18)) }

  static func duration(_ seconds: Double) -> String {
    let whole = Int(min(max(seconds, 0), 1e9).rounded())
    if whole >= 3600 { return "\(whole / 3600) h \(whole % 3600 / 60) min" }
    return whole >= 60 ? "\(whole / 60) min \(whole % 60) s" : "\(decimal(seconds, seconds < 10 ? 1 : 0)) s"
  }

  static func energy(_ joules: Double) -> String {
    joules >= 36_000 ? "\(decimal(joules / 3600, 1)) Wh" : "\(decimal(joules, joules < 100 ? 1 : 0)) J"
  }

  // MARK: Elements

  /// A table whose cells are text.
  ///
  /// - Parameters:
  ///   - rows: cells, the first of which is what the row is about, and whether the row stands out
  ///   - numbers: columns that hold numbers
  static func table(head: [String], rows: [(cells: [String], standsOut: Bool)], numbers: Set<Int> = []) -> String {
    func cells(_ texts: [String], _ kind: String) -> String {
      texts.enumerated().map { index, text in
        let name = kind == "td" && index == 0 ? "th scope=\"row\"" : kind
        let end = kind == "td" && index == 0 ? "th" : kind
        return "<\(name)\(numbers.contains(index) ? " class=\"n\"" : "")>\(escaped(text))</\(end)>"
      }.joined()
    }
    let body = rows.map { "<tr\($0.standsOut ? " class=\"diff\"" : "")>\(cells($0.cells, "td"))</tr>" }
    let top = head.isEmpty ? "" : "<thead><tr>\(cells(head, "th"))</tr></thead>"
    return "<div class=\"scroll\"><table>\(top)<tbody>\(body.joined(separator: "\n"))</tbody></table></div>"
  }

  static func section(_ title: String, _ content: String, id: String) -> String {
    "<section id=\"\(id)\"><h2>\(escaped(title))</h2>\n\(content)\n</section>\n"
  }
}
