/// Where the keys of an attention stand in tiles of scores, and what follows from it for memory and for shares of work. A
/// tile has a few query rows; its columns are those of the prefix, filled up to whole vectors, and then the sample's keys
/// that any of the rows sees.
struct AttentionLayout: Sendable {
  let shape: AttentionShape
  let visibility: Visibility
  /// Virtual keys in front of every sample.
  let prefixCount: Int

  /// Query rows of a tile: whole tiles of the float products, which take 6 or 8 rows.
  static let tileRows = 24

  /// As many columns as fill the longest vectors; what stands in the last ones means nothing.
  static func wholeVectors(_ columns: Int) -> Int { (columns + 15) / 16 * 16 }

  /// Distance between rows of scores and of transposed keys: whole cache lines, and one more, so that the rows of a
  /// column do not fall into the same few places of the first-level cache.
  static func distance(_ length: Int) -> Int { wholeVectors(length) + 16 }

  /// Columns of a tile before those of the sample's keys.
  var prefixColumns: Int { Self.wholeVectors(prefixCount) }

  /// Keys of the sample that stand in the tile of `rows`. The first is a multiple of the longest vectors, which may be some
  /// before the first that is seen.
  func keys(of rows: Range<Int>, length: Int) -> Range<Int> {
    if rows.isEmpty { return 0..<0 }
    let first = visibility.keys(of: rows.lowerBound, length: length).lowerBound
    return first / 16 * 16..<visibility.keys(of: rows.upperBound - 1, length: length).upperBound
  }

  /// The most keys of a sample that stand in a tile.
  private func mostKeys(_ length: Int) -> Int {
    guard let window = visibility.window, window < length else { return length }
    return min(length, (visibility.looksAhead ? 2 * window : window) + Self.tileRows + 14)
  }

  /// The most columns of a tile.
  func mostColumns(_ length: Int) -> Int { prefixColumns + mostKeys(length) }

  /// Columns of a tile's kept weights. A later tile never has fewer, so that a shorter sample has no more per token.
  func keptColumns(of rows: Range<Int>, length: Int) -> Int {
    let end = visibility.keys(of: rows.upperBound - 1, length: length).upperBound
    return prefixColumns + min(Self.wholeVectors(end), Self.wholeVectors(mostKeys(length)))
  }

  /// Kept weights of the rows before `end`, the end of a tile, in a sample of `length` tokens.
  func weightCount(rowsBefore end: Int, of length: Int) -> Int {
    stride(from: 0, to: end, by: Self.tileRows).reduce(0) { count, first in
      let rows = first..<min(first + Self.tileRows, length)
      return count + rows.count * keptColumns(of: rows, length: length)
    }
  }

  /// Query rows of a sample that are a task's work where a head is shared between two: the second part begins where both
  /// have as many products to do. The gradients of keys and values are always sums of two parts' sums. The first part sees
  /// no keys but those of its own rows, whose places it needs: where tokens look ahead it has no rows.
  func rows(of length: Int, part: Int?) -> Range<Int> {
    switch part {
    case nil: 0..<length
    case 0: 0..<middle(length)
    default: middle(length)..<length
    }
  }

  private func middle(_ length: Int) -> Int {
    if length < 4 * Self.tileRows || visibility.looksAhead { return 0 }
    var middle = Double(length) * 0.5.squareRoot()
    if let window = visibility.window.map(Double.init), window < Double(length) {
      // Products grow up to the window and then stay; half of all of them are in the square root's part or beyond it.
      let half = (window * window / 2 + (Double(length) - window) * window) / 2
      middle = half < window * window / 2 ? (2 * half).squareRoot() : half / window + window / 2
    }
    return Int((middle / Double(Self.tileRows)).rounded()) * Self.tileRows
  }

  /// Elements of what one head adds to a gradient that it has in common with others.
  func shareCount(_ length: Int) -> Int { shape.queriesPerKey > 1 ? length * shape.headSize : 0 }
}
