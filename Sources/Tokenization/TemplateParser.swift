/// Reads a template into nodes.
struct TemplateParser {
  private enum Token: Equatable {
    case name(String)
    case string(String)
    case integer(Int)
    case number(Double)
    case symbol(String)
  }

  /// A piece of the template: text, `{{ }}` or `{% %}`.
  private struct Part {
    enum Kind { case text, output, statement }
    let kind: Kind
    var text: String
    let line: Int
    var tokens: [Token] = []
  }

  private let file: String
  private var parts: [Part]
  private var part = 0
  private var tokens: [Token] = []
  private var position = 0
  private var line = 1
  private var depth = 0

  static func parse(_ source: String, file: String) throws -> [TemplateNode] {
    var parser = TemplateParser(file: file, parts: try split(source, file: file))
    let nodes = try parser.nodes(until: [])
    return nodes
  }

  private init(file: String, parts: [Part]) {
    self.file = file
    self.parts = parts
  }

  private func failure(_ reason: String) -> TemplateError { TemplateError(file: file, line: line, reason: reason) }

  /// Cuts the source at its delimiters and applies the white-space rules: `-` strips, a statement swallows the line
  /// break behind it and the blanks before it on its line.
  private static func split(_ source: String, file: String) throws -> [Part] {
    var parts: [Part] = []
    let characters = Array(source.unicodeScalars)
    var position = 0
    var text = String.UnicodeScalarView()
    var line = 1
    var textLine = 1
    var stripNext = false
    var swallowBreak = false
    func at(_ literal: String, _ place: Int) -> Bool {
      let wanted = Array(literal.unicodeScalars)
      return place + wanted.count <= characters.count && Array(characters[place..<place + wanted.count]) == wanted
    }
    func flush() {
      var value = String(text)
      if swallowBreak, value.unicodeScalars.first == "\n" { value.unicodeScalars.removeFirst() }
      if stripNext { value = String(value.drop { $0.isWhitespace }) }
      if !value.isEmpty { parts.append(Part(kind: .text, text: value, line: textLine)) }
      text = String.UnicodeScalarView()
      textLine = line
      swallowBreak = false
      stripNext = false
    }
    while position < characters.count {
      guard at("{{", position) || at("{%", position) || at("{#", position) else {
        if characters[position] == "\n" { line += 1 }
        text.append(characters[position])
        position += 1
        continue
      }
      let kind = characters[position + 1]
      let startLine = line
      var start = position + 2
      let stripsBefore = at("-", start)
      if stripsBefore || at("+", start) { start += 1 }
      if stripsBefore {
        while text.last.map({ $0.properties.isWhitespace }) == true { text.removeLast() }
      } else if kind != "{", !at("+", position + 2) {
        // blanks at the start of a line before a statement do not count
        var end = text.endIndex
        while end > text.startIndex, [" ", "\t"].contains(text[text.index(before: end)]) {
          end = text.index(before: end)
        }
        if end == text.startIndex ? (parts.isEmpty || swallowBreak) : text[text.index(before: end)] == "\n" {
          text.removeSubrange(end...)
        }
      }
      flush()
      let close = kind == "{" ? "}}" : kind == "%" ? "%}" : "#}"
      var end = start
      var quote: Unicode.Scalar?
      while end < characters.count {
        if kind != "#" {
          if let open = quote {
            if characters[end] == "\\" {
              end += 2
              continue
            }
            if characters[end] == open { quote = nil }
          } else if characters[end] == "'" || characters[end] == "\"" {
            quote = characters[end]
          }
        }
        if quote == nil, at(close, end) { break }
        if characters[end] == "\n" { line += 1 }
        end += 1
      }
      guard end < characters.count else {
        throw TemplateError(file: file, line: startLine, reason: "'{\(kind)' without '\(close)'")
      }
      var inside = characters[start..<end]
      if inside.last == "-" {
        inside.removeLast()
        stripNext = true
      } else if inside.last == "+" {
        inside.removeLast()
      } else if kind != "{" {
        swallowBreak = true
      }
      if kind != "#" {
        var part = Part(kind: kind == "{" ? .output : .statement, text: "", line: startLine)
        part.tokens = try tokens(Array(inside), file: file, line: startLine)
        parts.append(part)
      }
      position = end + 2
      textLine = line
    }
    flush()
    return parts
  }

