/// A set of scalars: `[^\s\p{L}]`, `\d`, `.`, or one literal scalar.
struct RegexClass: Sendable {
  enum Item: Sendable {
    case range(ClosedRange<UInt32>)
    /// A bit per general category.
    case categories(UInt32)
    case space
    case word
    case nested(RegexClass)
  }

  var isNegated = false
  var items: [Item] = []
  /// Whether the other case of a scalar counts as well.
  var foldsCase = false

  static func scalar(_ scalar: UInt32, foldsCase: Bool = false) -> RegexClass {
    RegexClass(items: [.range(scalar...scalar)], foldsCase: foldsCase)
  }

  /// The one scalar that is in the set, if that is how it was written.
  var onlyScalar: UInt32? {
    if !isNegated, !foldsCase, items.count == 1, case .range(let range) = items[0], range.count == 1 {
      return range.lowerBound
    }
    return nil
  }

  func contains(_ scalar: UInt32, _ table: UnicodeTable) -> Bool {
    var found = holds(scalar, table)
    if !found, foldsCase { found = holdsOtherCase(scalar, table) }
    return found != isNegated
  }

  private func holdsOtherCase(_ scalar: UInt32, _ table: UnicodeTable) -> Bool {
    guard scalar < 0x80 else { return Self.otherCases(scalar).contains { holds($0, table) } }
    let letter = scalar | 0x20
    guard letter >= 0x61, letter <= 0x7A else { return false }
    if holds(scalar ^ 0x20, table) { return true }
    // The long s and the sign of Kelvin.
    return letter == 0x73 && holds(0x17F, table) || letter == 0x6B && holds(0x212A, table)
  }

  private func holds(_ scalar: UInt32, _ table: UnicodeTable) -> Bool {
    for item in items {
      switch item {
      case .range(let range): if range.contains(scalar) { return true }
      case .categories(let set): if set >> UInt32(table.entry(scalar).category) & 1 != 0 { return true }
      case .space: if table.entry(scalar).isSpace { return true }
      case .word: if table.isPatternWord(scalar) { return true }
      case .nested(let inner): if inner.contains(scalar, table) { return true }
      }
    }
    return false
  }

  /// Of a scalar beyond ASCII.
  private static func otherCases(_ scalar: UInt32) -> [UInt32] {
    guard let known = Unicode.Scalar(scalar), known.properties.changesWhenCaseMapped else { return [] }
    let mapped = [known.properties.lowercaseMapping, known.properties.uppercaseMapping].compactMap { text -> UInt32? in
      text.unicodeScalars.count == 1 ? text.unicodeScalars.first?.value : nil
    }
    // The letters that share their fold with another one than their own capital.
    switch scalar {
    case 0xE5, 0xC5: return mapped + [0x212B]
    case 0x17F: return [0x73, 0x53]
    case 0x212A: return [0x6B, 0x4B]
    case 0x212B: return [0xE5, 0xC5]
    default: return mapped
    }
  }

  /// The set that `\p{name}` stands for, if it is known.
  static func property(_ name: String) -> RegexClass? {
    let longNames = [
      "Letter": "L", "Mark": "M", "Number": "N", "Punctuation": "P", "Symbol": "S", "Separator": "Z", "Other": "C",
    ]
    let name = longNames[name] ?? name
    if let blocks = scripts[name] { return RegexClass(items: blocks.map { .range($0) }) }
    var set: UInt32 = 0
    for category in UnicodeTable.Category.allCases {
      if "\(category)" == name || (name.count == 1 && "\(category)".hasPrefix(name)) {
        set |= 1 << UInt32(category.rawValue)
      }
    }
    return set == 0 ? nil : RegexClass(items: [.categories(set)])
  }

  /// The script that published patterns ask for.
  private static let scripts: [String: [ClosedRange<UInt32>]] = [
    "Han": [
      0x2E80...0x2E99, 0x2E9B...0x2EF3, 0x2F00...0x2FD5, 0x3005...0x3005, 0x3007...0x3007, 0x3021...0x3029,
      0x3038...0x303B, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xF900...0xFA6D, 0xFA70...0xFAD9, 0x16FE2...0x16FE3,
      0x16FF0...0x16FF1, 0x20000...0x2A6DF, 0x2A700...0x2B739, 0x2B740...0x2B81D, 0x2B820...0x2CEA1,
      0x2CEB0...0x2EBE0, 0x2EBF0...0x2EE5D, 0x2F800...0x2FA1D, 0x30000...0x3134A, 0x31350...0x323AF,
    ]
  ]

  static let digits = RegexClass(items: [.categories(1 << UInt32(UnicodeTable.Category.Nd.rawValue))])
  static let word = RegexClass(items: [.word])
  static let space = RegexClass(items: [.space])
  static let lineBreak = RegexClass(items: [.range(0x0A...0x0A)])

  var negated: RegexClass {
    var other = self
    other.isNegated.toggle()
    return other
  }
}
