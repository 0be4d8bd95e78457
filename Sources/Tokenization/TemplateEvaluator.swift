import Formats
import Foundation

/// Runs a parsed template.
final class TemplateEvaluator {
  private let file: String
  private var scopes: [[String: TemplateValue]]
  private var line = 1
  private var output = ""
  private var steps = 0
  private var depth = 0
  private static let mostSteps = 5_000_000

  private enum Flow { case normal, breakLoop, continueLoop }

  init(file: String, globals: [String: TemplateValue]) {
    self.file = file
    scopes = [globals]
  }

  func run(_ nodes: [TemplateNode]) throws -> String {
    _ = try execute(nodes)
    return output
  }

  private func failure(_ reason: String) -> TemplateError { TemplateError(file: file, line: line, reason: reason) }

  private func value(of name: String) -> TemplateValue {
    for scope in scopes.reversed() { if let value = scope[name] { return value } }
    return .undefined
  }

  private func execute(_ nodes: [TemplateNode]) throws -> Flow {
    for node in nodes {
      steps += 1
      if steps > Self.mostSteps { throw failure("the template does not come to an end") }
      switch node {
      case .text(let text): output += text
      case .output(let expression, let line):
        self.line = line
        output += try evaluate(expression).text
      case .set(let target, let member, let expression, let line):
        self.line = line
        let value = try evaluate(expression)
        if let member {
          guard case .namespace(let space) = self.value(of: target) else {
            throw failure("\(target) is not a namespace")
          }
          space.values[member] = value
        } else {
          scopes[scopes.count - 1][target] = value
        }
      case .setBlock(let target, let body, let line):
        self.line = line
        scopes[scopes.count - 1][target] = .string(try captured(body))
      case .condition(let branches, let otherwise, let line):
        self.line = line
        var chosen = otherwise
        for (condition, body) in branches where try evaluate(condition).isTrue {
          chosen = body
          break
        }
        let flow = try execute(chosen)
        if flow != .normal { return flow }
      case .loop(let names, let source, let filter, let body, let otherwise, let line):
        self.line = line
        try loop(names, over: try elements(of: try evaluate(source)), filter: filter, body, otherwise: otherwise)
      case .macro(let name, let macro): scopes[scopes.count - 1][name] = .macro(macro)
      case .breakLoop: return .breakLoop
      case .continueLoop: return .continueLoop
      }
    }
    return .normal
  }

  private func captured(_ nodes: [TemplateNode]) throws -> String {
    let outer = output
    output = ""
    defer { output = outer }
    _ = try execute(nodes)
    return output
  }

  private func elements(of value: TemplateValue) throws -> [TemplateValue] {
    switch value {
    case .list(let values): return values
    case .map(let entries): return entries.map { .string($0.0) }
    case .string(let text): return text.map { .string(String($0)) }
    case .undefined: return []
    default: throw failure("this value has no elements")
    }
  }

  private func bind(_ names: [String], to value: TemplateValue) throws {
    if names.count == 1 {
      scopes[scopes.count - 1][names[0]] = value
      return
    }
    let parts = try elements(of: value)
    guard parts.count == names.count else { throw failure("\(parts.count) values for \(names.count) names") }
    for (name, part) in zip(names, parts) { scopes[scopes.count - 1][name] = part }
  }

  private func loop(
    _ names: [String], over source: [TemplateValue], filter: TemplateExpression?, _ body: [TemplateNode],
    otherwise: [TemplateNode]
  ) throws {
    scopes.append([:])
    defer { scopes.removeLast() }
    var values = source
    if let filter {
      values = try source.filter { value in
        try bind(names, to: value)
        return try evaluate(filter).isTrue
      }
    }
    if values.isEmpty {
      _ = try execute(otherwise)
      return
    }
    for (index, value) in values.enumerated() {
      scopes[scopes.count - 1] = [
        "loop": .map([
          ("index", .integer(index + 1)), ("index0", .integer(index)), ("first", .bool(index == 0)),
          ("last", .bool(index == values.count - 1)), ("length", .integer(values.count)),
          ("revindex", .integer(values.count - index)), ("revindex0", .integer(values.count - index - 1)),
          ("previtem", index > 0 ? values[index - 1] : .undefined),
          ("nextitem", index + 1 < values.count ? values[index + 1] : .undefined),
        ])
      ]
      try bind(names, to: value)
      if try execute(body) == .breakLoop { break }
    }
  }

