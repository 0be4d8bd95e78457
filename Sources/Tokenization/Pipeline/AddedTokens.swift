/// Tokens that are found in text before the model sees it: `<|im_start|>` and its like.
struct AddedToken: Sendable {
  let id: Int32
  /// What to look for.
  let text: [UInt8]
  /// Takes white space to its left (right) along.
  let stripsLeft: Bool
  let stripsRight: Bool
  /// Does not count within a word.
  let isSingleWord: Bool
}

/// Finds added tokens: at each place the longest.
struct AddedTokenFinder: Sendable {
  enum Piece {
    case text(Range<Int>)
    /// With the white space that it takes along.
    case token(Int32, Range<Int>)
  }

  /// By first byte, longest first.
  private var candidates: [[AddedToken]]
  private(set) var isEmpty = true
  /// Bytes of the longest token.
  private(set) var longest = 0
  /// Tokens that are found whatever stands around them, and take nothing of it along.
  private(set) var plain: Set<Int32> = []

  init(_ tokens: [AddedToken]) {
    candidates = Array(repeating: [], count: 256)
    for token in tokens where !token.text.isEmpty {
      longest = max(longest, token.text.count)
      if !token.stripsLeft, !token.stripsRight, !token.isSingleWord { plain.insert(token.id) }
      candidates[Int(token.text[0])].append(token)
      isEmpty = false
    }
    for byte in candidates.indices {
      // Of equal texts the first is found, as their order is kept.
      let order = candidates[byte].enumerated().sorted {
        ($0.element.text.count, $1.offset) > ($1.element.text.count, $0.offset)
      }
      candidates[byte] = order.map(\.element)
    }
  }

  func pieces(_ text: Bytes, _ table: UnicodeTable, _ body: (Piece) -> Void) {
    if text.isEmpty { return }
    if isEmpty { return body(.text(0..<text.count)) }
    var done = 0
    var position = 0
    while position < text.count {
      guard let token = token(text, position) else {
        position += 1
        continue
      }
      var start = position
      var end = position + token.text.count
      position = end
      if token.isSingleWord, touchesWord(text, start..<end, table) { continue }
      if token.stripsLeft {
        while start > done {
          let before = text.scalarStart(before: start)
          guard table.entry(text.scalar(at: before).value).isSpace else { break }
          start = before
        }
        start = max(start, done)
      }
      if token.stripsRight {
        while end < text.count {
          let (scalar, length) = text.scalar(at: end)
          guard table.entry(scalar).isSpace else { break }
          end += length
        }
      }
      if done < start { body(.text(done..<start)) }
      body(.token(token.id, start..<end))
      done = end
    }
    if done < text.count { body(.text(done..<text.count)) }
  }

  @inline(__always) private func token(_ text: Bytes, _ position: Int) -> AddedToken? {
    let list = candidates[Int(text[position])]
    if list.isEmpty { return nil }
    return list.first { token in
      position + token.text.count <= text.count
        && token.text.indices.allSatisfy { token.text[$0] == text[position + $0] }
    }
  }

  private func touchesWord(_ text: Bytes, _ range: Range<Int>, _ table: UnicodeTable) -> Bool {
    func isWord(_ start: Int) -> Bool { table.isWord(text.scalar(at: start).value) }
    return range.lowerBound > 0 && isWord(text.scalarStart(before: range.lowerBound))
      || range.upperBound < text.count && isWord(range.upperBound)
  }
}
