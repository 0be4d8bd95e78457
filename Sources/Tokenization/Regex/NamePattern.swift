/// A regular expression that has to match a name from beginning to end, as Python's `re.fullmatch` does.
public struct NamePattern {
  private let pattern: RegexPattern

  /// - Throws: what is wrong with the expression
  public init(_ pattern: String) throws { self.pattern = try RegexPattern("\\A(?:\(pattern))\\z") }

  /// Whether the whole of `name` matches.
  public func matchesWhole(_ name: String) -> Bool {
    let matcher = RegexMatcher(pattern)
    matcher.begin()
    let text = Array(name.utf8)
    return text.withUnsafeBufferPointer { matcher.firstMatch($0, from: 0) == 0..<text.count }
  }
}