  // MARK: expressions

  private func evaluate(_ expression: TemplateExpression) throws -> TemplateValue {
    depth += 1
    defer { depth -= 1 }
    if depth > 200 { throw failure("nested too deep") }
    switch expression {
    case .literal(let value): return value
    case .name(let name): return value(of: name)
    case .list(let values): return .list(try values.map(evaluate))
    case .map(let entries): return .map(try entries.map { (try evaluate($0.0).text, try evaluate($0.1)) })
    case .member(let base, let name): return try evaluate(base).member(name)
    case .element(let base, let index): return try element(try evaluate(base), try evaluate(index))
    case .slice(let base, let start, let end, let step):
      return try slice(
        try evaluate(base), try start.map(evaluate), try end.map(evaluate), try step.map(evaluate))
    case .not(let value): return .bool(!(try evaluate(value).isTrue))
    case .negative(let value):
      switch try evaluate(value) {
      case .integer(let number): return .integer(0 &- number)
      case .number(let number): return .number(-number)
      default: throw failure("'-' before something that is not a number")
      }
    case .condition(let condition, let then, let otherwise):
      if try evaluate(condition).isTrue { return try evaluate(then) }
      return try otherwise.map(evaluate) ?? .undefined
    case .binary(let name, let left, let right): return try binary(name, left, right)
    case .test(let value, let name, let arguments, let negated):
      let result = try test(try evaluate(value), name, try arguments.map(evaluate))
      return .bool(result != negated)
    case .filter(let value, let name, let positional, let named):
      return try filter(
        try evaluate(value), name, try positional.map(evaluate),
        Dictionary(try named.map { ($0.0, try evaluate($0.1)) }, uniquingKeysWith: { $1 }))
    case .call(let callee, let positional, let named): return try call(callee, positional, named)
    }
  }

  private func element(_ base: TemplateValue, _ index: TemplateValue) throws -> TemplateValue {
    switch (base, index) {
    case (.list(let values), .integer(let index)):
      let place = index < 0 ? index + values.count : index
      return values.indices.contains(place) ? values[place] : .undefined
    case (.string(let text), .integer(let index)):
      let characters = Array(text)
      let place = index < 0 ? index + characters.count : index
      return characters.indices.contains(place) ? .string(String(characters[place])) : .undefined
    case (_, .string(let name)): return base.member(name)
    default: return .undefined
    }
  }

  private func slice(
    _ base: TemplateValue, _ start: TemplateValue?, _ end: TemplateValue?, _ step: TemplateValue?
  ) throws -> TemplateValue {
    func number(_ value: TemplateValue?) -> Int? { if case .integer(let number)? = value { number } else { nil } }
    func indices(_ count: Int) throws -> [Int] {
      let step = number(step) ?? 1
      guard step != 0 else { throw failure("a slice with step 0") }
      func clamp(_ value: Int, _ low: Int, _ high: Int) -> Int {
        max(low, min(high, value < 0 ? value + count : value))
      }
      if step > 0 {
        let from = number(start).map { clamp($0, 0, count) } ?? 0
        let to = number(end).map { clamp($0, 0, count) } ?? count
        return Array(stride(from: from, to: to, by: step))
      }
      let from = number(start).map { clamp($0, -1, count - 1) } ?? count - 1
      let to = number(end).map { clamp($0, -1, count - 1) } ?? -1
      return Array(stride(from: from, to: to, by: step))
    }
    switch base {
    case .list(let values): return .list(try indices(values.count).map { values[$0] })
    case .string(let text):
      let characters = Array(text)
      return .string(String(try indices(characters.count).map { characters[$0] }))
    default: throw failure("this value cannot be sliced")
    }
  }

