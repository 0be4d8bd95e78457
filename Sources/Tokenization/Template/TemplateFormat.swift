/// Texts with places for values, as Python writes them: `'%s'` and `'{}'`.
enum TemplateFormat {
  /// `'%s of %d' % values`
  static func percent(
    _ format: String, _ values: [TemplateValue], _ failure: (String) -> TemplateError
  ) throws -> String {
    var result = ""
    var rest = values[...]
    var scalars = format.unicodeScalars[...]
    while let scalar = scalars.popFirst() {
      guard scalar == "%" else {
        result.unicodeScalars.append(scalar)
        continue
      }
      var options = ""
      while let next = scalars.first, "0123456789.-+ ".unicodeScalars.contains(next) {
        options.unicodeScalars.append(next)
        scalars.removeFirst()
      }
      guard let kind = scalars.popFirst() else { throw failure("a format ends with '%'") }
      if kind == "%" {
        result += "%"
        continue
      }
      guard let value = rest.popFirst() else { throw failure("a format has more places than values") }
      result += try text(value, kind, Options(options), failure)
    }
    if !rest.isEmpty { throw failure("a format has fewer places than values") }
    return result
  }

  /// `'{} of {name}'.format(...)`
  static func braces(
    _ format: String, _ values: [TemplateValue], _ named: [String: TemplateValue],
    _ failure: (String) -> TemplateError
  ) throws -> String {
    var result = ""
    var next = 0
    var scalars = format.unicodeScalars[...]
    while let scalar = scalars.popFirst() {
      guard scalar == "{" || scalar == "}" else {
        result.unicodeScalars.append(scalar)
        continue
      }
      if scalars.first == scalar {
        scalars.removeFirst()
        result.unicodeScalars.append(scalar)
        continue
      }
      guard scalar == "{", let end = scalars.firstIndex(of: "}") else { throw failure("a format has a brace too many") }
      let inside = String(scalars[..<end])
      scalars = scalars[scalars.index(after: end)...]
      let parts = inside.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let name = parts.first ?? ""
      var value: TemplateValue?
      if name.isEmpty {
        value = next < values.count ? values[next] : nil
        next += 1
      } else if let index = Int(name) {
        value = values.indices.contains(index) ? values[index] : nil
      } else {
        value = named[name]
      }
      guard let value else { throw failure("a format has a place for which there is no value") }
      var options = parts.count > 1 ? parts[1] : ""
      var kind: Unicode.Scalar = "s"
      if let last = options.unicodeScalars.last, last.properties.isAlphabetic {
        kind = last
        options.unicodeScalars.removeLast()
      }
      result += try text(value, kind, Options(options), failure)
    }
    return result
  }

  /// What stands between `%` and the letter.
  private struct Options {
    var width = 0
    var digits: Int?
    var isLeft = false
    var hasZeros = false
    var hasSign = false
    var isKnown = true

    init(_ text: String) {
      var flags = text.unicodeScalars[...]
      while let flag = flags.first, "-+ 0".unicodeScalars.contains(flag) {
        if flag == "-" { isLeft = true }
        if flag == "+" { hasSign = true }
        if flag == "0" { hasZeros = true }
        if flag == " " { isKnown = false }
        flags.removeFirst()
      }
      let parts = String(flags).split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      if let first = parts.first, !first.isEmpty { width = Int(first) ?? -1 }
      if parts.count > 1 { digits = Int(parts[1]) ?? 0 }
      isKnown = isKnown && (0...10_000).contains(width) && (0...60).contains(digits ?? 0) && parts.count < 3
    }
  }

  private static func text(
    _ value: TemplateValue, _ kind: Unicode.Scalar, _ options: Options, _ failure: (String) -> TemplateError
  ) throws -> String {
    guard options.isKnown else { throw failure("this format is not supported") }
    var text: String
    switch kind {
    case "s":
      text = value.text
      if let digits = options.digits {
        var cut = String.UnicodeScalarView()
        cut.append(contentsOf: text.unicodeScalars.prefix(digits))
        text = String(cut)
      }
    case "r": text = value.quoted
    case "d", "i":
      guard let number = value.double, abs(number) < 9e18 else { throw failure("a format needs a number") }
      if case .integer(let whole) = value { text = String(whole) } else { text = String(Int(number)) }
    case "f", "F":
      guard let number = value.double, number.isFinite else { throw failure("a format needs a number") }
      text = fixed(number, digits: options.digits ?? 6)
    default: throw failure("the format '\(kind)' is not supported")
    }
    if options.hasSign, kind != "s", !text.hasPrefix("-") { text = "+" + text }
    let missing = options.width - text.unicodeScalars.count
    if missing <= 0 { return text }
    if options.isLeft { return text + String(repeating: " ", count: missing) }
    guard options.hasZeros, kind != "s" else { return String(repeating: " ", count: missing) + text }
    let sign = text.hasPrefix("-") || text.hasPrefix("+") ? String(text.prefix(1)) : ""
    return sign + String(repeating: "0", count: missing) + text.dropFirst(sign.count)
  }

  /// A number with so many digits behind the point, its exact value rounded half to even.
  static func fixed(_ number: Double, digits: Int) -> String {
    // The exact decimal digits: the significand times powers of two, as a row of digits.
    let magnitude = number.magnitude
    var whole = magnitude.rounded(.down)
    var fraction = magnitude - whole
    var decimals: [UInt8] = []
    // Multiplying by ten in two parts keeps every bit: a fraction of a double ends after some thousand digits.
    var bits: [UInt32] = []
    while fraction > 0 {
      fraction *= 4_294_967_296
      let part = fraction.rounded(.down)
      bits.append(UInt32(part))
      fraction -= part
    }
    func nextDigit() -> UInt8 {
      var carry: UInt64 = 0
      for index in bits.indices.reversed() {
        let product = UInt64(bits[index]) * 10 + carry
        bits[index] = UInt32(truncatingIfNeeded: product)
        carry = product >> 32
      }
      return UInt8(carry)
    }
    for _ in 0..<digits { decimals.append(nextDigit()) }
    let half = nextDigit()
    let isMore = half > 5 || (half == 5 && bits.contains { $0 != 0 })
    let lastIsOdd = (decimals.last ?? UInt8(whole.truncatingRemainder(dividingBy: 2))) % 2 == 1
    if isMore || (half == 5 && lastIsOdd) {
      var place = decimals.count - 1
      while place >= 0, decimals[place] == 9 {
        decimals[place] = 0
        place -= 1
      }
      if place >= 0 { decimals[place] += 1 } else { whole += 1 }
    }
    let integer = wholeDigits(whole)
    return (number.sign == .minus ? "-" : "") + integer
      + (digits > 0 ? "." + decimals.map { String($0) }.joined() : "")
  }

  private static func wholeDigits(_ whole: Double) -> String {
    if whole < 9e18 { return String(Int(whole)) }
    var parts: [UInt32] = []
    var rest = whole
    while rest >= 1 {
      parts.append(UInt32(rest.truncatingRemainder(dividingBy: 4_294_967_296)))
      rest = (rest / 4_294_967_296).rounded(.down)
    }
    var digits: [String] = []
    while parts.contains(where: { $0 != 0 }) {
      var carry: UInt64 = 0
      for index in parts.indices.reversed() {
        let value = carry << 32 | UInt64(parts[index])
        parts[index] = UInt32(value / 10)
        carry = value % 10
      }
      digits.append(String(carry))
    }
    return digits.reversed().joined()
  }
}
