/// A regular expression for names, as Python's `re` understands it.
///
/// It serves the patterns of PEFT's `target_modules` and their like. Understood are sets, `\d \w \s`, groups, alternation,
/// repetition (greedy, lazy, possessive), look ahead and behind, anchors, `(?i)` at the start; named groups and references
/// to groups are refused.
public struct TextPattern: Sendable {
  private let pattern: RegexPattern

  /// - Throws: `TextPatternError`, for a pattern that is wrong or not understood
  public init(_ source: String) throws {
    do {
      pattern = try RegexPattern(source, dialect: .python)
    } catch let error as RegexError {
      throw TextPatternError(pattern: source, position: error.position, reason: error.reason)
    }
  }

  /// Whether the pattern describes the whole text, as `re.fullmatch` does.
  /// - Throws: `TextPatternError` when no end is in sight: such a pattern takes time that doubles with every character
  public func matchesWhole(_ text: String) throws -> Bool {
    var text = text
    let matcher = RegexMatcher(pattern)
    let result = text.withUTF8 { matcher.matchesWhole($0) }
    guard let result else {
      throw TextPatternError(
        pattern: pattern.source, position: 0,
        reason: "matching \(text.prefix(100)) takes too long; repetitions within repetitions do that")
    }
    return result
  }
}

/// Why a pattern cannot be used.
public struct TextPatternError: Error, CustomStringConvertible {
  public let pattern: String
  /// In characters from the start of the pattern.
  public let position: Int
  public let reason: String
  public var description: String { "pattern \(pattern.prefix(200)): \(reason) (at character \(position))" }
}