  private func binary(_ name: String, _ left: TemplateExpression, _ right: TemplateExpression) throws -> TemplateValue {
    let a = try evaluate(left)
    if name == "and" { return a.isTrue ? try evaluate(right) : a }
    if name == "or" { return a.isTrue ? a : try evaluate(right) }
    let b = try evaluate(right)
    switch name {
    case "==": return .bool(a.equals(b))
    case "!=": return .bool(!a.equals(b))
    case "~": return .string(a.text + b.text)
    case "in": return .bool(try contains(b, a))
    case "not in": return .bool(!(try contains(b, a)))
    case "<", ">", "<=", ">=":
      if case .string(let x) = a, case .string(let y) = b {
        return .bool(name == "<" ? x < y : name == ">" ? x > y : name == "<=" ? x <= y : x >= y)
      }
      guard let x = a.double, let y = b.double else { throw failure("'\(name)' between values without order") }
      return .bool(name == "<" ? x < y : name == ">" ? x > y : name == "<=" ? x <= y : x >= y)
    default: return try arithmetic(name, a, b)
    }
  }

  private func arithmetic(_ name: String, _ a: TemplateValue, _ b: TemplateValue) throws -> TemplateValue {
    if name == "+" {
      if case .string(let x) = a, case .string(let y) = b { return .string(x + y) }
      if case .list(let x) = a, case .list(let y) = b { return .list(x + y) }
    }
    if case .integer(let x) = a, case .integer(let y) = b {
      switch name {
      case "+": return .integer(x &+ y)
      case "-": return .integer(x &- y)
      case "*": return .integer(x &* y)
      case "//" where y != 0: return .integer(Int((Double(x) / Double(y)).rounded(.down)))
      case "%" where y != 0: return .integer(((x % y) + y) % y)
      case "/" where y != 0: return .number(Double(x) / Double(y))
      default: throw failure("division by zero")
      }
    }
    guard let x = a.double, let y = b.double else {
      throw failure("'\(name)' cannot join these values")
    }
    switch name {
    case "+": return .number(x + y)
    case "-": return .number(x - y)
    case "*": return .number(x * y)
    case "//": return .number((x / y).rounded(.down))
    case "%": return .number(x - y * (x / y).rounded(.down))
    default: return .number(x / y)
    }
  }

  private func contains(_ whole: TemplateValue, _ part: TemplateValue) throws -> Bool {
    switch whole {
    case .list(let values): return values.contains { $0.equals(part) }
    case .map(let entries): return entries.contains { $0.0 == part.text }
    case .string(let text): return part.text.isEmpty || text.contains(part.text)
    case .undefined, .none: return false
    default: throw failure("'in' something that holds nothing")
    }
  }

  private func test(_ value: TemplateValue, _ name: String, _ arguments: [TemplateValue]) throws -> Bool {
    switch name {
    case "defined": if case .undefined = value { return false } else { return true }
    case "undefined": if case .undefined = value { return true } else { return false }
    case "none": if case .none = value { return true } else { return false }
    case "string": if case .string = value { return true } else { return false }
    case "boolean": if case .bool = value { return true } else { return false }
    case "true": if case .bool(true) = value { return true } else { return false }
    case "false": if case .bool(false) = value { return true } else { return false }
    case "integer": if case .integer = value { return true } else { return false }
    case "number":
      switch value {
      case .integer, .number: return true
      default: return false
      }
    case "mapping": if case .map = value { return true } else { return false }
    case "iterable", "sequence":
      switch value {
      case .list, .map, .string: return true
      default: return false
      }
    case "equalto", "eq": return arguments.first.map { value.equals($0) } ?? false
    case "in": return try arguments.first.map { try contains($0, value) } ?? false
    case "odd", "even":
      guard case .integer(let number) = value else { throw failure("test \(name) of something that is not a number") }
      return (number % 2 == 0) == (name == "even")
    case "divisibleby":
      guard case .integer(let number) = value, case .integer(let divisor)? = arguments.first, divisor != 0 else {
        throw failure("test divisibleby needs two whole numbers")
      }
      return number % divisor == 0
    default: throw failure("test '\(name)' is not supported")
    }
  }

