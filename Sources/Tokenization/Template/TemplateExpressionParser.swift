/// Reads the expressions of a template, by precedence.
extension TemplateParser {
  func isSymbol(_ symbol: String) -> Bool { position < tokens.count && tokens[position] == .symbol(symbol) }

  mutating func take(_ symbol: String) -> Bool {
    guard isSymbol(symbol) else { return false }
    position += 1
    return true
  }

  mutating func takeName(_ name: String) -> Bool {
    guard position < tokens.count, tokens[position] == .name(name) else { return false }
    position += 1
    return true
  }

  mutating func name() throws -> String {
    guard position < tokens.count, case .name(let name) = tokens[position] else { throw failure("expected a name") }
    position += 1
    return name
  }

  mutating func expression() throws -> TemplateExpression {
    try nested { parser in
      let value = try parser.binary(0)
      guard parser.takeName("if") else { return value }
      let condition = try parser.binary(0)
      let otherwise = parser.takeName("else") ? try parser.expression() : nil
      return .condition(condition, then: value, otherwise: otherwise)
    }
  }

  private mutating func nested(_ body: (inout TemplateParser) throws -> TemplateExpression) throws -> TemplateExpression
  {
    depth += 1
    if depth > 100 { throw failure("nested too deep") }
    defer { depth -= 1 }
    return try body(&self)
  }

  // From the loosest to the tightest.
  private static let levels: [[String]] = [
    ["or"], ["and"], ["not"], ["==", "!=", "<", ">", "<=", ">=", "in", "not in", "is"], ["+", "-"], ["~"],
    ["*", "/", "//", "%"],
  ]

  mutating func binary(_ level: Int) throws -> TemplateExpression {
    if level == Self.levels.count { return try unary() }
    if Self.levels[level] == ["not"] {
      return takeName("not") ? .not(try nested { try $0.binary(level) }) : try binary(level + 1)
    }
    var left = try binary(level + 1)
    while let name = takeOperator(Self.levels[level]) {
      if name == "is" {
        let negated = takeName("not")
        let test = try self.name()
        var arguments: [TemplateExpression] = []
        if take("(") {
          arguments = try self.arguments().0
        } else if position < tokens.count, !Self.testsWithoutArgument.contains(test), startsOperand {
          arguments = [try unary()]
        }
        left = .test(left, test, arguments, negated: negated)
      } else {
        left = .binary(name, left, try binary(level + 1))
      }
    }
    return left
  }

  private static let testsWithoutArgument: Set = ["defined", "undefined", "none", "string", "true", "false"]

  /// Whether the next token can be a test's argument without parentheses.
  private var startsOperand: Bool {
    switch tokens[position] {
    case .string, .integer, .number: true
    case .name(let name): !["and", "or", "not", "if", "else", "is", "in"].contains(name)
    case .symbol(let symbol): symbol == "[" || symbol == "{"
    }
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
    let base = try signed()
    guard take("**") else { return base }
    // A sign before the base counts for the power.
    if case .negative(let inner) = base { return .negative(.binary("**", inner, try nested { try $0.unary() })) }
    return .binary("**", base, try nested { try $0.unary() })
  }

  private mutating func signed() throws -> TemplateExpression {
    if take("-") { return .negative(try nested { try $0.signed() }) }
    if take("+") { return try nested { try $0.signed() } }
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

  mutating func arguments() throws -> ([TemplateExpression], [(String, TemplateExpression)]) {
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
