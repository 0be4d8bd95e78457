/// Functions, macros and methods of the template language.
extension TemplateEvaluator {
  static let functions: Set = ["raise_exception", "namespace", "dict", "strftime_now", "range"]

  func call(
    _ callee: TemplateExpression, _ positional: [TemplateExpression], _ named: [(String, TemplateExpression)]
  ) throws -> TemplateValue {
    let arguments = try positional.map(evaluate)
    let keywords = Dictionary(try named.map { ($0.0, try evaluate($0.1)) }, uniquingKeysWith: { $1 })
    if case .member(let base, let method) = callee {
      return try self.method(method, of: try defined(base), arguments, keywords)
    }
    guard case .name(let name) = callee else { throw failure("only functions can be called") }
    if case .macro(let macro) = value(of: name) { return try call(macro, arguments, keywords) }
    switch name {
    case "raise_exception": throw failure(arguments.first?.text ?? "the template refuses the conversation")
    case "namespace": return .namespace(TemplateNamespace(keywords))
    case "dict": return .map(keywords.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
    case "strftime_now": return .string(TemplateText.now(format: arguments.first?.text ?? "%d %b %Y"))
    case "range":
      let numbers = arguments.compactMap { if case .integer(let number) = $0 { number } else { nil } }
      guard !numbers.isEmpty, numbers.count <= 3, numbers.count < 3 || numbers[2] != 0 else {
        throw failure("range needs one to three numbers")
      }
      let (from, to) = numbers.count > 1 ? (numbers[0], numbers[1]) : (0, numbers[0])
      let step = numbers.count > 2 ? numbers[2] : 1
      let limit = 1 << 40
      guard abs(from.clamped(limit)) < limit, abs(to.clamped(limit)) < limit, abs(step.clamped(limit)) < limit,
        (to - from) / step <= 100_000
      else { throw failure("range of more than 100000 numbers") }
      return .list(stride(from: from, to: to, by: step).map { .integer($0) })
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

  func method(
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
      case "title": return .string(TemplateText.title(text))
      case "capitalize": return .string(TemplateText.capitalized(text))
      case "startswith", "endswith":
        let candidates = try arguments.first.map { argument in
          if case .list(let several) = argument {
            try elements(of: .list(several)).map(\.text)
          } else {
            [argument.text]
          }
        }
        return .bool(
          (candidates ?? []).contains {
            name == "startswith"
              ? text.utf8.starts(with: $0.utf8) : text.utf8.reversed().starts(with: $0.utf8.reversed())
          })
      case "replace" where arguments.count >= 2:
        return .string(TemplateText.replace(arguments[0].text, by: arguments[1].text, in: text))
      case "find" where first != nil:
        return .integer(
          TemplateText.first(first ?? "", in: text).map { TemplateText.scalarCount(text, before: $0) } ?? -1)
      case "count" where first?.isEmpty == false:
        return .integer(TemplateText.split(text, at: first ?? "", most: nil).count - 1)
      case "splitlines": return .list(TemplateText.lines(text).map { .string($0) })
      case "split":
        var most: Int?
        if arguments.count > 1, case .integer(let number) = arguments[1], number >= 0 { most = number }
        guard let first, arguments.first?.json != .null else {
          return .list(text.unicodeScalars.split { $0.properties.isWhitespace }.map { .string(String($0)) })
        }
        guard !first.isEmpty else { throw failure("split at an empty text") }
        return .list(TemplateText.split(text, at: first, most: most).map { .string($0) })
      case "join": return .string(try elements(of: arguments.first ?? .list([])).map(\.text).joined(separator: text))
      default: break
      }
    case .map(let entries):
      switch name {
      case "items": return .list(entries.map { .list([.string($0.0), $0.1]) })
      case "keys": return .list(entries.map { .string($0.0) })
      case "values": return .list(entries.map(\.1))
      case "get":
        let found = entries.first { TemplateText.areSame($0.0, arguments.first?.text ?? "") }?.1
        return found ?? (arguments.count > 1 ? arguments[1] : .none)
      default: break
      }
    default: break
    }
    throw failure("method '\(name)' is not supported here")
  }
}

extension Int {
  fileprivate func clamped(_ limit: Int) -> Int { Swift.min(Swift.max(self, -limit), limit) }
}