  private func call(
    _ callee: TemplateExpression, _ positional: [TemplateExpression], _ named: [(String, TemplateExpression)]
  ) throws -> TemplateValue {
    let arguments = try positional.map(evaluate)
    let keywords = Dictionary(try named.map { ($0.0, try evaluate($0.1)) }, uniquingKeysWith: { $1 })
    if case .member(let base, let method) = callee {
      return try self.method(method, of: try evaluate(base), arguments, keywords)
    }
    guard case .name(let name) = callee else { throw failure("only functions can be called") }
    if case .macro(let macro) = value(of: name) { return try call(macro, arguments, keywords) }
    switch name {
    case "raise_exception": throw failure(arguments.first?.text ?? "the template refuses the conversation")
    case "namespace": return .namespace(TemplateNamespace(keywords))
    case "dict": return .map(keywords.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
    case "strftime_now":
      let formatter = DateFormatter()
      formatter.locale = Locale(identifier: "en_US_POSIX")
      var pattern = arguments.first?.text ?? "%d %b %Y"
      for (from, to) in [
        ("%d", "dd"), ("%b", "MMM"), ("%B", "MMMM"), ("%Y", "yyyy"), ("%m", "MM"), ("%H", "HH"), ("%M", "mm"),
      ] {
        pattern = pattern.replacingOccurrences(of: from, with: to)
      }
      formatter.dateFormat = pattern
      return .string(formatter.string(from: Date()))
    case "range":
      let numbers = arguments.compactMap { if case .integer(let number) = $0 { number } else { nil } }
      guard !numbers.isEmpty, numbers.count <= 3, numbers.count < 3 || numbers[2] != 0 else {
        throw failure("range needs one to three numbers")
      }
      let values = stride(
        from: numbers.count > 1 ? numbers[0] : 0, to: numbers.count > 1 ? numbers[1] : numbers[0],
        by: numbers.count > 2 ? numbers[2] : 1)
      return .list(values.prefix(100_000).map { .integer($0) })
    default: throw failure("function '\(name)' is not supported")
    }
  }

  private func call(
    _ macro: TemplateMacro, _ arguments: [TemplateValue], _ keywords: [String: TemplateValue]
  ) throws -> TemplateValue {
    guard scopes.count < 64 else { throw failure("macros call each other without end") }
    var scope: [String: TemplateValue] = [:]
    for (index, parameter) in macro.parameters.enumerated() {
      scope[parameter.name] =
        index < arguments.count
        ? arguments[index] : try keywords[parameter.name] ?? parameter.fallback.map(evaluate) ?? .undefined
    }
    scopes.append(scope)
    defer { scopes.removeLast() }
    return .string(try captured(macro.body))
  }

  private func method(
    _ name: String, of value: TemplateValue, _ arguments: [TemplateValue], _ keywords: [String: TemplateValue]
  ) throws -> TemplateValue {
    switch value {
    case .string(let text):
      let first = arguments.first?.text
      switch name {
      case "strip": return .string(TemplateText.strip(text, first, left: true, right: true))
      case "lstrip": return .string(TemplateText.strip(text, first, left: true, right: false))
      case "rstrip": return .string(TemplateText.strip(text, first, left: false, right: true))
      case "upper": return .string(text.uppercased())
      case "lower": return .string(text.lowercased())
      case "title", "capitalize": return .string(text.prefix(1).uppercased() + text.dropFirst().lowercased())
      case "startswith": return .bool(first.map { text.hasPrefix($0) } ?? false)
      case "endswith": return .bool(first.map { text.hasSuffix($0) } ?? false)
      case "replace" where arguments.count >= 2:
        return .string(text.replacingOccurrences(of: arguments[0].text, with: arguments[1].text))
      case "split":
        if let first { return .list(text.components(separatedBy: first).map { .string($0) }) }
        return .list(text.split { $0.isWhitespace }.map { .string(String($0)) })
      case "join": return .string(try elements(of: arguments.first ?? .list([])).map(\.text).joined(separator: text))
      default: break
      }
    case .map(let entries):
      switch name {
      case "items": return .list(entries.map { .list([.string($0.0), $0.1]) })
      case "keys": return .list(entries.map { .string($0.0) })
      case "values": return .list(entries.map(\.1))
      case "get":
        let found = entries.first { $0.0 == arguments.first?.text }?.1
        return found ?? (arguments.count > 1 ? arguments[1] : .none)
      default: break
      }
    default: break
    }
    throw failure("method '\(name)' is not supported here")
  }

  private func filter(
    _ value: TemplateValue, _ name: String, _ arguments: [TemplateValue], _ keywords: [String: TemplateValue]
  ) throws -> TemplateValue {
    switch name {
    case "trim": return .string(TemplateText.strip(value.text, arguments.first?.text, left: true, right: true))
    case "upper": return .string(value.text.uppercased())
    case "lower": return .string(value.text.lowercased())
    case "capitalize": return .string(value.text.prefix(1).uppercased() + value.text.dropFirst().lowercased())
    case "string": return .string(value.text)
    case "safe", "e", "escape": return value
    case "int": return .integer(value.double.map { Int($0) } ?? Int(value.text) ?? 0)
    case "length", "count": return .integer(try elements(of: value).count)
    case "list": return .list(try elements(of: value))
    case "first": return try elements(of: value).first ?? .undefined
    case "last": return try elements(of: value).last ?? .undefined
    case "reverse": return .list(try elements(of: value).reversed())
    case "items": return try method("items", of: value, [], [:])
    case "join":
      return .string(try elements(of: value).map(\.text).joined(separator: arguments.first?.text ?? ""))
    case "replace" where arguments.count >= 2:
      return .string(value.text.replacingOccurrences(of: arguments[0].text, with: arguments[1].text))
    case "default", "d":
      let fallback = arguments.first ?? .string("")
      let onFalse = arguments.count > 1 ? arguments[1].isTrue : keywords["boolean"]?.isTrue ?? false
      if case .undefined = value { return fallback }
      return onFalse && !value.isTrue ? fallback : value
    case "tojson":
      let indent = (keywords["indent"] ?? arguments.first)?.double.map { Int($0) }
      return .string(TemplateText.json(value.json, indent: indent))
    case "map":
      if let attribute = keywords["attribute"]?.text {
        return .list(try elements(of: value).map { $0.member(attribute) })
      }
      guard let filterName = arguments.first?.text else { throw failure("filter map needs an attribute or a filter") }
      return .list(try elements(of: value).map { try filter($0, filterName, Array(arguments.dropFirst()), [:]) })
    case "selectattr", "rejectattr":
      guard let attribute = arguments.first?.text else { throw failure("filter \(name) needs an attribute") }
      return .list(
        try elements(of: value).filter { element in
          let member = element.member(attribute)
          let passes =
            arguments.count > 1 ? try test(member, arguments[1].text, Array(arguments.dropFirst(2))) : member.isTrue
          return passes == (name == "selectattr")
        })
    case "indent":
      let width = arguments.first?.double.map { Int($0) } ?? 4
      return .string(
        value.text.replacingOccurrences(of: "\n", with: "\n" + String(repeating: " ", count: max(0, min(width, 64)))))
    default: throw failure("filter '\(name)' is not supported")
    }
  }
}

/// Text helpers of the template language that follow Python's.
enum TemplateText {
  static func strip(_ text: String, _ characters: String?, left: Bool, right: Bool) -> String {
    var scalars = Array(text.unicodeScalars)[...]
    let set = characters.map { Set($0.unicodeScalars) }
    func strips(_ scalar: Unicode.Scalar) -> Bool { set?.contains(scalar) ?? scalar.properties.isWhitespace }
    if left { scalars = scalars.drop(while: strips) }
    if right { while let last = scalars.last, strips(last) { scalars.removeLast() } }
    var result = String.UnicodeScalarView()
    result.append(contentsOf: scalars)
    return String(result)
  }

  /// As Python's `json.dumps(ensure_ascii=False)` writes it.
  static func json(_ value: JSONValue, indent: Int?, level: Int = 0) -> String {
    func line(_ level: Int) -> String { indent.map { "\n" + String(repeating: " ", count: $0 * level) } ?? "" }
    let separator = indent == nil ? ", " : ","
    switch value {
    case .array(let values) where !values.isEmpty:
      return "["
        + values.map { line(level + 1) + json($0, indent: indent, level: level + 1) }.joined(separator: separator)
        + line(level) + "]"
    case .object(let object) where !object.entries.isEmpty:
      return "{"
        + object.entries.map {
          line(level + 1) + JSONValue.string($0.key).serialized() + ": "
            + json($0.value, indent: indent, level: level + 1)
        }.joined(separator: separator) + line(level) + "}"
    default: return value.serialized()
    }
  }
}
