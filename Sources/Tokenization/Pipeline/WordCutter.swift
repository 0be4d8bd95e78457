/// Cuts text where white space, numbers or signs stand.
enum WordCutter {
  /// Runs of anything but white space.
  static func words(_ text: Bytes, _ table: UnicodeTable, _ body: (Range<Int>) -> Void) {
    var start: Int?
    var position = 0
    while position < text.count {
      let (scalar, length) = text.scalar(at: position)
      if table.entry(scalar).isSpace {
        if let begun = start { body(begun..<position) }
        start = nil
      } else if start == nil {
        start = position
      }
      position += length
    }
    if let start { body(start..<text.count) }
  }

  /// Runs of anything but white space and punctuation, and each sign of punctuation.
  static func bertWords(_ text: Bytes, _ table: UnicodeTable, _ body: (Range<Int>) -> Void) {
    var start = 0
    var position = 0
    while position < text.count {
      let (scalar, length) = text.scalar(at: position)
      let next = position + length
      let isSpace = table.entry(scalar).isSpace
      if isSpace || BertCharacters.isPunctuation(scalar, table) {
        if start < position { body(start..<position) }
        if !isSpace { body(position..<next) }
        start = next
      }
      position = next
    }
    if start < text.count { body(start..<text.count) }
  }

  static func digits(_ text: Bytes, individual: Bool, _ table: UnicodeTable, _ body: (Range<Int>) -> Void) {
    var start = 0
    var position = 0
    var inNumber = false
    while position < text.count {
      let (scalar, length) = text.scalar(at: position)
      let isNumber = table.entry(scalar).isNumber
      if position > start, isNumber != inNumber || (isNumber && individual) {
        body(start..<position)
        start = position
      }
      inNumber = isNumber
      position += length
    }
    body(start..<text.count)
  }

  /// Runs of word characters and runs of other characters, without white space.
  static func wordsAndSigns(_ text: Bytes, _ table: UnicodeTable, _ body: (Range<Int>) -> Void) {
    /// 0 for white space, 1 for word characters, 2 for the others.
    func kind(_ scalar: UInt32) -> Int {
      table.entry(scalar).isSpace ? 0 : table.isWord(scalar) ? 1 : 2
    }
    var start = 0
    var position = 0
    var current = 0
    while position < text.count {
      let (scalar, length) = text.scalar(at: position)
      let found = kind(scalar)
      if found != current {
        if current != 0 { body(start..<position) }
        start = position
        current = found
      }
      position += length
    }
    if current != 0 { body(start..<text.count) }
  }

  static func firstScalar(_ text: Bytes, from start: Int, where accepts: (UInt32) -> Bool) -> Range<Int>? {
    var position = start
    while position < text.count {
      let (scalar, length) = text.scalar(at: position)
      if accepts(scalar) { return position..<position + length }
      position += length
    }
    return nil
  }
}