  private static func tokens(_ text: [Unicode.Scalar], file: String, line: Int) throws -> [Token] {
    var result: [Token] = []
    var position = 0
    func isName(_ scalar: Unicode.Scalar) -> Bool {
      scalar == "_" || scalar.properties.isAlphabetic || (scalar.value >= 0x30 && scalar.value <= 0x39)
    }
    while position < text.count {
      let scalar = text[position]
      if scalar.properties.isWhitespace {
        position += 1
      } else if scalar == "'" || scalar == "\"" {
        var value = String.UnicodeScalarView()
        position += 1
        while position < text.count, text[position] != scalar {
          if text[position] == "\\", position + 1 < text.count {
            position += 1
            switch text[position] {
            case "n": value.append("\n")
            case "t": value.append("\t")
            case "r": value.append("\r")
            default: value.append(text[position])
            }
          } else {
            value.append(text[position])
          }
          position += 1
        }
        position += 1
        result.append(.string(String(value)))
      } else if scalar.value >= 0x30, scalar.value <= 0x39 {
        var digits = ""
        while position < text.count, (0x30...0x39).contains(text[position].value) || text[position] == "." {
          digits.unicodeScalars.append(text[position])
          position += 1
        }
        if let value = Int(digits) {
          result.append(.integer(value))
        } else if let value = Double(digits) {
          result.append(.number(value))
        } else {
          throw TemplateError(file: file, line: line, reason: "'\(digits)' is not a number")
        }
      } else if isName(scalar) {
        var name = String.UnicodeScalarView()
        while position < text.count, isName(text[position]) {
          name.append(text[position])
          position += 1
        }
        result.append(.name(String(name)))
      } else {
        let two = position + 1 < text.count ? "\(scalar)\(text[position + 1])" : ""
        if ["==", "!=", "<=", ">=", "//", "**"].contains(two) {
          result.append(.symbol(two))
          position += 2
        } else {
          result.append(.symbol("\(scalar)"))
          position += 1
        }
      }
    }
    return result
  }

  // MARK: statements

  private mutating func nodes(until ends: Set<String>) throws -> [TemplateNode] {
    depth += 1
    if depth > 100 { throw failure("nested too deep") }
    defer { depth -= 1 }
    var result: [TemplateNode] = []
    while part < parts.count {
      let current = parts[part]
      line = current.line
      switch current.kind {
      case .text:
        result.append(.text(current.text))
        part += 1
      case .output:
        open(current)
        result.append(.output(try expression(), line: line))
        try close()
      case .statement:
        guard case .name(let keyword)? = current.tokens.first else { throw failure("a statement without a name") }
        if ends.contains(keyword) { return result }
        open(current)
        position = 1
        try statement(keyword, into: &result)
      }
    }
    if !ends.isEmpty { throw failure("missing \(ends.sorted().joined(separator: " or "))") }
    return result
  }

  private mutating func open(_ current: Part) {
    tokens = current.tokens
    position = 0
    line = current.line
  }

  /// The end of `{{ }}` or `{% %}`.
  private mutating func close() throws {
    if position < tokens.count { throw failure("unexpected text: \(tokens[position])") }
    part += 1
  }

  /// Goes past `{% name %}`.
  private mutating func skipEnd(_ name: String) throws {
    guard part < parts.count else { throw failure("missing \(name)") }
    part += 1
  }

