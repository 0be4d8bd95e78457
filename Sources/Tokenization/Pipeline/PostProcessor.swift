/// What a tokenizer puts around one text or a pair of texts.
struct PostProcessor: Sendable {
  enum Piece: Sendable {
    /// The first or the second text.
    case text(isSecond: Bool, type: Int32)
    case token(Int32, type: Int32)
  }

  /// How the places of tokens lose the white space that byte-level tokens hold.
  struct Trimming: Sendable {
    /// Whether a space before the first word may be one that was put there.
    let addsPrefixSpace: Bool

    /// - Parameter offsets: counted in characters
    func apply(_ offsets: inout [Range<Int>], _ traces: [TokenTrace]) {
      for (index, trace) in traces.enumerated() {
        var (start, end) = (offsets[index].lowerBound, offsets[index].upperBound)
        if trace.leadingSpaces > 0 {
          // A single space before the first word may be the one that was put there; more are of the text.
          let isFirst = index == 0 || start == 0
          let isAdded = isFirst && addsPrefixSpace && trace.leadingSpaces == 1
          start = min(start + (isAdded ? 0 : Int(trace.leadingSpaces)), end)
        }
        let trailing = Int(trace.trailingSpaces)
        if trailing > 0, end >= trailing { end = max(end - trailing, start) }
        offsets[index] = start..<max(start, end)
      }
    }
  }

  var single: [Piece] = [.text(isSecond: false, type: 0)]
  var pair: [Piece] = [.text(isSecond: false, type: 0), .text(isSecond: true, type: 1)]
  /// The types of the two texts where special tokens are not wanted, if they are others then.
  var plainTypes: (first: Int32, second: Int32)?
  var trimmings: [Trimming] = []

  /// The tokens before and after a single text.
  var around: (before: [Int32], after: [Int32]) {
    var before: [Int32] = []
    var after: [Int32] = []
    var isAfter = false
    for piece in single {
      switch piece {
      case .text: isAfter = true
      case .token(let id, _): if isAfter { after.append(id) } else { before.append(id) }
      }
    }
    return (before, after)
  }
}
