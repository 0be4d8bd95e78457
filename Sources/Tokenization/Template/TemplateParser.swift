/// Reads a template into nodes.
struct TemplateParser {
  typealias Token = TemplateLexer.Token

  private let file: String
  private var parts: [TemplateLexer.Part]
  private var part = 0
  var tokens: [Token] = []
  var position = 0
  private var line = 1
  var depth = 0

  static func parse(_ source: String, file: String) throws -> [TemplateNode] {
    var parser = TemplateParser(file: file, parts: try TemplateLexer.parts(of: source, file: file))
    return try parser.nodes(until: [])
  }

  private init(file: String, parts: [TemplateLexer.Part]) {
    self.file = file
    self.parts = parts
  }

  func failure(_ reason: String) -> TemplateError { TemplateError(file: file, line: line, reason: reason) }

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

  private mutating func open(_ current: TemplateLexer.Part) {
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
      var names = [target]
      while take(",") { names.append(try name()) }
      if take("=") {
        var value = try expression()
        if isSymbol(",") {
          var values = [value]
          while take(",") { values.append(try expression()) }
          value = .list(values)
        }
        try close()
        result.append(.set(names: names, member: member, value, line: start))
      } else {
        guard names.count == 1, member == nil else { throw failure("expected '='") }
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
      let parameters = try parameters()
      try close()
      let body = try nodes(until: ["endmacro"])
      try skipEnd("endmacro")
      result.append(.macro(title, TemplateMacro(parameters: parameters, body: body)))
    case "call":
      let parameters = take("(") ? try self.parameters() : []
      let callee = try expression()
      guard case .call = callee else { throw failure("expected a call") }
      try close()
      let body = try nodes(until: ["endcall"])
      try skipEnd("endcall")
      result.append(.call(callee, caller: TemplateMacro(parameters: parameters, body: body), line: start))
    case "filter":
      let name = try self.name()
      let (positional, named) = take("(") ? try arguments() : ([], [])
      try close()
      let body = try nodes(until: ["endfilter"])
      try skipEnd("endfilter")
      result.append(.filterBlock((name, positional, named), body, line: start))
    case "with":
      var values: [(String, TemplateExpression)] = []
      while position < tokens.count {
        let name = try self.name()
        guard take("=") else { throw failure("expected '='") }
        values.append((name, try expression()))
        if !take(",") { break }
      }
      try close()
      let body = try nodes(until: ["endwith"])
      try skipEnd("endwith")
      result.append(.with(values, body, line: start))
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

  /// The parameters of a macro, behind the opening parenthesis.
  private mutating func parameters() throws -> [(name: String, fallback: TemplateExpression?)] {
    var parameters: [(name: String, fallback: TemplateExpression?)] = []
    while !take(")") {
      let parameter = try name()
      parameters.append((parameter, take("=") ? try expression() : nil))
      if !take(","), !isSymbol(")") { throw failure("expected ',' or ')'") }
    }
    return parameters
  }
}
