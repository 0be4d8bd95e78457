/// Which keys of its own sample a token sees. A prefix stands in front of the sample: windows move past it as past other keys.
public struct Visibility: Sendable, Equatable {
  /// Keys on either side, with the token's own; `nil` has no limit.
  public let window: Int?
  /// Whether keys of later tokens are seen.
  public let looksAhead: Bool

  private init(window: Int?, looksAhead: Bool) {
    precondition(window ?? 1 > 0, "a token sees itself")
    self.window = window
    self.looksAhead = looksAhead
  }

  /// All keys up to the token's own.
  public static let causal = Visibility(window: nil, looksAhead: false)
  /// All keys of the sample.
  public static let full = Visibility(window: nil, looksAhead: true)
  /// The last `count` keys with the token's own: token `i` sees `j` with `j <= i` and `i - j < count`.
  public static func window(_ count: Int) -> Visibility { Visibility(window: count, looksAhead: false) }
  /// Token `i` sees `j` with `|i - j| < count`.
  public static func fullWindow(_ count: Int) -> Visibility { Visibility(window: count, looksAhead: true) }

  /// Keys of a prefix, from its first, that the token `row` of a sample does not see.
  func hiddenPrefix(of row: Int, count: Int) -> Int {
    guard let window else { return 0 }
    return min(count, max(0, row + count - window + 1))
  }

  /// Keys that a token sees in a sample of `length` tokens.
  func keys(of row: Int, length: Int) -> Range<Int> {
    guard let window, window < length else { return 0..<(looksAhead ? length : row + 1) }
    return max(0, row - window + 1)..<(looksAhead ? min(length, row + window) : row + 1)
  }
}
