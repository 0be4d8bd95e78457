/// Runs a parsed template.
final class TemplateEvaluator {
  private let file: String
  var scopes: [[String: TemplateValue]]
  private var line = 1
  private var output = ""
  private var steps = 0
  var depth = 0
  private static let mostSteps = 5_000_000
  static let longestText = 1 << 26

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
    if output.utf8.count > Self.longestText { throw failure("the template writes more than 64 MB") }
  }

  private func execute(_ nodes: [TemplateNode]) throws -> Flow {
    for node in nodes {
      steps += 1
      if steps > Self.mostSteps { throw failure("the template does not come to an end") }
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
      case .macro(let name, let macro): scopes[scopes.count - 1][name] = .macro(macro)
      case .breakLoop: return .breakLoop
      case .continueLoop: return .continueLoop
      }
    }
    return .normal
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
    case .list(let values): return values
    case .map(let entries): return entries.map { .string($0.0) }
    case .string(let text): return text.unicodeScalars.map { .string(String($0)) }
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
}
