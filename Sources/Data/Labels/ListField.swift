import Formats

extension RowLabel {
  /// A field of a table. What only looks like a number, as `nan` and `0x1F`, is a word.
  init(field: String) {
    if let list = ListField.parts(field) {
      self = .list(list)
    } else {
      self = Self.number(field).map { .number($0) } ?? .word(field)
    }
  }

  /// A number in decimal digits.
  fileprivate static func number(_ field: some StringProtocol) -> Double? {
    let isDecimal = field.utf8.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
    guard isDecimal, let number = Double(field), number.isFinite else { return nil }
    return number
  }
}

/// A list that was written into a field of a table: as JSON (`["joy", "love"]`), as Python prints lists (`['joy', 'love']`)
/// or as NumPy does (`[1 0 1]`).
enum ListField {
  /// - Returns: words and numbers; `nil` where the field is no such list, as `[joy]`
  static func parts(_ field: String) -> [RowLabel]? {
    let text = field.trimmed
    guard text.utf8.first == UInt8(ascii: "["), text.utf8.last == UInt8(ascii: "]"), text.utf8.count > 1 else {
      return nil
    }
    var parts: [RowLabel] = []
    var rest = text.dropFirst().dropLast()[...]
    while true {
      rest = rest.drop { $0 == "," || $0.isWhitespace }
      guard let first = rest.first else { return parts }
      if first == "'" || first == "\"" {
        guard let word = quoted(&rest) else { return nil }
        parts.append(.word(word))
      } else {
        let end = rest.firstIndex { $0 == "," || $0.isWhitespace } ?? rest.endIndex
        guard let number = RowLabel.number(rest[..<end]) else { return nil }
        parts.append(.number(number))
        rest = rest[end...]
      }
      guard rest.first.map({ $0 == "," || $0.isWhitespace }) ?? true else { return nil }
    }
  }

  /// A list of words, at least one.
  static func words(_ field: String) -> [String]? {
    guard let parts = parts(field), !parts.isEmpty else { return nil }
    let words = parts.compactMap { if case .word(let word) = $0 { word } else { nil } }
    return words.count == parts.count ? words : nil
  }

  /// Takes a word with its quotes from `rest`.
  private static func quoted(_ rest: inout Substring) -> String? {
    guard let quote = rest.popFirst() else { return nil }
    var word = ""
    while let next = rest.popFirst() {
      if next == quote { return word }
      if next != "\\" {
        word.append(next)
      } else if let escaped = rest.popFirst() {
        guard escaped == "\\" || escaped == "'" || escaped == "\"" else { return nil }
        word.append(escaped)
      }
    }
    return nil
  }
}
