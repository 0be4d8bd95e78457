import Formats

/// One step that cuts text into words.
enum PreTokenizer: Sendable {
  enum Behavior: String {
    case isolated = "Isolated"
    case removed = "Removed"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"
  }

  /// Matches become words of their own, what lies between them too.
  case split(ScalarPattern, Behavior, invert: Bool)
  /// Every digit, or every run of digits, is a word.
  case digits(individual: Bool)
  /// Spaces become `▁`, and words start with it.
  case metaspace(prepend: Bool, onlyFirst: Bool, split: Bool)
  /// A space before the first word, unless there is one.
  case prefixSpace

  static let gpt2 =
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

  /// Cuts `words` further.
  func apply(_ words: [[UInt32]], isFirst: Bool) -> [[UInt32]] {
    var result: [[UInt32]] = []
    result.reserveCapacity(words.count)
    for (index, word) in words.enumerated() {
      switch self {
      case .split(let pattern, let behavior, let invert):
        word.withUnsafeBufferPointer { Self.split($0, pattern, behavior, invert: invert, into: &result) }
      case .digits(let individual):
        var start = 0
        var position = 0
        func isDigit(_ scalar: UInt32) -> Bool { ScalarCategory.of(scalar) & ScalarCategory.number != 0 }
        while position < word.count {
          if isDigit(word[position]) {
            if position > start { result.append(Array(word[start..<position])) }
            start = position
            position += 1
            if !individual { while position < word.count, isDigit(word[position]) { position += 1 } }
            result.append(Array(word[start..<position]))
            start = position
          } else {
            position += 1
          }
        }
        if position > start { result.append(Array(word[start..<position])) }
      case .metaspace(let prepend, let onlyFirst, let split):
        var replaced = word.map { $0 == 0x20 ? 0x2581 : $0 }
        if prepend, !onlyFirst || (isFirst && index == 0), replaced.first != 0x2581 { replaced.insert(0x2581, at: 0) }
        if split {
          var start = 0
          for position in 1..<max(replaced.count, 1) where replaced[position] == 0x2581 {
            result.append(Array(replaced[start..<position]))
            start = position
          }
          if start < replaced.count { result.append(Array(replaced[start...])) }
        } else {
          result.append(replaced)
        }
      case .prefixSpace:
        result.append(
          index == 0 && word.first.map { ScalarCategory.of($0) & ScalarCategory.space == 0 } ?? false
            ? [0x20] + word : word)
      }
    }
    return result
  }

  private static func split(
    _ text: UnsafeBufferPointer<UInt32>, _ pattern: ScalarPattern, _ behavior: Behavior, invert: Bool,
    into result: inout [[UInt32]]
  ) {
    var pieces: [(range: Range<Int>, isMatch: Bool)] = []
    var start = 0
    var position = 0
    while position < text.count {
      guard let end = pattern.match(text, at: position), end > position else {
        position += 1
        continue
      }
      if position > start { pieces.append((start..<position, invert)) }
      pieces.append((position..<end, !invert))
      position = end
      start = end
    }
    if start < text.count { pieces.append((start..<text.count, invert)) }
    var ranges: [Range<Int>] = []
    var previousIsMatch = false
    for (index, piece) in pieces.enumerated() {
      switch behavior {
      case .isolated: ranges.append(piece.range)
      case .removed: if !piece.isMatch { ranges.append(piece.range) }
      case .contiguous:
        if index > 0, piece.isMatch == previousIsMatch, let last = ranges.popLast() {
          ranges.append(last.lowerBound..<piece.range.upperBound)
        } else {
          ranges.append(piece.range)
        }
      case .mergedWithPrevious:
        if piece.isMatch, !previousIsMatch, let last = ranges.popLast() {
          ranges.append(last.lowerBound..<piece.range.upperBound)
        } else {
          ranges.append(piece.range)
        }
      case .mergedWithNext:
        if !piece.isMatch, previousIsMatch, let last = ranges.popLast() {
          ranges.append(last.lowerBound..<piece.range.upperBound)
        } else {
          ranges.append(piece.range)
        }
      }
      previousIsMatch = piece.isMatch
    }
    for range in ranges { result.append(Array(text[range])) }
  }
}

/// What happens to text before it is cut.
enum Normalizer: Sendable {
  case prepend([UInt32])
  case replace(ScalarPattern, with: [UInt32])
  case composed
  case decomposed
  case compatibilityComposed
  case lowercase
  case strip(left: Bool, right: Bool)
}
