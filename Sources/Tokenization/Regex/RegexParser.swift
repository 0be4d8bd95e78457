/// What a regular expression says, before it is made into a program.
indirect enum RegexNode: Sendable {
  enum Mode: Sendable { case greedy, lazy, possessive }

  case set(RegexClass)
  case sequence([RegexNode])
  case choice([RegexNode])
  case repeated(RegexNode, least: Int, most: Int, Mode)
  case look(RegexNode, ahead: Bool, negated: Bool)
  /// A group that does not give back what it took.
  case atomic(RegexNode)
  case lineStart
  case lineEnd
  case textStart
  case textEnd
  /// The end of the text, or before a line break there.
  case lastLineEnd
  case wordBoundary(negated: Bool)

  /// The number of scalars that a match has, if all matches have as many.
  var fixedLength: Int? {
    switch self {
    case .set: return 1
    case .sequence(let nodes):
      var sum = 0
      for node in nodes {
        guard let length = node.fixedLength else { return nil }
        sum += length
      }
      return sum
    case .choice(let nodes):
      let lengths = nodes.map(\.fixedLength)
      return lengths.allSatisfy { $0 == lengths[0] } ? lengths[0] : nil
    case .repeated(let node, let least, let most, _):
      return least == most ? node.fixedLength.map { $0 * least } : nil
    case .atomic(let node): return node.fixedLength
    case .look, .lineStart, .lineEnd, .textStart, .textEnd, .lastLineEnd, .wordBoundary: return 0
    }
  }

  /// Whether a match may be empty.
  var canBeEmpty: Bool {
    switch self {
    case .set: false
    case .sequence(let nodes): nodes.allSatisfy(\.canBeEmpty)
    case .choice(let nodes): nodes.contains(where: \.canBeEmpty)
    case .repeated(let node, let least, _, _): least == 0 || node.canBeEmpty
    case .atomic(let node): node.canBeEmpty
    case .look, .lineStart, .lineEnd, .textStart, .textEnd, .lastLineEnd, .wordBoundary: true
    }
  }
}

/// Reads regular expressions as Oniguruma understands them, as far as tokenizers use them.
struct RegexParser {
  /// Whose patterns these are.
  enum Dialect: Sendable {
    case oniguruma
    /// `^` and `$` stand for the ends of the whole text, `[` within brackets for itself.
    case python
  }

  /// Bytes of a pattern: its nodes take many times as much.
  private static let longestPattern = 1 << 18

  private let text: [Unicode.Scalar]
  private let dialect: Dialect
  private var position = 0
  private var foldsCase = false
  private var depth = 0

  static func parse(_ pattern: String, _ dialect: Dialect = .oniguruma) throws -> RegexNode {
    guard pattern.utf8.count <= longestPattern else {
      throw RegexError(position: 0, reason: "a pattern of more than \(longestPattern / 1024) KB")
    }
    var parser = RegexParser(pattern, dialect)
    let node = try parser.choice()
    if !parser.isAtEnd { throw parser.unsupported("')' without '('") }
    return node
  }

  private init(_ pattern: String, _ dialect: Dialect) {
    text = Array(pattern.unicodeScalars)
    self.dialect = dialect
  }

  private var isAtEnd: Bool { position >= text.count }
  private var current: Unicode.Scalar? { isAtEnd ? nil : text[position] }

  private func unsupported(_ reason: String) -> RegexError { RegexError(position: position, reason: reason) }

  private mutating func take(_ literal: String) -> Bool {
    let wanted = literal.unicodeScalars
    guard text[position...].starts(with: wanted) else { return false }
    position += wanted.count
    return true
  }

  private mutating func choice() throws -> RegexNode {
    depth += 1
    if depth > 50 { throw unsupported("groups nested deeper than 50 levels") }
    defer { depth -= 1 }
    let outer = foldsCase
    defer { foldsCase = outer }
    var branches: [[RegexNode]] = [[]]
    while let scalar = current, scalar != ")" {
      if take("|") {
        branches.append([])
      } else if let node = try piece() {
        branches[branches.count - 1].append(node)
      }
    }
    let sequences = branches.map { $0.count == 1 ? $0[0] : .sequence($0) }
    return sequences.count == 1 ? sequences[0] : .choice(sequences)
  }

  private mutating func piece() throws -> RegexNode? {
    guard var node = try atom() else { return nil }
    while let (least, most, mode) = try repetition() {
      if most == Int.max, node.canBeEmpty { throw unsupported("an endless repetition of what may be empty") }
      node = .repeated(node, least: least, most: most, mode)
    }
    return node
  }

  private mutating func atom() throws -> RegexNode? {
    if take("(") { return try group() }
    if take("^") { return dialect == .python ? .textStart : .lineStart }
    if take("$") { return dialect == .python ? .lastLineEnd : .lineEnd }
    if take(".") { return .set(.lineBreak.negated) }
    if take("[") { return .set(try bracket()) }
    if take("\\") {
      if take("A") { return .textStart }
      if take(dialect == .python ? "Z" : "z") { return .textEnd }
      if take("b") { return .wordBoundary(negated: false) }
      if take("B") { return .wordBoundary(negated: true) }
      return .set(try escape())
    }
    guard let scalar = current else { throw unsupported("an unexpected end") }
    if "*+?".unicodeScalars.contains(scalar) { throw unsupported("'\(scalar)' with nothing to repeat") }
    position += 1
    return .set(.scalar(scalar.value, foldsCase: foldsCase))
  }

