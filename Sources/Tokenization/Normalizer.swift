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
    if form != .composed {
      if text.allSatisfy({ $0 < 0x80 }) { return }
      text = normalized(text[...], form)
      return
    }
    // Scalars below U+0300 are composed as they stand, and their first bytes are below CC.
    guard text.contains(where: { $0 >= 0xCC }) else { return }
    let ranges = text.withUnsafeBufferPointer { unsettled($0, table) }
    if ranges.isEmpty { return }
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    var position = 0
    for range in ranges {
      result += text[position..<range.lowerBound]
      result += normalized(text[range], .composed)
      position = range.upperBound
    }
    text = result + text[position...]
  }

  private static func normalized(_ text: ArraySlice<UInt8>, _ form: Form) -> [UInt8] {
    let string = String(decoding: text, as: UTF8.self)
    switch form {
    case .composed: return Array(string.precomposedStringWithCanonicalMapping.utf8)
    case .decomposed: return Array(string.decomposedStringWithCanonicalMapping.utf8)
    case .compatibilityComposed: return Array(string.precomposedStringWithCompatibilityMapping.utf8)
    case .compatibilityDecomposed: return Array(string.decomposedStringWithCompatibilityMapping.utf8)
    }
  }

  /// The parts of a text that composing may change: from the character before a mark (or a scalar with a canonical
  /// equivalent) to the next that is settled.
  private static func unsettled(_ text: Bytes, _ table: UnicodeTable) -> [Range<Int>] {
    var ranges: [Range<Int>] = []
    var position = 0
    var previous = 0
    while position < text.count {
      if text[position] < 0xCC {
        previous = position
        position += text[position] < 0x80 ? 1 : 2
        continue
      }
      let (scalar, length) = text.scalar(at: position)
      if mayChange(scalar, table) {
        // Parts that nearly touch are one: a call for each would cost more than the text between.
        if let last = ranges.last, last.upperBound + 24 >= previous {
          ranges[ranges.count - 1] = last.lowerBound..<position + length
        } else {
          ranges.append(previous..<position + length)
        }
      } else {
        previous = position
      }
      position += length
    }
    return ranges
  }

  /// Scalars that are neither marks nor Hangul vowels and finals, but not composed: those with a canonical equivalent.
  private static let replaced: [ClosedRange<UInt32>] = [
    0x0374...0x0374, 0x037E...0x037E, 0x0387...0x0387, 0x0958...0x095F, 0x09DC...0x09DF, 0x0A33...0x0A36,
    0x0A59...0x0A5E, 0x0B5C...0x0B5D, 0x0F43...0x0F69, 0x1100...0x11FF, 0x1F71...0x1FFD, 0x2000...0x2001,
    0x2126...0x212B, 0x2329...0x232A, 0x2ADC...0x2ADC, 0xF900...0xFAFF, 0xFB1D...0xFB4E, 0x1D15E...0x1D1C0,
    0x2F800...0x2FA1F,
  ]

  private static func mayChange(_ scalar: UInt32, _ table: UnicodeTable) -> Bool {
    if table.entry(scalar).isMark { return true }
    // Most text lies between the Indic scripts and the compatibility ideographs.
    if scalar >= 0x2ADD, scalar < 0xF900 { return false }
    return replaced.contains { $0.contains(scalar) }
  }
}
