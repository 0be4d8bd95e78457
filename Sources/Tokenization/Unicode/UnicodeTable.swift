/// A view of UTF-8 that is known to be valid.
typealias Bytes = UnsafeBufferPointer<UInt8>

extension UnsafeBufferPointer<UInt8> {
  /// The scalar that starts at `position`, and how many bytes it has.
  @inline(__always) func scalar(at position: Int) -> (value: UInt32, length: Int) {
    let first = UInt32(self[position])
    if first < 0x80 { return (first, 1) }
    let second = UInt32(self[position + 1] & 0x3F)
    if first < 0xE0 { return ((first & 0x1F) << 6 | second, 2) }
    let third = UInt32(self[position + 2] & 0x3F)
    if first < 0xF0 { return ((first & 0x0F) << 12 | second << 6 | third, 3) }
    return ((first & 0x07) << 18 | second << 12 | third << 6 | UInt32(self[position + 3] & 0x3F), 4)
  }

  /// Where the scalar before `position` starts.
  @inline(__always) func scalarStart(before position: Int) -> Int {
    var start = position - 1
    while self[start] & 0xC0 == 0x80 { start -= 1 }
    return start
  }

  /// Whether these bytes are UTF-8; looked at piece by piece, because the library can only tell by copying.
  var isUTF8: Bool {
    var start = 0
    while start < count {
      var end = Swift.min(start + 65_536, count)
      // Not within a scalar: at most three bytes follow its first.
      if end < count {
        for _ in 0..<3 where self[end] & 0xC0 == 0x80 { end -= 1 }
      }
      guard String(validating: part(start..<end), as: UTF8.self) != nil else { return false }
      start = end
    }
    return true
  }

  /// A part as a view of its own.
  @inline(__always) func part(_ range: Range<Int>) -> Bytes { Bytes(rebasing: self[range]) }
}

/// Properties of scalars, the same on every toolchain.
///
/// Memory: about 100 KB, made on first use and kept.
struct UnicodeTable: Sendable {
  /// General categories in the order of `UnicodeRuns.categories`.
  // The names are those of the standard.
  // swift-format-ignore: AlwaysUseLowerCamelCase
  enum Category: UInt8, CaseIterable {
    case Lu, Ll, Lt, Lm, Lo, Mn, Mc, Me, Nd, Nl, No, Pc, Pd, Ps, Pe, Pi, Pf, Po, Sm, Sc, Sk, So, Zs, Zl, Zp, Cc, Cf
    case Co, Cs, Cn
  }

  static let shared = UnicodeTable()

  // Pages of 256 scalars; equal pages are stored once. Both live as long as the program.
  nonisolated(unsafe) private let pages: UnsafePointer<UInt8>
  nonisolated(unsafe) private let pageOf: UnsafePointer<UInt16>

  private init() {
    let scalarCount = 0x110000
    var entries: [UInt8] = []
    entries.reserveCapacity(scalarCount)
    Self.forEachRun(UnicodeRuns.categories) { category, count in
      let isSeparator = category >= Category.Zs.rawValue && category <= Category.Zp.rawValue
      entries += repeatElement(isSeparator ? category | UnicodeEntry.space : category, count: count)
    }
    // White space that is not a separator by category: tab to carriage return, and next line.
    for scalar in [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85] { entries[scalar] |= UnicodeEntry.space }
    var position = 0
    Self.forEachRun(UnicodeRuns.normalization) { value, count in
      if value > 0 { for scalar in position..<position + count { entries[scalar] |= value << 6 } }
      position += count
    }
    precondition(entries.count == scalarCount && position == scalarCount, "the runs cover every scalar")
    let pageOf = UnsafeMutablePointer<UInt16>.allocate(capacity: scalarCount >> 8)
    var pages: [UInt8] = []
    var known: [ArraySlice<UInt8>: UInt16] = [:]
    for page in 0..<scalarCount >> 8 {
      let content = entries[page << 8..<(page + 1) << 8]
      let index = known[content] ?? UInt16(known.count)
      if known.updateValue(index, forKey: content) == nil { pages += content }
      pageOf[page] = index
    }
    let stored = UnsafeMutablePointer<UInt8>.allocate(capacity: pages.count)
    stored.initialize(from: pages, count: pages.count)
    self.pages = UnsafePointer(stored)
    self.pageOf = UnsafePointer(pageOf)
  }

  private static func forEachRun(_ runs: StaticString, _ body: (UInt8, Int) -> Void) {
    runs.withUTF8Buffer { text in
      var position = 0
      while position < text.count {
        let letter = text[position]
        position += 1
        var count = 0
        while position < text.count, text[position] < 0x3A {
          count = count * 10 + Int(text[position] - 0x30)
          position += 1
        }
        body(letter < 0x61 ? letter - 0x41 : letter - 0x61 + 26, max(count, 1))
      }
    }
  }

  @inline(__always) func entry(_ scalar: UInt32) -> UnicodeEntry {
    UnicodeEntry(bits: pages[Int(pageOf[Int(scalar >> 8)]) << 8 | Int(scalar & 0xFF)])
  }
}

/// What is known of a scalar: the category in the low five bits, white space as bit 5, normalisation above.
struct UnicodeEntry {
  /// What normalising may do.
  enum Normalization {
    /// Nothing touches the scalar, nor joins what stands around it to it.
    static let none: UInt8 = 0
    /// It may be part of something composed, or has a decomposition.
    static let active: UInt8 = 1
    /// Composing may change it or join it to what stands before.
    static let unsettled: UInt8 = 2
  }

  static let space: UInt8 = 0x20

  let bits: UInt8

  @inline(__always) var normalization: UInt8 { bits >> 6 }
  @inline(__always) var category: UInt8 { bits & 0x1F }
  /// `\p{L}`
  @inline(__always) var isLetter: Bool { category <= 4 }
  /// `\p{M}`
  @inline(__always) var isMark: Bool { category >= 5 && category <= 7 }
  /// `\p{N}`
  @inline(__always) var isNumber: Bool { category >= 8 && category <= 10 }
  /// `\p{P}`
  @inline(__always) var isPunctuation: Bool { category >= 11 && category <= 17 }
  /// `\s`
  @inline(__always) var isSpace: Bool { bits & Self.space != 0 }
  /// Whether the scalar may be a capital: one by category, or a number, a symbol in a circle or a letter of unknown kind.
  @inline(__always) var mayHaveLowercase: Bool {
    switch category {
    case 0, 2, 9, 21, 29: true
    default: false
    }
  }
  /// Neither white space nor letter nor number.
  @inline(__always) var isOther: Bool { category >= 5 && !isNumber && !isSpace }
}

extension UnicodeTable {
  /// Letters in circles and squares, symbols by category: they count as alphabetic.
  private static let alphabeticSymbols: [ClosedRange<UInt32>] = [
    0x24B6...0x24E9, 0x1F130...0x1F149, 0x1F150...0x1F169, 0x1F170...0x1F189,
  ]

  /// `\w` as Unicode recommends: alphabetic, marks, decimal numbers, connectors, joiners.
  func isWord(_ scalar: UInt32) -> Bool {
    let category = entry(scalar).category
    return category <= 9 || category == Category.Pc.rawValue || scalar == 0x200C || scalar == 0x200D
      || Self.alphabeticSymbols.contains { $0.contains(scalar) }
  }

  /// `\w` within patterns, where joiners are not words, but the small numbers of Latin-1 are.
  func isPatternWord(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0x200C, 0x200D: false
    case 0xB2, 0xB3, 0xB9, 0xBC...0xBE: true
    default: isWord(scalar)
    }
  }
}
