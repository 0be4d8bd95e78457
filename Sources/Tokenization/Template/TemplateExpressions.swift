#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What the expressions of a template come to.
extension TemplateEvaluator {
  func evaluate(_ expression: TemplateExpression) throws -> TemplateValue {
    depth += 1
    defer { depth -= 1 }
    if depth > 200 { throw failure("nested too deep") }
    let value = try evaluateParts(of: expression)
    switch value {
    case .string(let text):
      if text.utf8.count > Self.longestText { throw failure("a text is longer than 16 MB") }
      try charge(1 + text.utf8.count / 32)
    case .list(let values):
      if values.count > Self.longestList { throw failure("a list has more than a million values") }
      try charge(1 + values.count / 16)
      if expression.makesValues { try weigh(value) }
    case .map(let entries):
      try charge(1 + entries.count / 16)
      if expression.makesValues { try weigh(value) }
    default: try charge(1)
    }
    return value
  }

  /// Refuses a value that would be a very long text: lists of lists of the same list grow with every turn of a loop, and
  /// take no memory until they are written or compared.
  private func weigh(_ value: TemplateValue) throws {
    let weight = value.weight(upTo: Self.longestText)
    if weight >= Self.longestText { throw failure("a value holds more than 16 MB") }
    try charge(weight / 256)
  }

  /// Refuses a text of so many bytes before it is made.
  func requireShort(_ count: (partialValue: Int, overflow: Bool)) throws {
    if count.overflow || count.partialValue > Self.longestText { throw failure("a text is longer than 16 MB") }
  }

  func joined(_ values: [TemplateValue], by separator: String) throws -> TemplateValue {
    var texts: [String] = []
    var count = 0
    for value in values {
      texts.append(value.text)
      count += texts[texts.count - 1].utf8.count + separator.utf8.count
      try requireShort((count, false))
    }
    return .string(texts.joined(separator: separator))
  }

  func replaced(_ part: String, by other: String, in text: String) throws -> TemplateValue {
    let places = part.isEmpty ? text.unicodeScalars.count + 1 : TemplateText.occurrences(of: part, in: text)
    let more = places.multipliedReportingOverflow(by: other.utf8.count)
    try requireShort(more)
    try requireShort((more.partialValue + text.utf8.count - places * part.utf8.count, false))
    return .string(TemplateText.replace(part, by: other, in: text))
  }

