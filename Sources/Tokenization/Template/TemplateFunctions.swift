/// Functions, macros and methods of the template language.
extension TemplateEvaluator {
  static let functions: Set = ["raise_exception", "namespace", "dict", "strftime_now", "range", "cycler"]

  func call(
    _ callee: TemplateExpression, _ positional: [TemplateExpression], _ named: [(String, TemplateExpression)],
    caller: TemplateValue? = nil
  ) throws -> TemplateValue {
    let arguments = try positional.map(evaluate)
    let keywords = Dictionary(try named.map { ($0.0, try evaluate($0.1)) }, uniquingKeysWith: { $1 })
    if case .member(let base, let method) = callee {
      let value = try defined(base)
      if case .macro(let macro) = value.member(method) {
        return try call(macro, arguments, keywords, caller, seeing: [scopes[0]])
      }
      return try self.method(method, of: value, arguments, keywords)
    }
    switch try evaluate(callee) {
    // A macro sees what the template itself has set, not what stands around the place that calls it.
    case .macro(let macro): return try call(macro, arguments, keywords, caller, seeing: [scopes[0]])
    case .caller(let macro, let scopes): return try call(macro, arguments, keywords, caller, seeing: scopes)
    case .function: break
    case .undefined:
      if case .name(let name) = callee { throw failure("function '\(name)' is undefined") }
      throw failure("only functions can be called")
    default: throw failure("only functions can be called")
    }
    guard case .name(let name) = callee else { throw failure("only functions can be called") }
    switch name {
    case "cycler":
      guard !arguments.isEmpty else { throw failure("cycler needs values") }
      return .cycler(TemplateCycler(arguments))
    case "raise_exception": throw failure(arguments.first?.text ?? "the template refuses the conversation")
    case "namespace": return .namespace(TemplateNamespace(keywords))
    case "dict": return .map(named.compactMap { name, _ in keywords[name].map { (name, $0) } })
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
    _ macro: TemplateMacro, _ arguments: [TemplateValue], _ keywords: [String: TemplateValue],
    _ caller: TemplateValue?, seeing visible: [[String: TemplateValue]]
  ) throws -> TemplateValue {
    guard callDepth < 64 else { throw failure("macros call each other without end") }
    callDepth += 1
    let outer = scopes
    // What was set at the top stays where it is.
    scopes = visible
    defer {
      callDepth -= 1
      scopes = outer
    }
    if arguments.count > macro.parameters.count { throw failure("a macro is given too many values") }
    var scope: [String: TemplateValue] = [:]
    scopes.append(scope)
    for (index, parameter) in macro.parameters.enumerated() {
      scope[parameter.name] =
        index < arguments.count
        ? arguments[index] : try keywords[parameter.name] ?? parameter.fallback.map(evaluate) ?? .undefined
      scopes[scopes.count - 1] = scope
    }
    if let caller { scopes[scopes.count - 1]["caller"] = caller }
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
        return try replaced(arguments[0].text, by: arguments[1].text, in: text)
      case "find" where first != nil:
        return .integer(
          TemplateText.first(first ?? "", in: text).map { TemplateText.scalarCount(text, before: $0) } ?? -1)
      case "count" where first?.isEmpty == false:
        return .integer(TemplateText.occurrences(of: first ?? "", in: text))
      case "splitlines": return .list(TemplateText.lines(text).map { .string($0) })
      case "split":
        var most: Int?
        if arguments.count > 1, case .integer(let number) = arguments[1], number >= 0 { most = number }
        guard let first, arguments.first?.json != .null else {
          return .list(text.unicodeScalars.split { $0.properties.isWhitespace }.map { .string(String($0)) })
        }
        guard !first.isEmpty else { throw failure("split at an empty text") }
        return .list(TemplateText.split(text, at: first, most: most ?? Self.longestList).map { .string($0) })
      case "format": return .string(try TemplateFormat.braces(text, arguments, keywords, failure))
      case "rfind" where first != nil:
        return .integer(
          TemplateText.last(first ?? "", in: text).map { TemplateText.scalarCount(text, before: $0) } ?? -1)
      case "index" where first != nil:
        guard let place = TemplateText.first(first ?? "", in: text) else { throw failure("index of what is not there") }
        return .integer(TemplateText.scalarCount(text, before: place))
      case "rsplit" where first?.isEmpty == false:
        var parts = TemplateText.split(text, at: first ?? "", most: nil)
        if parts.count > Self.longestList { throw failure("a list has more than a million values") }
        if arguments.count > 1, case .integer(let most) = arguments[1], most >= 0, parts.count > most + 1 {
          let joined = parts.dropLast(most).joined(separator: first ?? "")
          parts = [joined] + parts.suffix(most)
        }
        return .list(parts.map { .string($0) })
      case "partition" where first?.isEmpty == false:
        let parts = TemplateText.split(text, at: first ?? "", most: 1)
        return .list((parts.count > 1 ? [parts[0], first ?? "", parts[1]] : [text, "", ""]).map { .string($0) })
      case "removeprefix" where first != nil:
        let starts = text.utf8.starts(with: (first ?? "").utf8)
        return .string(starts ? String(decoding: text.utf8.dropFirst((first ?? "").utf8.count), as: UTF8.self) : text)
      case "removesuffix" where first != nil:
        let end = (first ?? "").utf8
        let ends = !end.isEmpty && text.utf8.count >= end.count && text.utf8.suffix(end.count).elementsEqual(end)
        return .string(ends ? String(decoding: text.utf8.dropLast(end.count), as: UTF8.self) : text)
      case "isdigit", "isdecimal", "isnumeric":
        return .bool(!text.isEmpty && text.unicodeScalars.allSatisfy { $0.properties.numericType != nil })
      case "isalpha": return .bool(!text.isEmpty && text.unicodeScalars.allSatisfy(\.properties.isAlphabetic))
      case "isspace": return .bool(!text.isEmpty && text.unicodeScalars.allSatisfy(\.properties.isWhitespace))
      case "isupper": return .bool(text != text.lowercased() && text == text.uppercased())
      case "islower": return .bool(text != text.uppercased() && text == text.lowercased())
      case "join": return try joined(try elements(of: arguments.first ?? .list([])), by: text)
      default: break
      }
    case .map(let entries):
      switch name {
      case "items": return .list(entries.map { .list([.string($0.0), $0.1]) })
      case "keys": return .list(entries.map { .string($0.0) })
      case "values": return .list(entries.map(\.1))
      case "get":
        if arguments.isEmpty { throw failure("get needs a key") }
        let found = entries.first { TemplateText.areSame($0.0, arguments.first?.text ?? "") }?.1
        return found ?? (arguments.count > 1 ? arguments[1] : .none)
      case "cycle" where value.member("index0").double != nil && !arguments.isEmpty:
        guard case .integer(let index) = value.member("index0") else { break }
        return arguments[index % arguments.count]
      case "changed":
        return .bool(loopChanged(to: arguments))
      case "copy": return value
      default: break
      }
    case .cycler(let cycler):
      switch name {
      case "next": return cycler.next()
      case "reset":
        cycler.reset()
        return .none
      default: break
      }
    case .list(let values):
      switch name {
      case "index":
        guard let place = values.firstIndex(where: { $0.equals(arguments.first ?? .undefined) }) else {
          throw failure("index of what is not there")
        }
        return .integer(place)
      case "count": return .integer(values.count { $0.equals(arguments.first ?? .undefined) })
      case "copy": return value
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
