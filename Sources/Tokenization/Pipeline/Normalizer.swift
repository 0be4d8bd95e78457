/// A change that a tokenizer makes to text before it is cut.
enum Normalizer: Sendable {
  case form(UnicodeNormalizer.Form)
  case lowercase
  case prepend([UInt8])
  case replace(RegexPattern, with: [UInt8])
  case strip(left: Bool, right: Bool)
  /// Takes away marks, `all` or those that take no room (BERT).
  case stripMarks(all: Bool)
  /// Takes away control characters and makes white space a space (BERT).
  case cleanText
  /// Puts spaces around ideographs (BERT).
  case isolateIdeographs
  /// The table of a SentencePiece model.
  case charsMap(CharsMap)
  /// What SentencePiece does to the text of translations.
  case translationText
  /// Writes each byte as a character of `ByteAlphabet`.
  case byteLevel

  func apply(_ text: inout TracedText, _ table: UnicodeTable) {
    switch self {
    case .form(let form): Self.normalize(&text, form, table)
    case .lowercase: Self.lowercase(&text, table)
    case .prepend(let prefix):
      if text.bytes.isEmpty { return }
      text.edit { source, edit in
        edit.put(prefix, at: 0)
        edit.keep(0..<source.count)
      }
    case .replace(let pattern, let content): Self.replace(&text, pattern, content)
    case .strip(let left, let right): Self.strip(&text, left, right, table)
    case .stripMarks(let all): BertCharacters.stripMarks(&text, all: all, table)
    case .cleanText: BertCharacters.clean(&text, table)
    case .isolateIdeographs: BertCharacters.isolateIdeographs(&text)
    case .charsMap(let map): map.apply(&text)
    case .translationText: Self.cleanTranslation(&text)
    case .byteLevel:
      text.edit { source, edit in
        for (index, byte) in source.enumerated() { edit.put(scalar: ByteAlphabet.scalars[Int(byte)], at: index) }
      }
    }
  }

  func apply(_ bytes: inout [UInt8], _ table: UnicodeTable) {
    var text = TracedText(bytes)
    apply(&text, table)
    bytes = text.bytes
  }

  private static func lowercase(_ text: inout TracedText, _ table: UnicodeTable) {
    var isASCII = true
    for index in text.bytes.indices {
      let byte = text.bytes[index]
      if byte >= 0x41 && byte <= 0x5A { text.bytes[index] = byte | 0x20 }
      if byte >= 0x80 { isASCII = false }
    }
    if isASCII { return }
    text.edit { source, edit in
      var position = 0
      var kept = 0
      while position < source.count {
        let (scalar, length) = source.scalar(at: position)
        // Small and caseless letters, marks and digits stay; some symbols and numbers have another case.
        if scalar >= 0x80, table.entry(scalar).mayHaveLowercase, let known = Unicode.Scalar(scalar) {
          let lower = known.properties.lowercaseMapping
          edit.keep(kept..<position)
          for scalar in lower.unicodeScalars { edit.put(scalar: scalar.value, at: position) }
          kept = position + length
        }
        position += length
      }
      edit.keep(kept..<source.count)
    }
  }

  private static func replace(_ text: inout TracedText, _ pattern: RegexPattern, _ content: [UInt8]) {
    let matcher = RegexMatcher(pattern)
    matcher.begin(byteCount: text.bytes.count)
    guard let first = text.bytes.withUnsafeBufferPointer({ matcher.firstMatch($0, from: 0) }) else { return }
    text.edit { source, edit in
      var position = 0
      var next: Range<Int>? = first
      // No tokenizer makes this much of a text; several replacements that did would fill the memory.
      var room = (1 << 20) + 4 * source.count
      while let match = next {
        room -= content.count
        if room < 0 { break }
        edit.keep(position..<match.lowerBound)
        edit.put(content, at: match.upperBound - 1)
        position = match.upperBound
        next = position < source.count ? matcher.firstMatch(source, from: position) : nil
      }
      edit.keep(position..<source.count)
    }
  }

  private static func strip(_ text: inout TracedText, _ left: Bool, _ right: Bool, _ table: UnicodeTable) {
    var start = 0
    var end = text.bytes.count
    text.bytes.withUnsafeBufferPointer { text in
      while left, start < end {
        let (scalar, length) = text.scalar(at: start)
        guard table.entry(scalar).isSpace else { break }
        start += length
      }
      while right, end > start {
        let last = text.scalarStart(before: end)
        guard table.entry(text.scalar(at: last).value).isSpace else { break }
        end = last
      }
    }
    if start > 0 || end < text.bytes.count { text.edit { _, edit in edit.keep(start..<end) } }
  }

  private static func cleanTranslation(_ text: inout TracedText) {
    text.edit { source, edit in
      var position = 0
      while position < source.count {
        let (scalar, length) = source.scalar(at: position)
        switch scalar {
        case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: break
        case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD:
          edit.put(0x20, at: position)
        default: edit.keep(position..<position + length)
        }
        position += length
      }
    }
  }

  // MARK: Unicode normalisation forms

  static func normalize(_ text: inout TracedText, _ form: UnicodeNormalizer.Form, _ table: UnicodeTable) {
    // Scalars below U+0300 are composed as they stand, and their first bytes are below CC.
    let firstByte: UInt8 = form == .composed ? 0xCC : 0x80
    guard text.bytes.contains(where: { $0 >= firstByte }) else { return }
    let ranges = text.bytes.withUnsafeBufferPointer { parts(of: $0, touchedBy: form, table) }
    if ranges.isEmpty { return }
    text.edit { source, edit in
      var position = 0
      for range in ranges {
        edit.keep(position..<range.lowerBound)
        let scalars = sequence(state: range.lowerBound) { place -> UInt32? in
          guard place < range.upperBound else { return nil }
          let (scalar, length) = source.scalar(at: place)
          place += length
          return scalar
        }
        edit.put(UnicodeNormalizer.shared.normalized(scalars, form), from: range.lowerBound)
        position = range.upperBound
      }
      edit.keep(position..<source.count)
    }
  }

  /// The parts of a text that normalising may change; scalars that the table calls untouched are in none of them.
  ///
  /// For composing, a part goes from the settled scalar before an unsettled one to the next settled one.
  private static func parts(
    of text: Bytes, touchedBy form: UnicodeNormalizer.Form, _ table: UnicodeTable
  ) -> [Range<Int>] {
    var ranges: [Range<Int>] = []
    var position = 0
    /// Where the part starts that the next scalar would belong to; none after an untouched scalar.
    var start: Int?
    while position < text.count {
      let (scalar, length) = text.scalar(at: position)
      let kind = table.entry(scalar).normalization
      if kind == UnicodeEntry.Normalization.none {
        start = nil
      } else if form == .composed, kind == UnicodeEntry.Normalization.active {
        start = position
      } else {
        let from = start ?? position
        if let last = ranges.last, last.upperBound >= from {
          ranges[ranges.count - 1] = last.lowerBound..<position + length
        } else {
          ranges.append(from..<position + length)
        }
        start = from
      }
      position += length
    }
    return ranges
  }
}
