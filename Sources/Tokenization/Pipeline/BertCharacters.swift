/// What BERT's normalizer and pre-tokenizer do to characters.
///
/// Source: `BasicTokenizer` in google-research/bert, with the tables of the `tokenizers` library.
enum BertCharacters {
  private static let punctuation = ScalarRanges(UnicodeExceptions.punctuation)
  private static let controls = ScalarRanges(UnicodeExceptions.controls)
  private static let accents = ScalarRanges(UnicodeExceptions.accents)
  private static let marks = ScalarRanges(UnicodeExceptions.marks)

  @inline(__always) static func isPunctuation(_ scalar: UInt32, _ table: UnicodeTable) -> Bool {
    if scalar < 0x80 {
      return scalar > 0x20 && !(0x30...0x39).contains(scalar) && !(0x41...0x5A).contains(scalar)
        && !(0x61...0x7A).contains(scalar) && scalar != 0x7F
    }
    return table.entry(scalar).isPunctuation != punctuation.contains(scalar)
  }

  static func clean(_ text: inout TracedText, _ table: UnicodeTable) {
    text.edit { source, edit in
      var position = 0
      var kept = 0
      while position < source.count {
        let byte = source[position]
        if byte >= 0x20, byte < 0x7F {
          position += 1
          continue
        }
        let (scalar, length) = source.scalar(at: position)
        let isSpace = table.entry(scalar).isSpace
        if isSpace || isControl(scalar, table) {
          edit.keep(kept..<position)
          if isSpace, !isControl(scalar, table) { edit.put(0x20, at: position) }
          kept = position + length
        }
        position += length
      }
      edit.keep(kept..<source.count)
    }
  }

  private static func isControl(_ scalar: UInt32, _ table: UnicodeTable) -> Bool {
    if scalar == 0x09 || scalar == 0x0A || scalar == 0x0D { return false }
    let category = table.entry(scalar).category
    let isOther =
      category == UnicodeTable.Category.Cc.rawValue || category == UnicodeTable.Category.Cf.rawValue
      || category == UnicodeTable.Category.Co.rawValue || scalar == 0xFFFD
    return isOther != (scalar >= 0x80 && controls.contains(scalar))
  }

  static func isolateIdeographs(_ text: inout TracedText) {
    // The first of them is written E3 90 80.
    guard text.bytes.contains(where: { $0 >= 0xE3 }) else { return }
    text.edit { source, edit in
      var position = 0
      var kept = 0
      while position < source.count {
        let (scalar, length) = source.scalar(at: position)
        if isIdeograph(scalar) {
          edit.keep(kept..<position)
          edit.put(0x20, at: position)
          edit.keep(position..<position + length)
          edit.put(0x20, at: position)
          kept = position + length
        }
        position += length
      }
      edit.keep(kept..<source.count)
    }
  }

  private static func isIdeograph(_ scalar: UInt32) -> Bool {
    guard scalar >= 0x3400 else { return false }
    switch scalar {
    case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F, 0x2B920...0x2CEAF,
      0xF900...0xFAFF, 0x2F800...0x2FA1F:
      return true
    default: return false
    }
  }

  /// - Parameter all: whether marks that take room go as well
  static func stripMarks(_ text: inout TracedText, all: Bool, _ table: UnicodeTable) {
    guard text.bytes.contains(where: { $0 >= 0xCC }) else { return }
    let exceptions = all ? marks : accents
    text.edit { source, edit in
      var position = 0
      var kept = 0
      while position < source.count {
        let (scalar, length) = source.scalar(at: position)
        if scalar >= 0x300 {
          let entry = table.entry(scalar)
          let isMark = all ? entry.isMark : entry.category == UnicodeTable.Category.Mn.rawValue
          if isMark != exceptions.contains(scalar) {
            edit.keep(kept..<position)
            kept = position + length
          }
        }
        position += length
      }
      edit.keep(kept..<source.count)
    }
  }
}
