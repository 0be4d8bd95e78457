/// The table by which a SentencePiece model changes characters: a trie of what to look for, and texts to put in its place.
///
/// Format: `precompiled_charsmap` of SentencePiece's `NormalizerSpec`: a 32-bit length, a double-array trie of so many bytes
/// (darts-clone), and texts that end with a zero byte. Source: google/sentencepiece, `src/normalizer.cc`; how a text is cut
/// up before looking is that of the `tokenizers` library.
struct CharsMap: Sendable {
  private let units: [UInt32]
  private let texts: [UInt8]
  /// What each character of ASCII becomes, where it changes.
  private var ascii: [ArraySlice<UInt8>?] = []
  /// Longer clusters of characters are not looked for as a whole.
  private static let longestCluster = 5

  /// - Throws: a reason, if the table is damaged
  init(_ bytes: [UInt8]) throws(CharsMapError) {
    func word(_ place: Int) -> UInt32 {
      (0..<4).reduce(0) { $0 | UInt32(bytes[place + $1]) << (8 * UInt32($1)) }
    }
    guard bytes.count >= 4 else { throw CharsMapError(reason: "it is too short") }
    let size = Int(word(0))
    guard size % 4 == 0, size > 0, size <= bytes.count - 4 else { throw CharsMapError(reason: "its trie does not fit") }
    units = (0..<size / 4).map { word(4 + 4 * $0) }
    texts = Array(bytes[(4 + size)...])
    guard String(validating: texts, as: UTF8.self) != nil else {
      throw CharsMapError(reason: "its texts are not UTF-8")
    }
    for byte in UInt8.min..<0x80 { ascii.append(withUnsafeBytes(of: byte) { find($0.bindMemory(to: UInt8.self)) }) }
  }

  /// The text for the shortest entry that `part` starts with.
  private func find(_ part: Bytes) -> ArraySlice<UInt8>? {
    var node = offset(units[0])
    for byte in part {
      guard byte > 0 else { return nil }
      node ^= Int(byte)
      guard node < units.count, units[node] & 0x8000_00FF == UInt32(byte) else { return nil }
      let unit = units[node]
      node ^= offset(unit)
      if unit >> 8 & 1 == 1 {
        guard node < units.count else { return nil }
        let start = Int(units[node] & 0x7FFF_FFFF)
        guard start < texts.count else { return nil }
        return texts[start..<(texts[start...].firstIndex(of: 0) ?? texts.count)]
      }
    }
    return nil
  }

  private func offset(_ unit: UInt32) -> Int { Int((unit >> 10) << ((unit & 1 << 9) >> 6)) }

  func apply(_ text: inout TracedText) {
    if text.bytes.allSatisfy({ $0 < 0x80 && ascii[Int($0)] == nil }) { return }
    let isTraced = text.isTraced
    text.edit { source, edit in
      // Places go by the whole row of changes: what vanishes counts to the scalar before it, and to none at the start.
      var pieces: [UnicodeNormalizer.Piece] = []
      forEachPart(source) { range, other in
        if !isTraced {
          if let other { edit.put(other, at: range.lowerBound) } else { edit.keep(range) }
        } else if let other {
          Self.append(other, for: source.part(range).count { $0 & 0xC0 != 0x80 }, to: &pieces)
        } else {
          pieces.append(UnicodeNormalizer.Piece(scalar: source.scalar(at: range.lowerBound).value, change: 0))
        }
      }
      if isTraced { edit.put(pieces, from: 0) }
    }
  }

  /// Goes through clusters and scalars with what stands in their place, if they change.
  private func forEachPart(_ source: Bytes, _ body: (Range<Int>, ArraySlice<UInt8>?) -> Void) {
    var position = 0
    while position < source.count {
      var end = position + 1
      // Between two characters of ASCII there is always a border, but for a line break of two.
      while end < source.count, source[end - 1] >= 0x80 || source[end] >= 0x80 || source[end] == 0x0A { end += 1 }
      if end == position + 1 {
        body(position..<end, ascii[Int(source[position])])
      } else {
        forEachCluster(source, position..<end, body)
      }
      position = end
    }
  }

  private func forEachCluster(
    _ source: Bytes, _ range: Range<Int>, _ body: (Range<Int>, ArraySlice<UInt8>?) -> Void
  ) {
    var position = range.lowerBound
    for cluster in String(decoding: source.part(range), as: UTF8.self) {
      let end = position + cluster.utf8.count
      if end - position <= Self.longestCluster, let other = find(source.part(position..<end)) {
        body(position..<end, other)
        position = end
        continue
      }
      while position < end {
        let next = position + source.scalar(at: position).length
        body(position..<next, find(source.part(position..<next)))
        position = next
      }
    }
  }

  /// Appends the scalars of `text` in place of `count` others.
  private static func append(_ text: ArraySlice<UInt8>, for count: Int, to pieces: inout [UnicodeNormalizer.Piece]) {
    let first = pieces.count
    for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
      pieces.append(UnicodeNormalizer.Piece(scalar: scalar.value, change: 0))
    }
    let added = pieces.count - first - count
    if added > 0 {
      for index in pieces.indices.suffix(added) { pieces[index].change = 1 }
    } else if let last = pieces.indices.last {
      pieces[last].change += added
    }
  }
}

/// Why a table of characters cannot be used.
struct CharsMapError: Error {
  let reason: String
}
