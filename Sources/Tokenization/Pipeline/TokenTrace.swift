/// Where a token comes from.
struct TokenTrace: Sendable {
  /// The bytes of the given text.
  var origin: Origin
  /// The part between pre-tokenizers' cuts, or the given word.
  var word: Int32
  /// White space at the token's ends, in characters.
  var leadingSpaces: Int32 = 0
  var trailingSpaces: Int32 = 0
}

extension TokenTrace {
  /// Counts the white space at the ends of a token's text; a byte-level space counts.
  mutating func countSpaces(in text: Bytes, _ table: UnicodeTable) {
    func isSpace(_ scalar: UInt32) -> Bool { scalar == ByteAlphabet.scalars[0x20] || table.entry(scalar).isSpace }
    var start = 0
    while start < text.count {
      let (scalar, length) = text.scalar(at: start)
      guard isSpace(scalar) else { break }
      leadingSpaces += 1
      start += length
    }
    var end = text.count
    while end > 0 {
      let last = text.scalarStart(before: end)
      guard isSpace(text.scalar(at: last).value) else { break }
      trailingSpaces += 1
      end = last
    }
  }
}

/// The tokens of a text and where each comes from.
struct TracedTokens {
  var ids: [Int32] = []
  var traces: [TokenTrace] = []
}
