/// Cuts the source of a template into text, outputs and statements, and the latter two into tokens.
///
/// White space follows Jinja with `trim_blocks` and `lstrip_blocks`: `-` strips; a statement or comment swallows the line
/// break behind it and the blanks before it on its line; the line break at the end of the source does not count.
struct TemplateLexer {
  enum Token: Equatable {
    case name(String)
    case string(String)
    case integer(Int)
    case number(Double)
    case symbol(String)
  }

  /// A piece of the template: text, `{{ }}` or `{% %}`.
  struct Part {
    enum Kind { case text, output, statement }
    let kind: Kind
    var text: String = ""
    let line: Int
    var tokens: [Token] = []
  }

  private let file: String
  private let source: [Unicode.Scalar]
  private var position = 0
  private var line = 1
  private var parts: [Part] = []

  static func parts(of source: String, file: String) throws -> [Part] {
    var lexer = TemplateLexer(source, file: file)
    try lexer.run()
    return lexer.parts
  }

  private init(_ source: String, file: String) {
    self.file = file
    var scalars: [Unicode.Scalar] = []
    for scalar in source.unicodeScalars {
      if scalar == "\n", scalars.last == "\r" { scalars.removeLast() }
      scalars.append(scalar)
    }
    scalars = scalars.map { $0 == "\r" ? "\n" : $0 }
    if scalars.last == "\n" { scalars.removeLast() }
    self.source = scalars
  }

  private func failure(_ reason: String, line: Int) -> TemplateError {
    TemplateError(file: file, line: line, reason: reason)
  }

  private func at(_ first: Unicode.Scalar, _ second: Unicode.Scalar, _ place: Int) -> Bool {
    place + 1 < source.count && source[place] == first && source[place + 1] == second
  }

  private func isSpace(_ place: Int) -> Bool { place < source.count && source[place].properties.isWhitespace }

  private mutating func run() throws {
    // Whether what was read last, the start of the source included, ends a line.
    var startsLine = true
    var textStart = 0
    while position < source.count {
      guard source[position] == "{", position + 1 < source.count, ["{", "%", "#"].contains(source[position + 1]) else {
        position += 1
        continue
      }
      let kind = source[position + 1]
      var textEnd = position
      let sign = position + 2 < source.count ? source[position + 2] : " "
      if sign == "-" {
        while textEnd > textStart, isSpace(textEnd - 1) { textEnd -= 1 }
      } else if kind != "{", sign != "+" {
        var blank = textEnd
        while blank > textStart, isSpace(blank - 1), source[blank - 1] != "\n" { blank -= 1 }
        if blank > textStart ? source[blank - 1] == "\n" : startsLine { textEnd = blank }
      }
      addText(textStart..<textEnd)
      line += source[textEnd..<position].count { $0 == "\n" }
      position += sign == "-" || sign == "+" ? 3 : 2
      startsLine = try tag(kind)
      textStart = position
    }
    addText(textStart..<position)
  }

  private mutating func addText(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    var text = String.UnicodeScalarView()
    text.append(contentsOf: source[range])
    parts.append(Part(kind: .text, text: String(text), line: line))
    line += source[range].count { $0 == "\n" }
  }

  /// Reads from behind the opening delimiter to behind the closing one and what that swallows.
  /// - Returns: whether this ends a line
  private mutating func tag(_ kind: Unicode.Scalar) throws -> Bool {
    let start = position
    let startLine = line
    let close: Unicode.Scalar = kind == "{" ? "}" : kind
    var quote: Unicode.Scalar?
    var braces = 0
    while position < source.count {
      let scalar = source[position]
      if kind != "#" {
        if let open = quote {
          if scalar == "\\" { position += 1 } else if scalar == open { quote = nil }
          position += 1
          continue
        }
        if scalar == "'" || scalar == "\"" { quote = scalar }
        if scalar == "{" { braces += 1 }
      }
      // The brace of a dictionary inside an output does not close it.
      if at(close, "}", position), kind != "{" || braces == 0 { break }
      if kind != "#", scalar == "}", braces > 0 { braces -= 1 }
      position += 1
    }
    guard position < source.count else { throw failure("'{\(kind)' without '\(close)}'", line: startLine) }
    var end = position
    let sign: Unicode.Scalar = end > start ? source[end - 1] : " "
    if sign == "-" || (sign == "+" && kind != "{") { end -= 1 }
    position += 2
    if kind != "#" {
      let tokens = try Self.tokens(Array(source[start..<end]), file: file, line: startLine)
      if kind == "%", tokens == [.name("raw")] {
        line += source[start..<position].count { $0 == "\n" }
        if sign == "-" { skipSpace() }
        return try raw()
      }
      parts.append(Part(kind: kind == "{" ? .output : .statement, line: startLine, tokens: tokens))
    }
    line += source[start..<position].count { $0 == "\n" }
    return swallow(sign, breaksLine: kind != "{" && sign != "+")
  }

  private mutating func skipSpace() {
    while isSpace(position) {
      if source[position] == "\n" { line += 1 }
      position += 1
    }
  }

