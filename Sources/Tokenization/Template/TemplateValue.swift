import Formats

/// What can be wrong in a template or while it runs.
public struct TemplateError: Error, CustomStringConvertible {
  let file: String
  let line: Int
  let reason: String
  public var description: String { "\(file):\(line): \(reason)" }
}

/// A value of the template language.
indirect enum TemplateValue: Sendable {
  case undefined
  case none
  case bool(Bool)
  case integer(Int)
  /// A whole number of a row that no `Int` holds, by its digits.
  case longInteger(String)
  case number(Double)
  case string(String)
  case list([TemplateValue])
  case map([(String, TemplateValue)])
  case namespace(TemplateNamespace)
  case macro(TemplateMacro)
  /// What a macro's `caller()` writes: the body of a `{% call %}`, with the names that it sees.
  case caller(TemplateMacro, scopes: [[String: TemplateValue]])
  case cycler(TemplateCycler)
  /// A function of the language, by its name.
  case function(String)

  init(_ json: JSONValue) {
    switch json {
    case .null: self = .none
    case .bool(let value): self = .bool(value)
    case .integer(let value): self = .integer(value)
    case .longInteger(let digits): self = .longInteger(digits)
    case .number(let value): self = .number(value)
    case .string(let value): self = .string(value)
    case .array(let values): self = .list(values.map { TemplateValue($0) })
    case .object(let object): self = .map(object.entries.map { ($0.key, TemplateValue($0.value)) })
    }
  }

  var json: JSONValue {
    switch self {
    case .undefined, .none, .namespace, .macro, .caller, .cycler, .function: .null
    case .bool(let value): .bool(value)
    case .integer(let value): .integer(value)
    case .longInteger(let digits): .longInteger(digits)
    case .number(let value): .number(value)
    case .string(let value): .string(value)
    case .list(let values): .array(values.map(\.json))
    case .map(let entries): .object(JSONObject(entries.map { ($0.0, $0.1.json) }))
    }
  }

  var isTrue: Bool {
    switch self {
    case .undefined, .none: false
    case .bool(let value): value
    case .integer(let value): value != 0
    case .longInteger: true
    case .number(let value): value != 0
    case .string(let value): !value.isEmpty
    case .list(let values): !values.isEmpty
    case .map(let entries): !entries.isEmpty
    case .namespace, .macro, .caller, .cycler, .function: true
    }
  }

  /// As the template prints it.
  var text: String {
    switch self {
    case .undefined: ""
    case .none: "None"
    case .bool(let value): value ? "True" : "False"
    case .integer(let value): String(value)
    case .longInteger(let digits): digits
    case .number(let value): "\(value)"
    case .string(let value): value
    case .list(let values): "[" + values.map(\.quoted).joined(separator: ", ") + "]"
    case .map(let entries):
      "{" + entries.map { "\(TemplateText.quoted($0.0)): \($0.1.quoted)" }.joined(separator: ", ") + "}"
    case .namespace, .macro, .caller, .cycler, .function: ""
    }
  }

  /// As Python's `repr` writes it.
  var quoted: String {
    if case .string(let value) = self { TemplateText.quoted(value) } else { text }
  }

  /// About the bytes that the value takes as text; `limit` or more where it takes that much.
  func weight(upTo limit: Int) -> Int {
    switch self {
    case .string(let text), .longInteger(let text): return text.utf8.count + 2
    case .list(let values):
      var sum = 2
      for value in values where sum < limit { sum += value.weight(upTo: limit - sum) + 2 }
      return sum
    case .map(let entries):
      var sum = 2
      for (key, value) in entries where sum < limit { sum += key.utf8.count + value.weight(upTo: limit - sum) + 4 }
      return sum
    default: return 8
    }
  }

  var isUndefined: Bool { if case .undefined = self { true } else { false } }

  var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .longInteger(let digits): Double(digits)
    case .number(let value): value
    case .bool(let value): value ? 1 : 0
    default: nil
    }
  }

  func equals(_ other: TemplateValue) -> Bool {
    switch (self, other) {
    case (.undefined, .undefined), (.none, .none): true
    case (.string(let a), .string(let b)): TemplateText.areSame(a, b)
    case (.list(let a), .list(let b)): a.count == b.count && zip(a, b).allSatisfy { $0.equals($1) }
    case (.map(let a), .map(let b)):
      a.count == b.count
        && a.allSatisfy { entry in b.contains { TemplateText.areSame($0.0, entry.0) && $0.1.equals(entry.1) } }
    default:
      if let a = double, let b = other.double { a == b } else { false }
    }
  }

  func member(_ name: String) -> TemplateValue {
    switch self {
    case .map(let entries): entries.first { TemplateText.areSame($0.0, name) }?.1 ?? .undefined
    case .namespace(let space): space.values[name] ?? .undefined
    case .cycler(let cycler) where name == "current": cycler.current
    default: .undefined
    }
  }
}

/// A `namespace(...)`: the one thing that assignments in a loop outlive.
final class TemplateNamespace: @unchecked Sendable {
  // @unchecked: made and used within one rendering, on one thread.
  var values: [String: TemplateValue]
  init(_ values: [String: TemplateValue]) { self.values = values }
}

/// A `cycler(...)`: values that come round and round.
final class TemplateCycler: @unchecked Sendable {
  // @unchecked: made and used within one rendering, on one thread.
  private let values: [TemplateValue]
  private var place = 0

  init(_ values: [TemplateValue]) { self.values = values }

  var current: TemplateValue { values[place] }

  func next() -> TemplateValue {
    defer { place = (place + 1) % values.count }
    return values[place]
  }

  func reset() { place = 0 }
}

/// A `{% macro %}`.
struct TemplateMacro: Sendable {
  let parameters: [(name: String, fallback: TemplateExpression?)]
  let body: [TemplateNode]
}

indirect enum TemplateExpression: Sendable {
  case literal(TemplateValue)
  case name(String)
  case list([TemplateExpression])
  case map([(TemplateExpression, TemplateExpression)])
  case member(TemplateExpression, String)
  case element(TemplateExpression, TemplateExpression)
  case slice(TemplateExpression, TemplateExpression?, TemplateExpression?, TemplateExpression?)
  case call(TemplateExpression, [TemplateExpression], [(String, TemplateExpression)])
  case filter(TemplateExpression, String, [TemplateExpression], [(String, TemplateExpression)])
  case test(TemplateExpression, String, [TemplateExpression], negated: Bool)
  case not(TemplateExpression)
  case negative(TemplateExpression)
  case binary(String, TemplateExpression, TemplateExpression)
  case condition(TemplateExpression, then: TemplateExpression, otherwise: TemplateExpression?)
}

indirect enum TemplateNode: Sendable {
  case text(String)
  case output(TemplateExpression, line: Int)
  /// Several names take apart a list.
  case set(names: [String], member: String?, TemplateExpression, line: Int)
  case setBlock(target: String, [TemplateNode], line: Int)
  case condition([(TemplateExpression, [TemplateNode])], otherwise: [TemplateNode], line: Int)
  case loop(
    names: [String], over: TemplateExpression, filter: TemplateExpression?, [TemplateNode], otherwise: [TemplateNode],
    line: Int)
  case macro(String, TemplateMacro)
  /// A macro that is called with a body.
  case call(TemplateExpression, caller: TemplateMacro, line: Int)
  /// A body that goes through a filter.
  case filterBlock((String, [TemplateExpression], [(String, TemplateExpression)]), [TemplateNode], line: Int)
  /// Names that hold within the body.
  case with([(String, TemplateExpression)], [TemplateNode], line: Int)
  case breakLoop
  case continueLoop
}
