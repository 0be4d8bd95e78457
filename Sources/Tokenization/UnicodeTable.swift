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

  /// A part as a view of its own.
  @inline(__always) func part(_ range: Range<Int>) -> Bytes { Bytes(rebasing: self[range]) }
}

/// General categories of scalars, the same on every toolchain.
///
/// Memory: about 80 KB, made on first use and kept.
struct UnicodeTable: Sendable {
  /// The order of the letters in `categoryRuns`.
  enum Category: UInt8, CaseIterable {
    case Lu, Ll, Lt, Lm, Lo, Mn, Mc, Me, Nd, Nl, No, Pc, Pd, Ps, Pe, Pi, Pf, Po, Sm, Sc, Sk, So, Zs, Zl, Zp, Cc, Cf
    case Co, Cs, Cn
  }

  static let shared = UnicodeTable()

  // Pages of 256 scalars; equal pages are stored once. Both live as long as the program.
  nonisolated(unsafe) private let pages: UnsafePointer<UInt8>
  nonisolated(unsafe) private let pageOf: UnsafePointer<UInt8>

  private init() {
    let scalarCount = 0x110000
    let pageOf = UnsafeMutablePointer<UInt8>.allocate(capacity: scalarCount >> 8)
    var pages: [UInt8] = []
    var known: [[UInt8]: UInt8] = [:]
    var page: [UInt8] = []
    page.reserveCapacity(256)
    var filled = 0
    func append(_ category: UInt8, _ count: Int) {
      for _ in 0..<count {
        page.append(category)
        guard page.count == 256 else { continue }
        let index = known[page] ?? UInt8(known.count)
        if known.updateValue(index, forKey: page) == nil { pages += page }
        pageOf[filled] = index
        filled += 1
        page.removeAll(keepingCapacity: true)
      }
    }
    Self.categoryRuns.withUTF8Buffer { text in
      var position = 0
      while position < text.count {
        let letter = text[position]
        position += 1
        var count = 0
        while position < text.count, text[position] < 0x3A {
          count = count * 10 + Int(text[position] - 0x30)
          position += 1
        }
        append(letter < 0x61 ? letter - 0x41 : letter - 0x61 + 26, max(count, 1))
      }
    }
    precondition(filled == scalarCount >> 8, "the runs cover every scalar")
    let stored = UnsafeMutablePointer<UInt8>.allocate(capacity: pages.count)
    for (index, category) in pages.enumerated() { stored[index] = category | (Self.isSpace(category) ? 0x20 : 0) }
    // White space that is not a separator by category: tab to carriage return, and next line.
    for scalar in [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85] { stored[scalar] |= 0x20 }
    self.pages = UnsafePointer(stored)
    self.pageOf = UnsafePointer(pageOf)
  }

  private static func isSpace(_ category: UInt8) -> Bool {
    category >= Category.Zs.rawValue && category <= Category.Zp.rawValue
  }

  /// The category in the low five bits, white space as bit 5.
  @inline(__always) func entry(_ scalar: UInt32) -> UnicodeEntry {
    UnicodeEntry(bits: pages[Int(pageOf[Int(scalar >> 8)]) << 8 | Int(scalar & 0xFF)])
  }
}

/// What is known of a scalar.
struct UnicodeEntry {
  let bits: UInt8

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
  @inline(__always) var isSpace: Bool { bits & 0x20 != 0 }
  /// Neither white space nor letter nor number.
  @inline(__always) var isOther: Bool { bits >= 5 && !isNumber && !isSpace }

  /// `\w`: letters, marks, decimal and letter numbers, connectors.
  var isWord: Bool { category <= 9 || category == UnicodeTable.Category.Pc.rawValue }
}