  /// Goes past what a closing delimiter takes along.
  private mutating func swallow(_ sign: Unicode.Scalar, breaksLine: Bool) -> Bool {
    let start = position
    if sign == "-" {
      skipSpace()
    } else if breaksLine, position < source.count, source[position] == "\n" {
      position += 1
      line += 1
    }
    return position > start && source[position - 1] == "\n"
  }

  /// The text up to `{% endraw %}` as it stands.
  private mutating func raw() throws -> Bool {
    let start = position
    let startLine = line
    while position < source.count {
      if at("{", "%", position) {
        var place = position + 2
        let before: Unicode.Scalar = place < source.count ? source[place] : " "
        if before == "-" || before == "+" { place += 1 }
        while isSpace(place) { place += 1 }
        if source[place...].starts(with: "endraw".unicodeScalars) {
          place += 6
          while isSpace(place) { place += 1 }
          let sign: Unicode.Scalar = place < source.count ? source[place] : " "
          if sign == "-" || sign == "+" { place += 1 }
          if at("%", "}", place) {
            var end = position
            if before == "-" { while end > start, isSpace(end - 1) { end -= 1 } }
            addText(start..<end)
            line += source[end..<place].count { $0 == "\n" }
            position = place + 2
            return swallow(sign, breaksLine: sign != "+")
          }
        }
      }
      position += 1
    }
    throw failure("'raw' without 'endraw'", line: startLine)
  }

  // MARK: tokens

  private static let symbols = Set("+-/*%~[](){}<>=.:|,!".unicodeScalars)

  private static func tokens(_ text: [Unicode.Scalar], file: String, line: Int) throws -> [Token] {
    var result: [Token] = []
    var position = 0
    func isDigit(_ place: Int) -> Bool { place < text.count && (0x30...0x39).contains(text[place].value) }
    func isName(_ scalar: Unicode.Scalar) -> Bool {
      scalar == "_" || scalar.properties.isAlphabetic || (scalar.value >= 0x30 && scalar.value <= 0x39)
    }
    while position < text.count {
      let scalar = text[position]
      if scalar.properties.isWhitespace {
        position += 1
      } else if scalar == "'" || scalar == "\"" {
        result.append(.string(Self.string(text, &position)))
      } else if isDigit(position) {
        let start = position
        while isDigit(position) { position += 1 }
        if position < text.count, text[position] == ".", isDigit(position + 1) {
          position += 1
          while isDigit(position) { position += 1 }
        }
        var digits = String.UnicodeScalarView()
        digits.append(contentsOf: text[start..<position])
        if let value = Int(String(digits)) {
          result.append(.integer(value))
        } else if let value = Double(String(digits)), value.isFinite {
          result.append(.number(value))
        } else {
          throw TemplateError(file: file, line: line, reason: "'\(String(digits).prefix(40))' is not a number")
        }
      } else if isName(scalar) {
        var name = String.UnicodeScalarView()
        while position < text.count, isName(text[position]) {
          name.append(text[position])
          position += 1
        }
        result.append(.name(String(name)))
      } else {
        guard symbols.contains(scalar) else {
          throw TemplateError(file: file, line: line, reason: "unexpected character '\(scalar)'")
        }
        let two = position + 1 < text.count ? "\(scalar)\(text[position + 1])" : ""
        let symbol = ["==", "!=", "<=", ">=", "//", "**"].contains(two) ? two : "\(scalar)"
        result.append(.symbol(symbol))
        position += symbol.unicodeScalars.count
      }
    }
    // Long chains make deep trees, and trees are walked recursively.
    if result.count > 20_000 { throw TemplateError(file: file, line: line, reason: "an expression is too long") }
    return result
  }

  /// A string with Python's escapes; an unknown one stands for itself.
  private static func string(_ text: [Unicode.Scalar], _ position: inout Int) -> String {
    let quote = text[position]
    var value = String.UnicodeScalarView()
    position += 1
    let plain: [Unicode.Scalar: Unicode.Scalar] = [
      "n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", "\"": "\"", "a": "\u{7}", "b": "\u{8}", "f": "\u{C}",
      "v": "\u{B}", "0": "\0",
    ]
    let lengths: [Unicode.Scalar: Int] = ["x": 2, "u": 4, "U": 8]
    while position < text.count, text[position] != quote {
      guard text[position] == "\\", position + 1 < text.count else {
        value.append(text[position])
        position += 1
        continue
      }
      let escape = text[position + 1]
      if let scalar = plain[escape] {
        value.append(scalar)
        position += 2
      } else if let length = lengths[escape], position + 2 + length <= text.count,
        let code = UInt32(text[position + 2..<position + 2 + length].map { String($0) }.joined(), radix: 16),
        let scalar = Unicode.Scalar(code)
      {
        value.append(scalar)
        position += 2 + length
      } else if escape == "\n" {
        position += 2
      } else {
        value.append("\\")
        position += 1
      }
    }
    position += 1
    return String(value)
  }
}
