import Formats

/// An adapter's folder with its weight in a sum, as `DIR:0.5`.
public struct WeightedAdapter: Sendable {
  public let directory: String
  public let weight: Double

  public init(directory: String, weight: Double = 1) { (self.directory, self.weight) = (directory, weight) }

  /// - Parameter word: what follows the last colon is a weight if it is a number, unless a folder has the whole name
  public init(_ word: String) {
    let isThere = (try? PathKind(word)) != nil
    if !isThere, let colon = word.lastIndex(of: ":"), let weight = Double(word[word.index(after: colon)...]),
      weight.isFinite
    {
      (directory, self.weight) = (String(word[..<colon]), weight)
    } else {
      (directory, weight) = (word, 1)
    }
  }
}
