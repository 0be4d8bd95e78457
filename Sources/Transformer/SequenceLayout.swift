import Kernels

/// How the tokens of a micro-batch lie: rows of equal length, each holding one or more samples end to end.
public struct SequenceLayout: Sendable {
  /// Tokens per row.
  public let rowLength: Int
  /// Position of each token within its sample, `[tokens]`.
  public let positions: [Int32]
  /// Tokens of each token's sample, `[tokens]`.
  public let sampleLengths: [Int32]
  /// First token of each sample, ascending, then the number of tokens: attention never crosses one of these.
  public let segments: [Int]

  public var tokenCount: Int { positions.count }

  /// - Parameters:
  ///   - rowLength: tokens per row; divides the number of tokens
  ///   - segments: boundaries as described at the property; positions restart at each
  public init(rowLength: Int, segments: [Int]) {
    precondition(segments.count >= 2 && segments[0] == 0, "segments start at 0 and end with the token count")
    self.rowLength = rowLength
    self.segments = segments
    var positions: [Int32] = []
    var lengths: [Int32] = []
    positions.reserveCapacity(segments[segments.count - 1])
    lengths.reserveCapacity(segments[segments.count - 1])
    for (start, end) in zip(segments, segments.dropFirst()) {
      precondition(start < end, "segments ascend")
      positions.append(contentsOf: 0..<Int32(end - start))
      lengths.append(contentsOf: repeatElement(Int32(end - start), count: end - start))
    }
    self.positions = positions
    sampleLengths = lengths
  }

  /// The same behind so many positions that a method puts in front of every sample.
  func behind(_ count: Int) -> SequenceLayout {
    count == 0
      ? self
      : SequenceLayout(
        rowLength: rowLength, positions: positions.map { $0 + Int32(count) },
        sampleLengths: sampleLengths.map { $0 + Int32(count) }, segments: segments)
  }

  private init(rowLength: Int, positions: [Int32], sampleLengths: [Int32], segments: [Int]) {
    self.rowLength = rowLength
    self.positions = positions
    self.sampleLengths = sampleLengths
    self.segments = segments
  }

  /// The tokens in parts of about `count` at most: whole rows, or parts of a row that do not divide a group of rows that
  /// `QuantizedRows` treats alike. So what is computed does not depend on the parts.
  func parts(ofTokens count: Int) -> [Range<Int>] {
    if count >= tokenCount { return [0..<tokenCount] }
    if count >= rowLength {
      let step = count / rowLength * rowLength
      return stride(from: 0, to: tokenCount, by: step).map { $0..<min($0 + step, tokenCount) }
    }
    let step = max(1, count / QuantizedRows.groupRows) * QuantizedRows.groupRows
    return stride(from: 0, to: tokenCount, by: rowLength).flatMap { row in
      stride(from: row, to: row + rowLength, by: step).map { $0..<min($0 + step, row + rowLength) }
    }
  }

  /// A token each of several texts of at most `length` tokens, by its position.
  init(continuingAt positions: [Int], of length: Int) {
    sampleLengths = [Int32](repeating: Int32(length), count: positions.count)
    rowLength = 1
    self.positions = positions.map { Int32($0) }
    segments = Array(0...positions.count)
  }

  /// One run of `count` tokens from position `start`: generation of a text of at most `length` tokens.
  init(continuingAt start: Int, count: Int, of length: Int) {
    sampleLengths = [Int32](repeating: Int32(length), count: count)
    rowLength = count
    positions = (0..<count).map { Int32(start + $0) }
    segments = [0, count]
  }
}