  private mutating func statement(_ keyword: String, into result: inout [TemplateNode]) throws {
    let start = line
    switch keyword {
    case "set":
      let target = try name()
      let member = take(".") ? try name() : nil
      if take("=") {
        let value = try expression()
        try close()
        result.append(.set(target: target, member: member, value, line: start))
      } else {
        try close()
        let body = try nodes(until: ["endset"])
        try skipEnd("endset")
        result.append(.setBlock(target: target, body, line: start))
      }
    case "if":
      var branches: [(TemplateExpression, [TemplateNode])] = []
      var otherwise: [TemplateNode] = []
      var condition = try expression()
      try close()
      while true {
        branches.append((condition, try nodes(until: ["elif", "else", "endif"])))
        guard case .name(let next)? = parts[part].tokens.first else { throw failure("missing endif") }
        if next == "elif" {
          open(parts[part])
          position = 1
          condition = try expression()
          try close()
          continue
        }
        try skipEnd(next)
        if next == "else" {
          otherwise = try nodes(until: ["endif"])
          try skipEnd("endif")
        }
        break
      }
      result.append(.condition(branches, otherwise: otherwise, line: start))
    case "for":
      var names = [try name()]
      while take(",") { names.append(try name()) }
      guard takeName("in") else { throw failure("expected 'in'") }
      let source = try binary(0)
      let filter = takeName("if") ? try expression() : nil
      try close()
      let body = try nodes(until: ["else", "endfor"])
      var otherwise: [TemplateNode] = []
      if case .name("else")? = parts[part].tokens.first {
        try skipEnd("else")
        otherwise = try nodes(until: ["endfor"])
      }
      try skipEnd("endfor")
      result.append(.loop(names: names, over: source, filter: filter, body, otherwise: otherwise, line: start))
    case "macro":
      let title = try name()
      guard take("(") else { throw failure("expected '('") }
      var parameters: [(name: String, fallback: TemplateExpression?)] = []
      while !take(")") {
        let parameter = try name()
        parameters.append((parameter, take("=") ? try expression() : nil))
        if !take(","), !isSymbol(")") { throw failure("expected ',' or ')'") }
      }
      try close()
      let body = try nodes(until: ["endmacro"])
      try skipEnd("endmacro")
      result.append(.macro(title, TemplateMacro(parameters: parameters, body: body)))
    case "generation":
      try close()
      result += try nodes(until: ["endgeneration"])
      try skipEnd("endgeneration")
    case "break":
      try close()
      result.append(.breakLoop)
    case "continue":
      try close()
      result.append(.continueLoop)
    default: throw failure("statement '\(keyword)' is not supported")
    }
  }

  // MARK: expressions

  private func isSymbol(_ symbol: String) -> Bool { position < tokens.count && tokens[position] == .symbol(symbol) }

  private mutating func take(_ symbol: String) -> Bool {
    guard isSymbol(symbol) else { return false }
    position += 1
    return true
  }

  private mutating func takeName(_ name: String) -> Bool {
    guard position < tokens.count, tokens[position] == .name(name) else { return false }
    position += 1
    return true
  }

  private mutating func name() throws -> String {
    guard position < tokens.count, case .name(let name) = tokens[position] else { throw failure("expected a name") }
    position += 1
    return name
  }

  private mutating func expression() throws -> TemplateExpression {
    depth += 1
    if depth > 100 { throw failure("nested too deep") }
    defer { depth -= 1 }
    let value = try binary(0)
    guard takeName("if") else { return value }
    let condition = try binary(0)
    let otherwise = takeName("else") ? try expression() : nil
    return .condition(condition, then: value, otherwise: otherwise)
  }

  private static let levels: [[String]] = [
    ["or"], ["and"], ["not"], ["==", "!=", "<", ">", "<=", ">=", "in", "not in", "is"], ["+", "-"], ["~"],
    ["*", "/", "//", "%"],
  ]

  private mutating func binary(_ level: Int) throws -> TemplateExpression {
    if level == Self.levels.count { return try unary() }
    if Self.levels[level] == ["not"] {
      return takeName("not") ? .not(try binary(level)) : try binary(level + 1)
    }
    var left = try binary(level + 1)
    while let name = takeOperator(Self.levels[level]) {
      if name == "is" {
        let negated = takeName("not")
        let test = try self.name()
        var arguments: [TemplateExpression] = []
        if take("(") {
          arguments = try self.arguments().0
        } else if position < tokens.count, ["equalto", "eq", "divisibleby", "in"].contains(test) {
          arguments = [try unary()]
        }
        left = .test(left, test, arguments, negated: negated)
      } else {
        left = .binary(name, left, try binary(level + 1))
      }
    }
    return left
  }

