/// Tests (`is defined`) and filters (`| trim`) of the template language.
extension TemplateEvaluator {
  func test(_ value: TemplateValue, _ name: String, _ arguments: [TemplateValue]) throws -> Bool {
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
      case .list, .map, .string, .undefined: return true
      default: return false
      }
    case "float": if case .number = value { return true } else { return false }
    case "callable":
      switch value {
      case .macro, .function: return true
      default: return false
      }
    case "sameas", "equalto", "eq", "==": return arguments.first.map { value.equals($0) } ?? false
    case "ne", "!=": return arguments.first.map { !value.equals($0) } ?? true
    case "<", ">", "<=", ">=": return try compare(name, value, arguments.first ?? .undefined)
    case "lt", "gt", "le", "ge":
      let sign = (name.hasPrefix("l") ? "<" : ">") + (name.hasSuffix("e") ? "=" : "")
      return try compare(sign, value, arguments.first ?? .undefined)
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

  func filter(
    _ value: TemplateValue, _ name: String, _ arguments: [TemplateValue], _ keywords: [String: TemplateValue]
  ) throws -> TemplateValue {
    switch name {
    case "trim": return .string(TemplateText.strip(value.text, arguments.first?.text, left: true, right: true))
    case "upper": return .string(value.text.uppercased())
    case "lower": return .string(value.text.lowercased())
    case "capitalize": return .string(TemplateText.capitalized(value.text))
    case "string": return .string(value.text)
    case "safe", "e", "escape": return value
    case "title": return .string(TemplateText.title(value.text))
    case "int":
      let text = TemplateText.strip(value.text, nil, left: true, right: true)
      if case .integer(let number) = value { return .integer(number) }
      return .integer((value.double ?? Double(text)).flatMap { Int(exactly: $0.rounded(.towardZero)) } ?? 0)
    case "float":
      return .number(value.double ?? Double(TemplateText.strip(value.text, nil, left: true, right: true)) ?? 0)
    case "abs":
      if case .integer(let number) = value { return .integer(number < 0 ? 0 &- number : number) }
      guard let number = value.double else { throw failure("filter abs of something that is not a number") }
      return .number(abs(number))
    case "sum":
      return try elements(of: value).reduce(.integer(0)) { try arithmetic("+", $0, $1) }
    case "min", "max":
      let values = try elements(of: value)
      return try values.dropFirst().reduce(values.first ?? .undefined) { best, next in
        try compare(name == "min" ? "<" : ">", next, best) ? next : best
      }
    case "unique":
      var seen: [TemplateValue] = []
      for element in try elements(of: value) where !seen.contains(where: { $0.equals(element) }) {
        seen.append(element)
      }
      return .list(seen)
    case "sort", "dictsort":
      let isMap = name == "dictsort"
      let attribute = keywords["attribute"]?.text
      let sorted = try elements(of: isMap ? try method("items", of: value, [], [:]) : value).sorted { a, b in
        if isMap { return try compare("<", try elements(of: a)[0], try elements(of: b)[0]) }
        return try compare("<", attribute.map { a.member($0) } ?? a, attribute.map { b.member($0) } ?? b)
      }
      return .list(keywords["reverse"]?.isTrue == true ? sorted.reversed() : sorted)
    case "length", "count": return .integer(try elements(of: value).count)
    case "list": return .list(try elements(of: value))
    case "first": return try elements(of: value).first ?? .undefined
    case "last": return try elements(of: value).last ?? .undefined
    case "reverse": return .list(try elements(of: value).reversed())
    case "items": return try method("items", of: value, [], [:])
    case "join":
      return .string(try elements(of: value).map(\.text).joined(separator: arguments.first?.text ?? ""))
    case "replace" where arguments.count >= 2:
      return .string(TemplateText.replace(arguments[0].text, by: arguments[1].text, in: value.text))
    case "default", "d":
      let fallback = arguments.first ?? .string("")
      let onFalse = arguments.count > 1 ? arguments[1].isTrue : keywords["boolean"]?.isTrue ?? false
      if value.isUndefined { return fallback }
      return onFalse && !value.isTrue ? fallback : value
    case "tojson":
      if value.isUndefined { throw failure("filter tojson of an undefined value") }
      let indent = (keywords["indent"] ?? arguments.first)?.double.map { Int(min(max($0, 0), 64)) }
      return .string(TemplateText.json(value.json, indent: indent))
    case "map":
      if let attribute = keywords["attribute"]?.text {
        let path = attribute.split(separator: ".").map(String.init)
        return .list(try elements(of: value).map { path.reduce($0) { $0.member($1) } })
      }
      guard let filterName = arguments.first?.text else { throw failure("filter map needs an attribute or a filter") }
      return .list(try elements(of: value).map { try filter($0, filterName, Array(arguments.dropFirst()), [:]) })
    case "select", "reject":
      return .list(
        try elements(of: value).filter { element in
          let passes =
            arguments.isEmpty ? element.isTrue : try test(element, arguments[0].text, Array(arguments.dropFirst()))
          return passes == (name == "select")
        })
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
      let width = (keywords["width"] ?? arguments.first)?.double.map { Int(min(max($0, 0), 64)) } ?? 4
      let indented = TemplateText.replace("\n", by: "\n" + String(repeating: " ", count: width), in: value.text)
      return .string(indented)
    default: throw failure("filter '\(name)' is not supported")
    }
  }
}
