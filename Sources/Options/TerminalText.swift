/// Text in lines that a terminal does not break.
public enum TerminalText {
  /// Characters of a line of a terminal that nobody has made wider.
  public static let width = 80

  /// A text in lines; a word that is longer than a line stays whole.
  ///
  /// - Parameters:
  ///   - indent: spaces before every line but the first
  ///   - used: characters that stand before the first line already
  public static func wrapped(_ text: String, indent: Int = 0, used: Int = 0) -> String {
    let start = text.prefix { $0 == " " }
    var lines = [""]
    var room = width - used - start.count
    for word in text.split(separator: " ") {
      let last = lines.count - 1
      if lines[last].isEmpty {
        lines[last] = String(word)
      } else if lines[last].count + 1 + word.count <= room {
        lines[last] += " " + word
      } else {
        lines.append(String(word))
        room = width - indent
      }
    }
    return start + lines.joined(separator: "\n" + String(repeating: " ", count: indent))
  }
}