  private mutating func takeOperator(_ operators: [String]) -> String? {
    guard position < tokens.count else { return nil }
    switch tokens[position] {
    case .symbol(let symbol) where operators.contains(symbol):
      position += 1
      return symbol
    case .name("not")
    where operators.contains("not in") && position + 1 < tokens.count && tokens[position + 1] == .name("in"):
      position += 2
      return "not in"
    case .name(let name) where operators.contains(name):
      position += 1
      return name
    default: return nil
    }
  }

  private mutating func unary() throws -> TemplateExpression {
    if take("-") { return .negative(try unary()) }
    if take("+") { return try unary() }
    var value = try primary()
    while true {
      if take(".") {
        value = .member(value, try name())
      } else if take("[") {
        value = try element(of: value)
      } else if take("(") {
        let (positional, named) = try arguments()
        value = .call(value, positional, named)
      } else if take("|") {
        let filter = try name()
        let (positional, named) = take("(") ? try arguments() : ([], [])
        value = .filter(value, filter, positional, named)
      } else {
        return value
      }
    }
  }

  private mutating func element(of value: TemplateExpression) throws -> TemplateExpression {
    var bounds: [TemplateExpression?] = [nil]
    var isSlice = false
    while !take("]") {
      if take(":") {
        isSlice = true
        bounds.append(nil)
      } else if bounds[bounds.count - 1] == nil {
        bounds[bounds.count - 1] = try expression()
      } else {
        throw failure("expected ']'")
      }
    }
    if isSlice { return .slice(value, bounds[0], bounds[1], bounds.count > 2 ? bounds[2] : nil) }
    guard let index = bounds[0] else { throw failure("'[]' without an index") }
    return .element(value, index)
  }

  private mutating func arguments() throws -> ([TemplateExpression], [(String, TemplateExpression)]) {
    var positional: [TemplateExpression] = []
    var named: [(String, TemplateExpression)] = []
    while !take(")") {
      if position + 1 < tokens.count, case .name(let key) = tokens[position], tokens[position + 1] == .symbol("=") {
        position += 2
        named.append((key, try expression()))
      } else {
        positional.append(try expression())
      }
      if !take(","), !isSymbol(")") { throw failure("expected ',' or ')'") }
    }
    return (positional, named)
  }

  private mutating func primary() throws -> TemplateExpression {
    guard position < tokens.count else { throw failure("expected an expression") }
    let token = tokens[position]
    position += 1
    switch token {
    case .string(var value):
      while position < tokens.count, case .string(let more) = tokens[position] {
        value += more
        position += 1
      }
      return .literal(.string(value))
    case .integer(let value): return .literal(.integer(value))
    case .number(let value): return .literal(.number(value))
    case .name("true"), .name("True"): return .literal(.bool(true))
    case .name("false"), .name("False"): return .literal(.bool(false))
    case .name("none"), .name("None"): return .literal(.none)
    case .name(let name): return .name(name)
    case .symbol("("):
      var values = [try expression()]
      var isTuple = false
      while take(",") {
        isTuple = true
        if isSymbol(")") { break }
        values.append(try expression())
      }
      guard take(")") else { throw failure("expected ')'") }
      return isTuple ? .list(values) : values[0]
    case .symbol("["):
      var values: [TemplateExpression] = []
      while !take("]") {
        values.append(try expression())
        if !take(","), !isSymbol("]") { throw failure("expected ',' or ']'") }
      }
      return .list(values)
    case .symbol("{"):
      var entries: [(TemplateExpression, TemplateExpression)] = []
      while !take("}") {
        let key = try expression()
        guard take(":") else { throw failure("expected ':'") }
        entries.append((key, try expression()))
        if !take(","), !isSymbol("}") { throw failure("expected ',' or '}'") }
      }
      return .map(entries)
    case .symbol(let symbol): throw failure("unexpected '\(symbol)'")
    }
  }
}
