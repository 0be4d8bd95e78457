/// From tokens back to text: the decoders of `tokenizer.json`.
struct TokenDecoder: Sendable {
  enum Step: Sendable {
    case byteLevel
    case byteFallback
    case fuse
    case replace(RegexPattern, with: [UInt8])
    /// Takes a character away at the start and end of each token, at most so many.
    case strip(character: [UInt8], start: Int, stop: Int)
    case metaspace(replacement: [UInt8], dropsFirst: Bool)
    case endOfWord(suffix: [UInt8])
    case wordPiece(prefix: [UInt8], cleansUp: Bool)
  }

  var steps: [Step] = []
  /// Without a decoder, tokens stand with a space between.
  var separatesWithSpaces = true

  /// Whether tokens become bytes one by one, whatever stands around them.
  var isByteLevel: Bool {
    if steps.count == 1, case .byteLevel = steps[0] { true } else { false }
  }

  var readsByteTokens: Bool {
    steps.contains { if case .byteFallback = $0 { true } else { false } }
  }

  /// The text of a row of tokens, as bytes that need not be UTF-8 throughout.
  func decode(_ tokens: [[UInt8]]) -> [UInt8] {
    var tokens = tokens
    for step in steps { tokens = Self.apply(step, tokens) }
    return Array(tokens.joined(separator: separatesWithSpaces ? [0x20] : []))
  }

  private static func apply(_ step: Step, _ tokens: [[UInt8]]) -> [[UInt8]] {
    switch step {
    case .byteLevel:
      let bytes = tokens.flatMap { token in token.withUnsafeBufferPointer { ByteAlphabet.bytes(of: $0) } ?? token }
      return [Array(String(decoding: bytes, as: UTF8.self).utf8)]
    case .byteFallback: return byteFallback(tokens)
    case .fuse: return [Array(tokens.joined())]
    case .replace(let pattern, let content):
      let replacer = Normalizer.replace(pattern, with: content)
      return tokens.map { token in
        var token = token
        replacer.apply(&token, UnicodeTable.shared)
        return token
      }
    case .strip(let character, let start, let stop): return tokens.map { strip($0, character, start, stop) }
    case .metaspace(let replacement, let dropsFirst):
      return tokens.enumerated().map { index, token in
        var result: [UInt8] = []
        var position = 0
        while position < token.count {
          if token[position...].starts(with: replacement) {
            if index > 0 || !dropsFirst { result.append(0x20) }
            position += replacement.count
          } else {
            result.append(token[position])
            position += 1
          }
        }
        return result
      }
    case .wordPiece(let prefix, let cleansUp): return joinWordPieces(tokens, prefix, cleansUp: cleansUp)
    case .endOfWord(let suffix):
      return tokens.enumerated().map { index, token in
        replace(token, suffix, by: index == tokens.count - 1 ? [] : [0x20])
      }
    }
  }

  private static func replace(_ token: [UInt8], _ text: [UInt8], by content: [UInt8]) -> [UInt8] {
    var token = token
    Normalizer.replace(RegexPattern(literal: String(decoding: text, as: UTF8.self)), with: content)
      .apply(&token, UnicodeTable.shared)
    return token
  }

  private static func joinWordPieces(_ tokens: [[UInt8]], _ prefix: [UInt8], cleansUp: Bool) -> [[UInt8]] {
    tokens.enumerated().map { index, token in
      var text = token
      if index > 0 { text = token.starts(with: prefix) ? Array(token.dropFirst(prefix.count)) : [0x20] + token }
      if cleansUp, text.contains(0x20) {
        for (from, to) in cleanUps { text = replace(text, Array(from.utf8), by: Array(to.utf8)) }
      }
      return text
    }
  }

  /// What is written without the space that tokens stand with.
  private static let cleanUps = [
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
  ]

  /// Runs of `<0x..>` become their bytes, or a replacement character each if they are not UTF-8.
  private static func byteFallback(_ tokens: [[UInt8]]) -> [[UInt8]] {
    var result: [[UInt8]] = []
    var bytes: [UInt8] = []
    func flush() {
      if bytes.isEmpty { return }
      if String(validating: bytes, as: UTF8.self) != nil {
        result.append(bytes)
      } else {
        for _ in bytes { result.append([0xEF, 0xBF, 0xBD]) }
      }
      bytes = []
    }
    for token in tokens {
      if let byte = byte(of: token) {
        bytes.append(byte)
      } else {
        flush()
        result.append(token)
      }
    }
    flush()
    return result
  }

  /// The byte that `<0x..>` names.
  static func byte(of token: [UInt8]) -> UInt8? {
    guard token.count == 6, token.starts(with: "<0x".utf8), token[5] == UInt8(ascii: ">") else { return nil }
    return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
  }

  private static func strip(_ token: [UInt8], _ character: [UInt8], _ start: Int, _ stop: Int) -> [UInt8] {
    var rest = token[...]
    for _ in 0..<start where rest.starts(with: character) { rest = rest.dropFirst(character.count) }
    for _ in 0..<stop where rest.count >= character.count && rest.suffix(character.count).elementsEqual(character) {
      rest = rest.dropLast(character.count)
    }
    return Array(rest)
  }
}
