/// Runs a parsed template.
final class TemplateEvaluator {
  private let file: String
  var scopes: [[String: TemplateValue]]
  private var line = 1
  private var output = ""
  private var steps = 0
  var depth = 0
  /// How many macros are being called one within the other.
  var callDepth = 0
  private var loopDepth = 0
  /// What `loop.changed` was given last, by the depth of the loop.
  private var loopValues: [Int: [TemplateValue]] = [:]
  /// Statements, expressions and the values that they go through; all loops share this bound.
  private static let mostSteps = 2_000_000
  /// Bytes of a text, and of a value written as text.
  static let longestText = 1 << 24

  static let longestList = 1 << 20

  private enum Flow { case normal, breakLoop, continueLoop }

  init(file: String, globals: [String: TemplateValue]) {
    self.file = file
    scopes = [globals]
  }

  func run(_ nodes: [TemplateNode]) throws -> String {
    _ = try execute(nodes)
    return output
  }

  func failure(_ reason: String) -> TemplateError { TemplateError(file: file, line: line, reason: reason) }

  func value(of name: String) -> TemplateValue {
    for scope in scopes.reversed() { if let value = scope[name] { return value } }
    return Self.functions.contains(name) ? .function(name) : .undefined
  }

  private func write(_ text: String) throws {
    output += text
    if output.utf8.count > Self.longestText { throw failure("the template writes more than 16 MB") }
  }

  private func execute(_ nodes: [TemplateNode]) throws -> Flow {
    for node in nodes {
      try charge(1)
      switch node {
      case .text(let text): try write(text)
      case .output(let expression, let line):
        self.line = line
        try write(try evaluate(expression).text)
      case .set(let names, let member, let expression, let line):
        self.line = line
        let value = try evaluate(expression)
        if let member {
          guard case .namespace(let space) = self.value(of: names[0]) else {
            throw failure("\(names[0]) is not a namespace")
          }
          space.values[member] = value
        } else {
          try bind(names, to: value)
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
      case .call(let callee, let caller, let line):
        self.line = line
        guard case .call(let target, let positional, let named) = callee else { throw failure("expected a call") }
        try write(try call(target, positional, named, caller: .caller(caller, scopes: scopes)).text)
      case .filterBlock(let (name, positional, named), let body, let line):
        self.line = line
        scopes.append([:])
        defer { scopes.removeLast() }
        let text = TemplateValue.string(try captured(body))
        try write(
          try filter(
            text, name, try positional.map(evaluate),
            Dictionary(try named.map { ($0.0, try evaluate($0.1)) }, uniquingKeysWith: { $1 })
          ).text)
      case .with(let values, let body, let line):
        self.line = line
        var scope: [String: TemplateValue] = [:]
        for (name, value) in values { scope[name] = try evaluate(value) }
        scopes.append(scope)
        defer { scopes.removeLast() }
        let flow = try execute(body)
        if flow != .normal { return flow }
      case .macro(let name, let macro): scopes[scopes.count - 1][name] = .macro(macro)
      case .breakLoop: return .breakLoop
      case .continueLoop: return .continueLoop
      }
    }
    return .normal
  }

  /// Whether `loop.changed` is given other values than the last time in this loop.
  func loopChanged(to values: [TemplateValue]) -> Bool {
    let last = loopValues[loopDepth]
    loopValues[loopDepth] = values
    guard let last else { return true }
    return !TemplateValue.list(last).equals(.list(values))
  }

  /// Counts work, so that no template goes on for ever.
  func charge(_ count: Int) throws {
    steps += count
    if steps > Self.mostSteps { throw failure("the template does not come to an end") }
  }

  func captured(_ nodes: [TemplateNode]) throws -> String {
    let outer = output
    output = ""
    defer { output = outer }
    _ = try execute(nodes)
    return output
  }

  /// What a loop goes through.
  func elements(of value: TemplateValue) throws -> [TemplateValue] {
    switch value {
    case .list(let values):
      try charge(values.count / 4)
      return values
    case .map(let entries):
      try charge(entries.count)
      return entries.map { .string($0.0) }
    case .string(let text):
      if text.utf8.count > Self.longestList { throw failure("a text is too long to go through") }
      try charge(text.utf8.count)
      return text.unicodeScalars.map { .string(String($0)) }
    case .undefined: return []
    default: throw failure("this value has no elements")
    }
  }

  /// What a filter goes through that asks first, as Jinja's `map` and `select` do, whether there is anything: none has no
  /// elements then.
  func elementsOrNone(of value: TemplateValue) throws -> [TemplateValue] {
    value.isTrue ? try elements(of: value) : []
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
    loopDepth += 1
    loopValues[loopDepth] = nil
    defer {
      loopDepth -= 1
      scopes.removeLast()
    }
    var values = source
    if let filter {
      values = try source.filter { value in
        try charge(1)
        try bind(names, to: value)
        return try evaluate(filter).isTrue
      }
    }
    if values.isEmpty {
      _ = try execute(otherwise)
      return
    }
    for (index, value) in values.enumerated() {
      // What a turn of a loop defines costs as much as some expressions.
      try charge(4)
      scopes[scopes.count - 1] = [
        "loop": .map([
          ("index", .integer(index + 1)), ("index0", .integer(index)), ("first", .bool(index == 0)),
          ("last", .bool(index == values.count - 1)), ("length", .integer(values.count)),
          ("revindex", .integer(values.count - index)), ("revindex0", .integer(values.count - index - 1)),
          ("previtem", index > 0 ? values[index - 1] : .undefined),
          ("depth", .integer(loopDepth)), ("depth0", .integer(loopDepth - 1)),
          ("nextitem", index + 1 < values.count ? values[index + 1] : .undefined),
        ])
      ]
      try bind(names, to: value)
      if try execute(body) == .breakLoop { break }
    }
  }
}