  private func evaluateParts(of expression: TemplateExpression) throws -> TemplateValue {
    switch expression {
    case .literal(let value): return value
    case .name(let name): return value(of: name)
    case .list(let values): return .list(try values.map(evaluate))
    case .map(let entries): return .map(try entries.map { (try evaluate($0.0).text, try evaluate($0.1)) })
    case .member(let base, let name): return try defined(base).member(name)
    case .element(let base, let index): return try element(try defined(base), try evaluate(index))
    case .slice(let base, let start, let end, let step):
      return try slice(
        try evaluate(base), try start.map(evaluate), try end.map(evaluate), try step.map(evaluate))
    case .not(let value): return .bool(!(try evaluate(value).isTrue))
    case .negative(let value):
      switch try evaluate(value) {
      case .integer(let number): return .integer(try exact(0.subtractingReportingOverflow(number)))
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

  /// A value that something is asked of: what is undefined has nothing, and a template that asks it is refused, as
  /// Jinja does.
  func defined(_ expression: TemplateExpression) throws -> TemplateValue {
    let value = try evaluate(expression)
    guard value.isUndefined else { return value }
    switch expression {
    case .name(let name): throw failure("\(name) is undefined")
    case .member(_, let name): throw failure("there is no \(name)")
    default: throw failure("a value is undefined")
    }
  }

  private func element(_ base: TemplateValue, _ index: TemplateValue) throws -> TemplateValue {
    switch (base, index) {
    case (.list(let values), .integer(let index)):
      let place = index < 0 ? index + values.count : index
      return values.indices.contains(place) ? values[place] : .undefined
    case (.string(let text), .integer(let index)):
      let scalars = Array(text.unicodeScalars)
      let place = index < 0 ? index + scalars.count : index
      return scalars.indices.contains(place) ? .string(String(scalars[place])) : .undefined
    case (_, .string(let name)): return base.member(name)
    case (.map, .integer), (.map, .bool): return base.member(index.text)
    default: return .undefined
    }
  }

  private func slice(
    _ base: TemplateValue, _ start: TemplateValue?, _ end: TemplateValue?, _ step: TemplateValue?
  ) throws -> TemplateValue {
    func number(_ value: TemplateValue?) -> Int? { if case .integer(let number)? = value { number } else { nil } }
    func indices(_ count: Int) throws -> [Int] {
      // A longer step than all of it takes the first alone.
      let step = max(-count - 1, min(count + 1, number(step) ?? 1))
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
      let scalars = Array(text.unicodeScalars)
      var result = String.UnicodeScalarView()
      result.append(contentsOf: try indices(scalars.count).map { scalars[$0] })
      return .string(String(result))
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
    case "<", ">", "<=", ">=": return .bool(try compare(name, a, b))
    default: return try arithmetic(name, a, b)
    }
  }

  /// `<`, `>`, `<=` or `>=`.
  func compare(_ name: String, _ a: TemplateValue, _ b: TemplateValue) throws -> Bool {
    func ordered<T: Comparable>(_ x: T, _ y: T) -> Bool {
      name == "<" ? x < y : name == ">" ? x > y : name == "<=" ? x <= y : x >= y
    }
    if case .string(let x) = a, case .string(let y) = b { return ordered(TemplateText.order(x, y), 0) }
    if case .integer(let x) = a, case .integer(let y) = b { return ordered(x, y) }
    guard let x = a.double, let y = b.double else { throw failure("'\(name)' between values without order") }
    return ordered(x, y)
  }

  func arithmetic(_ name: String, _ a: TemplateValue, _ b: TemplateValue) throws -> TemplateValue {
    if name == "+" {
      if case .string(let x) = a, case .string(let y) = b { return .string(x + y) }
      if case .list(let x) = a, case .list(let y) = b { return .list(x + y) }
    }
    if name == "*" {
      switch (a, b) {
      case (.string(let text), .integer(let count)), (.integer(let count), .string(let text)):
        guard count <= 0 || text.utf8.count <= Self.longestText / count else { throw failure("a text is too long") }
        return .string(String(repeating: text, count: max(count, 0)))
      case (.list(let values), .integer(let count)), (.integer(let count), .list(let values)):
        guard count <= 0 || values.count <= (1 << 20) / count else { throw failure("a list is too long") }
        return .list(Array((0..<max(count, 0)).map { _ in values }.joined()))
      default: break
      }
    }
    if name == "%", case .string(let format) = a {
      let values: [TemplateValue] = if case .list(let values) = b { values } else { [b] }
      return .string(try TemplateFormat.percent(format, values, failure))
    }
    if case .integer(let x) = a, case .integer(let y) = b {
      switch name {
      case "+": return .integer(try exact(x.addingReportingOverflow(y)))
      case "-": return .integer(try exact(x.subtractingReportingOverflow(y)))
      case "*": return .integer(try exact(x.multipliedReportingOverflow(by: y)))
      case "**" where y >= 0:
        var power = 1
        for _ in 0..<min(y, abs(x.clamped(to: 2)) < 2 ? 2 - y % 2 : 64) {
          power = try exact(power.multipliedReportingOverflow(by: x))
        }
        return .integer(power)
      case "//" where y == -1: return .integer(try exact(0.subtractingReportingOverflow(x)))
      case "%" where y == -1: return .integer(0)
      case "//" where y != 0: return .integer(x / y - (x % y != 0 && (x < 0) != (y < 0) ? 1 : 0))
      case "%" where y != 0: return .integer(x % y + (x % y != 0 && (x < 0) != (y < 0) ? y : 0))
      case "/" where y != 0: return .number(Double(x) / Double(y))
      default: throw failure("'\(name)' cannot join \(x) and \(y)")
      }
    }
    guard let x = a.double, let y = b.double else {
      throw failure("'\(name)' cannot join these values")
    }
    switch name {
    case "+": return .number(x + y)
    case "-": return .number(x - y)
    case "*": return .number(x * y)
    case "//" where y != 0: return .number((x / y).rounded(.down))
    case "%" where y != 0: return .number(x - y * (x / y).rounded(.down))
    case "**": return .number(pow(x, y))
    case "/" where y != 0: return .number(x / y)
    default: throw failure("'\(name)' cannot join \(x) and \(y)")
    }
  }

  /// The result of whole numbers; those of more than 64 bits, which Python has, are refused rather than wrong.
  private func exact(_ result: (partialValue: Int, overflow: Bool)) throws -> Int {
    if result.overflow { throw failure("a whole number of more than 64 bits is not supported") }
    return result.partialValue
  }

  func contains(_ whole: TemplateValue, _ part: TemplateValue) throws -> Bool {
    switch whole {
    case .list(let values):
      try charge(values.count / 8)
      return values.contains { $0.equals(part) }
    case .map(let entries):
      try charge(entries.count / 8)
      return entries.contains { TemplateText.areSame($0.0, part.text) }
    case .string(let text):
      try charge(text.utf8.count / 32)
      return TemplateText.first(part.text, in: text) != nil
    case .undefined: return false
    default: throw failure("'in' something that holds nothing")
    }
  }
}

extension TemplateExpression {
  /// Whether lists that it comes to are new: not a part of what was there.
  fileprivate var makesValues: Bool {
    switch self {
    case .list, .map, .binary, .call, .filter: true
    default: false
    }
  }
}

extension Int {
  fileprivate func clamped(to limit: Int) -> Int { Swift.min(Swift.max(self, -limit), limit) }
}
