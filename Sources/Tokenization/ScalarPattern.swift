/// Categories of scalars that tokenizer patterns ask for.
enum ScalarCategory {
  static let letter: UInt8 = 1
  static let number: UInt8 = 2
  static let space: UInt8 = 4
  private static let tableSize = 0x32400

  private static let table: [UInt8] = (0..<tableSize).map { computed(UInt32($0)) }

  /// `letter`, `number` and `space` as bits.
  @inline(__always) static func of(_ scalar: UInt32) -> UInt8 {
    scalar < tableSize ? table[Int(scalar)] : computed(scalar)
  }

  private static func computed(_ value: UInt32) -> UInt8 {
    guard let scalar = Unicode.Scalar(value) else { return 0 }
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return letter
    case .decimalNumber, .letterNumber, .otherNumber: return number
    default: return scalar.properties.isWhitespace ? space : 0
    }
  }
}

/// The regular expressions that tokenizers use to cut text into words: classes, repetition, alternation, groups and
/// look-ahead, tried in order with backtracking.
struct ScalarPattern: Sendable {
  /// What cannot be understood.
  struct Unsupported: Error { let reason: String }

  private struct Class: Sendable {
    var negated = false
    var ranges: [ClosedRange<UInt32>] = []
    var categories: UInt8 = 0
    /// Categories of which a scalar must lack one: `\S`, `\P{L}` inside brackets.
    var missing: UInt8 = 0
    var foldsCase = false

    @inline(__always) func contains(_ scalar: UInt32) -> Bool {
      var found = false
      let category = ScalarCategory.of(scalar)
      if categories & category != 0 || missing & ~category != 0 { found = true }
      if !found {
        for range in ranges where range.contains(scalar) {
          found = true
          break
        }
      }
      if !found, foldsCase, scalar < 128 {
        let other = scalar ^ 0x20
        if (other >= 0x41 && other <= 0x5A) || (other >= 0x61 && other <= 0x7A) {
          for range in ranges where range.contains(other) { found = true }
        }
      }
      return found != negated
    }
  }

  private indirect enum Node: Sendable {
    case scalars(Class, least: Int, most: Int, greedy: Bool)
    case group([[Node]], least: Int, most: Int)
    case look([[Node]], ahead: Bool)
    case end
    case start
  }

  private let alternatives: [[Node]]

  init(_ pattern: String) throws {
    var parser = Parser(Array(pattern.unicodeScalars))
    alternatives = try parser.alternatives()
    if !parser.isAtEnd { throw Unsupported(reason: "unbalanced ')'") }
  }

  /// The literal text as a pattern.
  init(literal: String) {
    alternatives = [
      literal.unicodeScalars.map {
        .scalars(Class(ranges: [$0.value...$0.value]), least: 1, most: 1, greedy: true)
      }
    ]
  }

  /// End of the match that starts at `start`, or `nil`.
  func match(_ text: UnsafeBufferPointer<UInt32>, at start: Int) -> Int? {
    for alternative in alternatives {
      if let end = Self.match(alternative[...], text, start, { $0 }) { return end }
    }
    return nil
  }

  private static func match(
    _ nodes: ArraySlice<Node>, _ text: UnsafeBufferPointer<UInt32>, _ position: Int, _ then: (Int) -> Int?
  ) -> Int? {
    guard let first = nodes.first else { return then(position) }
    let rest = nodes.dropFirst()
    switch first {
    case .scalars(let set, let least, let most, let greedy):
      var end = position
      let limit = most == Int.max ? text.count : min(text.count, position + most)
      if greedy {
        while end < limit, set.contains(text[end]) { end += 1 }
        if end - position < least { return nil }
        if rest.isEmpty { return then(end) }
        while true {
          if let result = match(rest, text, end, then) { return result }
          if end - position == least { return nil }
          end -= 1
        }
      }
      while true {
        if end - position >= least, let result = match(rest, text, end, then) { return result }
        guard end < limit, set.contains(text[end]) else { return nil }
        end += 1
      }
    case .group(let alternatives, let least, let most):
      return matchGroup(alternatives, least: least, most: most, text, position) { match(rest, text, $0, then) }
    case .look(let alternatives, let ahead):
      let found = alternatives.contains { match($0[...], text, position, { $0 }) != nil }
      return found == ahead ? match(rest, text, position, then) : nil
    case .end: return position == text.count ? match(rest, text, position, then) : nil
    case .start: return position == 0 ? match(rest, text, position, then) : nil
    }
  }

  private static func matchGroup(
    _ alternatives: [[Node]], least: Int, most: Int, _ text: UnsafeBufferPointer<UInt32>, _ position: Int,
    _ then: (Int) -> Int?
  ) -> Int? {
    if most > 0 {
      for alternative in alternatives {
        let result = match(alternative[...], text, position) { end in
          // An empty repetition would go on for ever.
          if end == position && least <= 0 { return nil }
          return matchGroup(
            alternatives, least: least - 1, most: most == Int.max ? most : most - 1, text, end, then)
        }
        if let result { return result }
      }
    }
    return least <= 0 ? then(position) : nil
  }

  private struct Parser {
    let text: [Unicode.Scalar]
    var position = 0
    var foldsCase = false
    var depth = 0

    init(_ text: [Unicode.Scalar]) { self.text = text }

    var isAtEnd: Bool { position >= text.count }
    var current: Unicode.Scalar? { isAtEnd ? nil : text[position] }

    mutating func take(_ literal: String) -> Bool {
      let wanted = Array(literal.unicodeScalars)
      guard position + wanted.count <= text.count, Array(text[position..<position + wanted.count]) == wanted else {
        return false
      }
      position += wanted.count
      return true
    }

