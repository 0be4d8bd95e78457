import Foundation

/// A change that a tokenizer makes to text before it is cut.
enum Normalizer: Sendable {
  enum Form: Sendable { case composed, decomposed, compatibilityComposed, compatibilityDecomposed }

  case form(Form)
  case lowercase
  case prepend([UInt8])
  case replace(RegexPattern, with: [UInt8])
  case strip(left: Bool, right: Bool)
  /// Writes each byte as a character of `ByteAlphabet`.
  case byteLevel

  func apply(_ text: inout [UInt8], _ table: UnicodeTable) {
    switch self {
    case .form(let form): Self.normalize(&text, form, table)
    case .lowercase: Self.lowercase(&text)
    case .prepend(let prefix): if !text.isEmpty { text.insert(contentsOf: prefix, at: 0) }
    case .replace(let pattern, let content): Self.replace(&text, pattern, content)
    case .strip(let left, let right): Self.strip(&text, left, right, table)
    case .byteLevel: text = text.withUnsafeBufferPointer { ByteAlphabet.characters(of: $0) }
    }
  }

  private static func lowercase(_ text: inout [UInt8]) {
    if text.allSatisfy({ $0 < 0x80 }) {
      for index in text.indices where text[index] >= 0x41 && text[index] <= 0x5A { text[index] |= 0x20 }
      return
    }
    var lower = String()
    for scalar in String(decoding: text, as: UTF8.self).unicodeScalars { lower += scalar.properties.lowercaseMapping }
    text = Array(lower.utf8)
  }

  private static func replace(_ text: inout [UInt8], _ pattern: RegexPattern, _ content: [UInt8]) {
    let matcher = RegexMatcher(pattern)
    var result: [UInt8] = []
    text.withUnsafeBufferPointer { text in
      var position = 0
      while position < text.count, let match = matcher.firstMatch(text, from: position) {
        if result.isEmpty { result.reserveCapacity(text.count + text.count / 2) }
        result.append(contentsOf: text.part(position..<match.lowerBound))
        result.append(contentsOf: content)
        position = match.upperBound
      }
      if position > 0 { result.append(contentsOf: text.part(position..<text.count)) }
      if position == 0 { result.append(contentsOf: text) }
    }
    text = result
  }

  private static func strip(_ text: inout [UInt8], _ left: Bool, _ right: Bool, _ table: UnicodeTable) {
    var start = 0
    var end = text.count
    text.withUnsafeBufferPointer { text in
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
    if start > 0 || end < text.count { text = Array(text[start..<end]) }
  }

  // MARK: Unicode normalisation forms

  private static func normalize(_ text: inout [UInt8], _ form: Form, _ table: UnicodeTable) {
    // Scalars below U+0300 are composed as they stand, and their first bytes are below CC.
    let firstByte: UInt8 = form == .composed ? 0xCC : 0x80
    guard text.contains(where: { $0 >= firstByte }) else { return }
    let ranges = text.withUnsafeBufferPointer { parts(of: $0, touchedBy: form, table) }
    if ranges.isEmpty { return }
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    var position = 0
    for range in ranges {
      result += text[position..<range.lowerBound]
      result += normalized(text[range], form)
      position = range.upperBound
    }
    text = result + text[position...]
  }

  private static func normalized(_ text: ArraySlice<UInt8>, _ form: Form) -> [UInt8] {
    let string = String(decoding: splitVowels(text), as: UTF8.self)
    switch form {
    case .composed: return Array(string.precomposedStringWithCanonicalMapping.utf8)
    case .decomposed: return Array(string.decomposedStringWithCanonicalMapping.utf8)
    case .compatibilityComposed:
      // Foundation's own form leaves apart the letters that half-width ones of Hangul become.
      return Array(string.decomposedStringWithCompatibilityMapping.precomposedStringWithCanonicalMapping.utf8)
    case .compatibilityDecomposed: return Array(string.decomposedStringWithCompatibilityMapping.utf8)
    }
  }

  /// Writes three Tibetan vowels (U+0F73, U+0F75, U+0F81) as the two marks that they are by definition: they are the only starters that decompose
  /// into marks, and Foundation does not put those into their canonical order.
  private static func splitVowels(_ text: ArraySlice<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    for byte in text {
      result.append(byte)
      guard result.count >= 3, result[result.count - 3] == 0xE0 else { continue }
      let mark: [UInt8]
      switch (result[result.count - 2], byte) {
      case (0xBD, 0xB3): mark = [0xE0, 0xBD, 0xB2]
      case (0xBD, 0xB5): mark = [0xE0, 0xBD, 0xB4]
      case (0xBE, 0x81): mark = [0xE0, 0xBE, 0x80]
      default: continue
      }
      result.replaceSubrange((result.count - 3)..., with: [0xE0, 0xBD, 0xB1] + mark)
    }
    return result
  }

  /// The parts of a text that normalising may change; scalars that the table calls untouched are in none of them.
  ///
  /// For composing, a part goes from the settled scalar before an unsettled one to the next settled one.
  private static func parts(of text: Bytes, touchedBy form: Form, _ table: UnicodeTable) -> [Range<Int>] {
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
