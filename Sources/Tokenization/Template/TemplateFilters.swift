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
    case "integer":
      switch value {
      case .integer, .longInteger: return true
      default: return false
      }
    case "number":
      switch value {
      case .integer, .longInteger, .number: return true
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
      for element in try elements(of: value) {
        try charge(1 + seen.count / 8)
        if !seen.contains(where: { $0.equals(element) }) { seen.append(element) }
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
      return try joined(try elements(of: value), by: arguments.first?.text ?? "")
    case "replace" where arguments.count >= 2:
      return try replaced(arguments[0].text, by: arguments[1].text, in: value.text)
    case "default", "d":
      let fallback = arguments.first ?? .string("")
      let onFalse = arguments.count > 1 ? arguments[1].isTrue : keywords["boolean"]?.isTrue ?? false
      if value.isUndefined { return fallback }
      return onFalse && !value.isTrue ? fallback : value
    case "tojson":
      if value.isUndefined { throw failure("filter tojson of an undefined value") }
      let indent = (keywords["indent"] ?? arguments.first)?.double.map { Int(min(max($0, 0), 64)) }
      var writer = TemplateJSON(indent: indent)
      if case .list(let parts)? = keywords["separators"], parts.count == 2 {
        writer.separators = (parts[0].text, parts[1].text)
      }
      writer.escapesAll = keywords["ensure_ascii"]?.isTrue ?? false
      writer.sortsKeys = keywords["sort_keys"]?.isTrue ?? false
      return .string(writer.text(value.json))
    case "map":
      if let attribute = keywords["attribute"]?.text {
        let path = attribute.split(separator: ".").map(String.init)
        return .list(try elementsOrNone(of: value).map { path.reduce($0) { $0.member($1) } })
      }
      guard let filterName = arguments.first?.text else { throw failure("filter map needs an attribute or a filter") }
      return .list(try elementsOrNone(of: value).map { try filter($0, filterName, Array(arguments.dropFirst()), [:]) })
    case "select", "reject":
      return .list(
        try elementsOrNone(of: value).filter { element in
          let passes =
            arguments.isEmpty ? element.isTrue : try test(element, arguments[0].text, Array(arguments.dropFirst()))
          return passes == (name == "select")
        })
    case "selectattr", "rejectattr":
      guard let attribute = arguments.first?.text else { throw failure("filter \(name) needs an attribute") }
      return .list(
        try elementsOrNone(of: value).filter { element in
          let member = element.member(attribute)
          let passes =
            arguments.count > 1 ? try test(member, arguments[1].text, Array(arguments.dropFirst(2))) : member.isTrue
          return passes == (name == "selectattr")
        })
    case "groupby": return try group(value, arguments, keywords)
    case "format": return .string(try TemplateFormat.percent(value.text, arguments, failure))
    case "round":
      guard let number = value.double else { throw failure("filter round of something that is not a number") }
      let digits = (arguments.first ?? keywords["precision"])?.double.map { Int(min(max($0, 0), 60)) } ?? 0
      let method = (arguments.count > 1 ? arguments[1] : keywords["method"])?.text ?? "common"
      if method == "common" { return .number(Double(TemplateFormat.fixed(number, digits: digits)) ?? number) }
      let scale = Double("1e\(digits)") ?? 1
      return .number((number * scale).rounded(method == "ceil" ? .up : .down) / scale)
    case "batch":
      guard case .integer(let size)? = arguments.first, size > 0 else { throw failure("filter batch needs a size") }
      let values = try elements(of: value)
      return .list(
        stride(from: 0, to: values.count, by: size).map { start in
          let part = Array(values[start..<min(start + size, values.count)])
          let fill =
            arguments.count > 1
            ? Array(repeating: arguments[1], count: min(size, 10_000) - min(part.count, 10_000)) : []
          return .list(part + fill)
        })
    case "wordcount":
      return .integer(
        value.text.unicodeScalars.split { !$0.properties.isAlphabetic && $0.properties.numericType == nil }.count)
    case "attr": return value.member(arguments.first?.text ?? "")
    case "indent":
      let width = (keywords["width"] ?? arguments.first)?.double.map { Int(min(max($0, 0), 64)) } ?? 4
      return try replaced("\n", by: "\n" + String(repeating: " ", count: width), in: value.text)
    default: throw failure("filter '\(name)' is not supported")
    }
  }

  /// Pairs of a value of an attribute and the elements that have it, in the order of those values.
  private func group(
    _ value: TemplateValue, _ arguments: [TemplateValue], _ keywords: [String: TemplateValue]
  ) throws -> TemplateValue {
    guard let attribute = (arguments.first ?? keywords["attribute"])?.text else {
      throw failure("filter groupby needs an attribute")
    }
    let path = attribute.split(separator: ".").map(String.init)
    let fallback = arguments.count > 1 ? arguments[1] : keywords["default"]
    let isCaseSensitive = keywords["case_sensitive"]?.isTrue ?? false
    func key(_ element: TemplateValue) -> TemplateValue {
      var found = path.reduce(element) { $0.member($1) }
      if found.isUndefined { found = fallback ?? .undefined }
      if !isCaseSensitive, case .string(let text) = found { return .string(text.lowercased()) }
      return found
    }
    let keyed = try elements(of: value).map { (key: key($0), element: $0) }
    let sorted = try keyed.enumerated().sorted { a, b in
      if try compare("<", a.element.key, b.element.key) { return true }
      return try compare("<", b.element.key, a.element.key) ? false : a.offset < b.offset
    }
    var groups: [(grouper: TemplateValue, key: TemplateValue, list: [TemplateValue])] = []
    for (_, entry) in sorted {
      if let last = groups.last, last.key.equals(entry.key) {
        groups[groups.count - 1].list.append(entry.element)
      } else {
        var grouper = path.reduce(entry.element) { $0.member($1) }
        if grouper.isUndefined { grouper = fallback ?? .undefined }
        groups.append((grouper, entry.key, [entry.element]))
      }
    }
    return .list(groups.map { .list([$0.grouper, .list($0.list)]) })
  }
}