    mutating func alternatives() throws -> [[Node]] {
      depth += 1
      if depth > 50 { throw Unsupported(reason: "nested too deep") }
      defer { depth -= 1 }
      var result: [[Node]] = [[]]
      while let scalar = current, scalar != ")" {
        if take("|") {
          result.append([])
        } else {
          result[result.count - 1].append(try node())
        }
      }
      return result
    }

    mutating func node() throws -> Node {
      if take("(?!") { return try look(ahead: false) }
      if take("(?=") { return try look(ahead: true) }
      if take("(?i:") {
        let outer = foldsCase
        foldsCase = true
        defer { foldsCase = outer }
        return try group()
      }
      if take("(?:") { return try group() }
      if take("(?") { throw Unsupported(reason: "this kind of group") }
      if take("(") { return try group() }
      if take("$") { return .end }
      if take("^") { return .start }
      let set = try atom()
      let count = try repetition()
      return .scalars(set, least: count.least, most: count.most, greedy: count.greedy)
    }

    mutating func look(ahead: Bool) throws -> Node {
      let inside = try alternatives()
      guard take(")") else { throw Unsupported(reason: "missing ')'") }
      return .look(inside, ahead: ahead)
    }

    mutating func group() throws -> Node {
      let inside = try alternatives()
      guard take(")") else { throw Unsupported(reason: "missing ')'") }
      let count = try repetition()
      return .group(inside, least: count.least, most: count.most)
    }

    mutating func repetition() throws -> (least: Int, most: Int, greedy: Bool) {
      var least = 1
      var most = 1
      if take("?") {
        least = 0
      } else if take("*") {
        (least, most) = (0, Int.max)
      } else if take("+") {
        most = Int.max
      } else if take("{") {
        guard let first = number() else { throw Unsupported(reason: "a repetition without a number") }
        least = first
        most = take(",") ? number() ?? Int.max : first
        guard take("}"), least <= most else { throw Unsupported(reason: "a repetition without '}'") }
      } else {
        return (1, 1, true)
      }
      if take("+") { return (least, most, true) }
      return (least, most, !take("?"))
    }

    mutating func number() -> Int? {
      var digits = ""
      while let scalar = current, scalar.value >= 0x30, scalar.value <= 0x39, digits.count < 6 {
        digits.unicodeScalars.append(scalar)
        position += 1
      }
      return Int(digits)
    }

    mutating func atom() throws -> Class {
      guard let scalar = current else { throw Unsupported(reason: "unexpected end") }
      position += 1
      if scalar == "\\" { return try escape() }
      if scalar == "." { return Class(negated: true, ranges: [0x0A...0x0A]) }
      if scalar == "[" { return try bracket() }
      if "*+?{}".unicodeScalars.contains(scalar) {
        throw Unsupported(reason: "'\(scalar)' without something to repeat")
      }
      return Class(ranges: [scalar.value...scalar.value], foldsCase: foldsCase)
    }

    mutating func bracket() throws -> Class {
      var set = Class(foldsCase: foldsCase)
      set.negated = take("^")
      while let scalar = current, scalar != "]" {
        position += 1
        var inner: Class
        if scalar == "\\" {
          inner = try escape()
        } else {
          inner = Class(ranges: [scalar.value...scalar.value])
        }
        if inner.negated { throw Unsupported(reason: "a negated class inside brackets") }
        if inner.ranges.count == 1, inner.ranges[0].count == 1, current == "-", position + 1 < text.count,
          text[position + 1] != "]"
        {
          position += 1
          guard var upper = current else { throw Unsupported(reason: "unexpected end") }
          position += 1
          if upper == "\\" {
            let escaped = try escape()
            guard let value = escaped.ranges.first?.lowerBound, let scalar = Unicode.Scalar(value) else {
              throw Unsupported(reason: "a range with a class")
            }
            upper = scalar
          }
          guard inner.ranges[0].lowerBound <= upper.value else { throw Unsupported(reason: "a range that descends") }
          inner.ranges = [inner.ranges[0].lowerBound...upper.value]
        }
        set.ranges += inner.ranges
        set.categories |= inner.categories
        set.missing |= inner.missing
      }
      guard take("]") else { throw Unsupported(reason: "missing ']'") }
      return set
    }

    mutating func escape() throws -> Class {
      guard let scalar = current else { throw Unsupported(reason: "unexpected end") }
      position += 1
      switch scalar {
      case "r": return Class(ranges: [0x0D...0x0D])
      case "n": return Class(ranges: [0x0A...0x0A])
      case "t": return Class(ranges: [0x09...0x09])
      case "s": return Class(categories: ScalarCategory.space)
      case "S": return Class(missing: ScalarCategory.space)
      case "d": return Class(categories: ScalarCategory.number)
      case "p", "P":
        guard take("{") else { throw Unsupported(reason: "\\p without a name") }
        var name = ""
        while let next = current, next != "}" {
          name.unicodeScalars.append(next)
          position += 1
        }
        _ = take("}")
        let category: UInt8
        switch name {
        case "L", "Letter": category = ScalarCategory.letter
        case "N", "Number": category = ScalarCategory.number
        default: throw Unsupported(reason: "class \\p{\(name)}")
        }
        return scalar == "p" ? Class(categories: category) : Class(missing: category)
      case _ where scalar.properties.isAlphabetic || scalar.properties.numericType != nil:
        throw Unsupported(reason: "escape \\\(scalar)")
      default: return Class(ranges: [scalar.value...scalar.value])
      }
    }
  }
}