  private mutating func group() throws -> RegexNode? {
    if take("?i)") {
      foldsCase = true
      return nil
    }
    var wrap: (RegexNode) -> RegexNode = { $0 }
    var folds = foldsCase
    if take("?:") {
    } else if take("?i:") {
      folds = true
    } else if take("?-i:") {
      folds = false
    } else if take("?=") {
      wrap = { .look($0, ahead: true, negated: false) }
    } else if take("?!") {
      wrap = { .look($0, ahead: true, negated: true) }
    } else if take("?<=") {
      wrap = { .look($0, ahead: false, negated: false) }
    } else if take("?<!") {
      wrap = { .look($0, ahead: false, negated: true) }
    } else if take("?>") {
      wrap = { .atomic($0) }
    } else if take("?") {
      throw unsupported("this kind of group")
    }
    let outer = foldsCase
    foldsCase = folds
    let inside = try choice()
    foldsCase = outer
    guard take(")") else { throw unsupported("'(' without ')'") }
    let node = wrap(inside)
    if case .look(let body, ahead: false, _) = node, body.fixedLength == nil {
      throw unsupported("a look behind of varying length")
    }
    return node
  }

  private mutating func repetition() throws -> (least: Int, most: Int, mode: RegexNode.Mode)? {
    let start = position
    var least = 0
    var most = Int.max
    if take("?") {
      most = 1
    } else if take("*") {
    } else if take("+") {
      least = 1
    } else if take("{") {
      let first = number()
      let hasComma = take(",")
      let second = hasComma ? number() : first
      guard take("}"), first != nil || second != nil else {
        // A brace that is no repetition stands for itself.
        position = start
        return nil
      }
      least = first ?? 0
      most = second ?? Int.max
      guard least <= most, least <= 1000, most <= 1000 || most == Int.max else {
        throw unsupported("this number of repetitions")
      }
      return (least, most, take("?") ? .lazy : .greedy)
    } else {
      return nil
    }
    if take("?") { return (least, most, .lazy) }
    if take("+") { return (least, most, .possessive) }
    return (least, most, .greedy)
  }

  private mutating func number() -> Int? {
    var value: Int?
    while let digit = current.flatMap({ $0.isASCII ? Int(String($0)) : nil }), value ?? 0 < 100_000 {
      value = (value ?? 0) * 10 + digit
      position += 1
    }
    return value
  }

  /// What follows `[`.
  private mutating func bracket() throws -> RegexClass {
    depth += 1
    if depth > 50 { throw unsupported("brackets nested deeper than 50 levels") }
    defer { depth -= 1 }
    var set = RegexClass(foldsCase: foldsCase)
    set.isNegated = take("^")
    var isFirst = true
    while let scalar = current, scalar != "]" || isFirst {
      isFirst = false
      if dialect == .oniguruma, take("&&") { throw unsupported("an intersection of sets") }
      if dialect == .oniguruma, take("[:") { throw unsupported("a POSIX set") }
      if dialect == .oniguruma, take("[") {
        set.items.append(.nested(try bracket()))
        continue
      }
      position += 1
      let inner = scalar == "\\" ? try escape() : .scalar(scalar.value)
      if let lower = Self.literal(inner), current == "-", position + 1 < text.count, text[position + 1] != "]" {
        position += 1
        let upper: RegexClass
        if take("\\") {
          upper = try escape()
        } else {
          upper = .scalar(text[position].value)
          position += 1
        }
        guard let bound = Self.literal(upper), lower <= bound else { throw unsupported("this range") }
        set.items.append(.range(lower...bound))
      } else if inner.isNegated || inner.items.count != 1 {
        set.items.append(.nested(inner))
      } else {
        set.items += inner.items
      }
    }
    guard take("]") else { throw unsupported("'[' without ']'") }
    return set
  }

  private static func literal(_ set: RegexClass) -> UInt32? {
    var plain = set
    plain.foldsCase = false
    return plain.onlyScalar
  }

  /// What follows a backslash.
  private mutating func escape() throws -> RegexClass {
    guard let scalar = current else { throw unsupported("an unexpected end") }
    position += 1
    switch scalar {
    case "r": return .scalar(0x0D)
    case "n": return .scalar(0x0A)
    case "t": return .scalar(0x09)
    case "f": return .scalar(0x0C)
    case "v": return .scalar(0x0B)
    case "s": return .space
    case "S": return .space.negated
    case "d": return .digits
    case "D": return .digits.negated
    case "w": return .word
    case "W": return .word.negated
    case "x", "u": return .scalar(try hexadecimal(digits: scalar == "x" ? 2 : 4))
    case "p", "P":
      guard take("{") else { throw unsupported("\\\(scalar) without a name in braces") }
      let isNegated = take("^")
      var name = ""
      while let next = current, next != "}" {
        name.unicodeScalars.append(next)
        position += 1
      }
      guard take("}"), let set = RegexClass.property(name) else { throw unsupported("the property \(name)") }
      return isNegated != (scalar == "P") ? set.negated : set
    case _ where scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil):
      throw unsupported("the escape \\\(scalar)")
    default: return .scalar(scalar.value, foldsCase: foldsCase)
    }
  }

  private mutating func hexadecimal(digits count: Int) throws -> UInt32 {
    let isBraced = take("{")
    var digits = ""
    while let next = current, next.properties.isASCIIHexDigit, digits.count < (isBraced ? 6 : count) {
      digits.unicodeScalars.append(next)
      position += 1
    }
    guard !isBraced || take("}"), let value = UInt32(digits, radix: 16), Unicode.Scalar(value) != nil else {
      throw unsupported("this hexadecimal number")
    }
    return value
  }
}

/// A pattern that this program cannot use.
struct RegexError: Error {
  /// In scalars from the start of the pattern.
  let position: Int
  let reason: String
}
