/// The patterns by which most models cut text into words, written out by hand: some ten times as fast as matching them.
///
/// Every scalar belongs to some word, so a text is cut by asking again and again for the end of the next one.
enum WordScanner: Sendable, Equatable {
  /// GPT-2's pattern.
  case gpt2
  /// The pattern that came with GPT-4; words of numbers have at most so many of them.
  case gpt4(longestNumber: Int)

  static let gpt2Pattern =
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
  /// Llama 3's.
  static let llama3Pattern = gpt4Pattern(numbers: #"\p{N}{1,3}"#)
  /// Qwen2's.
  static let qwen2Pattern = gpt4Pattern(numbers: #"\p{N}"#)

  private static func gpt4Pattern(numbers: String) -> String {
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"# + numbers
      + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  }

  /// The scanner for a pattern, if it is one of those known.
  init?(pattern: String) {
    switch pattern {
    case Self.gpt2Pattern: self = .gpt2
    case Self.llama3Pattern: self = .gpt4(longestNumber: 3)
    case Self.qwen2Pattern: self = .gpt4(longestNumber: 1)
    case Self.gpt4Pattern(numbers: #"\p{N}+"#): self = .gpt4(longestNumber: .max)
    default: return nil
    }
  }

  /// Where the word that starts at `start` ends.
  @inline(__always) func end(_ text: Bytes, _ start: Int, _ table: UnicodeTable) -> Int {
    switch self {
    case .gpt2: Self.gpt2(text, start, table)
    case .gpt4(let longestNumber): Self.gpt4(text, start, table, longestNumber)
    }
  }

  private static func gpt2(_ text: Bytes, _ start: Int, _ table: UnicodeTable) -> Int {
    if text[start] == UInt8(ascii: "'"), let end = contraction(text, start, anyCase: false) { return end }
    var position = start
    if text[start] == UInt8(ascii: " ") { position += 1 }
    if position < text.count {
      let (scalar, length) = text.scalar(at: position)
      let entry = table.entry(scalar)
      let next = position + length
      if entry.isLetter { return skip(text, next) { table.entry($0).isLetter } }
      if entry.isNumber { return skip(text, next) { table.entry($0).isNumber } }
      if entry.isOther { return skip(text, next) { table.entry($0).isOther } }
    }
    return spaces(text, start, table)
  }

  private static func gpt4(_ text: Bytes, _ start: Int, _ table: UnicodeTable, _ longestNumber: Int) -> Int {
    if text[start] == UInt8(ascii: "'"), let end = contraction(text, start, anyCase: true) { return end }
    let (scalar, length) = text.scalar(at: start)
    let entry = table.entry(scalar)
    var next = start + length
    if entry.isLetter { return skip(text, next) { table.entry($0).isLetter } }
    if entry.isNumber {
      var count = 1
      while next < text.count, count < longestNumber {
        let (scalar, length) = text.scalar(at: next)
        guard table.entry(scalar).isNumber else { break }
        next += length
        count += 1
      }
      return next
    }
    if next < text.count, scalar != 0x0A, scalar != 0x0D {
      let (second, secondLength) = text.scalar(at: next)
      let secondEntry = table.entry(second)
      if secondEntry.isLetter { return skip(text, next + secondLength) { table.entry($0).isLetter } }
      if scalar == 0x20, secondEntry.isOther { return others(text, next + secondLength, table) }
    }
    if entry.isOther { return others(text, next, table) }
    // White space: up to the last line break if there is one.
    let end = skip(text, next) { table.entry($0).isSpace }
    var last = end
    while last > start, text[last - 1] != 0x0A, text[last - 1] != 0x0D { last -= 1 }
    return last > start ? last : spaces(text, start, table)
  }

  /// The rest of `[^\s\p{L}\p{N}]+[\r\n]*`.
  @inline(__always) private static func others(_ text: Bytes, _ position: Int, _ table: UnicodeTable) -> Int {
    var end = skip(text, position) { table.entry($0).isOther }
    while end < text.count, text[end] == 0x0A || text[end] == 0x0D { end += 1 }
    return end
  }

  /// `\s+(?!\S)|\s+`: the last space before a word belongs to the word.
  private static func spaces(_ text: Bytes, _ start: Int, _ table: UnicodeTable) -> Int {
    let end = skip(text, start) { table.entry($0).isSpace }
    if end == text.count { return end }
    let last = text.scalarStart(before: end)
    return last > start ? last : end
  }

  @inline(__always) private static func skip(_ text: Bytes, _ start: Int, while accepts: (UInt32) -> Bool) -> Int {
    var position = start
    while position < text.count {
      let (scalar, length) = text.scalar(at: position)
      if !accepts(scalar) { break }
      position += length
    }
    return position
  }

  /// `'s|'t|'re|'ve|'m|'ll|'d` after the apostrophe at `start`.
  private static func contraction(_ text: Bytes, _ start: Int, anyCase: Bool) -> Int? {
    guard start + 1 < text.count else { return nil }
    let fold: UInt8 = anyCase ? 0x20 : 0
    let second = start + 2 < text.count ? text[start + 2] : 0
    switch text[start + 1] | fold {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 2
    case UInt8(ascii: "r"), UInt8(ascii: "v"): return second | fold == UInt8(ascii: "e") ? start + 3 : nil
    case UInt8(ascii: "l"): return second | fold == UInt8(ascii: "l") ? start + 3 : nil
    // The long s is an s by case folding.
    case 0xC5 | fold: return anyCase && text[start + 1] == 0xC5 && second == 0xBF ? start + 3 : nil
    default: return nil
    }
  }
}
