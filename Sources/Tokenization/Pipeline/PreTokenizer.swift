/// A step of cutting text into the words that the model encodes one by one.
enum PreTokenizer: Sendable {
  enum Behavior: String, Sendable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"
  }

  enum PrependScheme: String, Sendable { case always, never, first }

  /// Cuts at the ends of words of a known pattern.
  case words(WordScanner)
  case split(RegexPattern, Behavior, invert: Bool)
  case digits(individual: Bool)
  case punctuation(Behavior)
  /// Words without white space, and each sign of punctuation by itself (BERT).
  case bertWords
  case whitespaceSplit
  /// Cuts out runs of word characters and runs of other characters, without white space.
  case whitespace
  case metaspace(replacement: [UInt8], PrependScheme, split: Bool)
  /// Puts a space before text that has none.
  case prefixSpace
  /// Writes each byte as a character of `ByteAlphabet`.
  case byteCharacters

  var writesByteCharacters: Bool { if case .byteCharacters = self { true } else { false } }
}

/// Cuts text at matches of something, as the behaviors of `tokenizers` have it.
struct MatchSplitter {
  /// The parts of `text`; empty parts are none.
  /// - Parameter next: the first match at or after a position
  static func parts(
    of text: Bytes, _ behavior: PreTokenizer.Behavior, invert: Bool, next: (Int) -> Range<Int>?
  ) -> [Range<Int>] {
    var pieces: [(range: Range<Int>, isMatch: Bool)] = []
    var position = 0
    while position < text.count, let match = next(position) {
      if match.lowerBound > position { pieces.append((position..<match.lowerBound, invert)) }
      pieces.append((match, !invert))
      position = match.upperBound
    }
    if position < text.count { pieces.append((position..<text.count, invert)) }
    switch behavior {
    case .isolated: return pieces.map(\.range)
    case .removed: return pieces.compactMap { $0.isMatch ? nil : $0.range }
    case .contiguous: return joined(pieces) { previous, isMatch in isMatch == previous }
    case .mergedWithPrevious: return joined(pieces) { previous, isMatch in isMatch && !previous }
    case .mergedWithNext:
      var result: [Range<Int>] = []
      var previous = false
      for piece in pieces.reversed() {
        if piece.isMatch, !previous, let last = result.popLast() {
          result.append(piece.range.lowerBound..<last.upperBound)
        } else {
          result.append(piece.range)
        }
        previous = piece.isMatch
      }
      return result.reversed()
    }
  }

  private static func joined(
    _ pieces: [(range: Range<Int>, isMatch: Bool)], when joins: (Bool, Bool) -> Bool
  ) -> [Range<Int>] {
    var result: [Range<Int>] = []
    var previous = false
    for piece in pieces {
      if joins(previous, piece.isMatch), let last = result.popLast() {
        result.append(last.lowerBound..<piece.range.upperBound)
      } else {
        result.append(piece.range)
      }
      previous = piece.isMatch
    }
    return result
  }
}
