/// Takes texts through a pipeline, with a cache and scratch memory of its own.
///
/// `@unchecked Sendable`: an encoder is used by one call at a time, which takes it out of the tokenizer's pool.
final class TextEncoder: @unchecked Sendable {
  private let pipeline: TokenizerPipeline
  private let table = UnicodeTable.shared
  private let matchers: [RegexMatcher?]
  private var cache = WordCache()
  private var scratch = MergeScratch()
  private var output: [Int32] = []
  /// Whether what stands at the start of the text goes on from another text.
  private var continuing = false

  init(_ pipeline: TokenizerPipeline) {
    self.pipeline = pipeline
    matchers = pipeline.preTokenizers.map { step in
      if case .split(let pattern, _, _) = step { RegexMatcher(pattern) } else { nil }
    }
  }

  /// - Parameter continuing: whether no space is put before the text
  func encode(_ text: Bytes, continuing: Bool = false) -> [Int32] {
    self.continuing = continuing
    for matcher in matchers { matcher?.begin() }
    output.reserveCapacity(text.count / 4)
    pipeline.rawTokens.pieces(text, table) { piece in
      switch piece {
      case .token(let id): output.append(id)
      case .text(let range): normalize(text.part(range), isStart: range.lowerBound == 0)
      }
    }
    defer { output = [] }
    return output
  }

  private func normalize(_ text: Bytes, isStart: Bool) {
    if pipeline.normalizers.isEmpty { return findTokens(text, isStart: isStart) }
    var normalized = Array(text)
    for normalizer in pipeline.normalizers {
      if case .prepend = normalizer, continuing, isStart { continue }
      normalizer.apply(&normalized, table)
    }
    var isStart = isStart
    if case .strip(left: true, _)? = pipeline.normalizers.first, let first = text.first {
      // Where white space went away, the text no longer starts where the given one did.
      isStart = isStart && normalized.first == first
    }
    normalized.withUnsafeBufferPointer { findTokens($0, isStart: isStart) }
  }

  private func findTokens(_ text: Bytes, isStart: Bool) {
    if pipeline.normalizedTokens.isEmpty { return cut(text, step: 0, isStart: isStart) }
    pipeline.normalizedTokens.pieces(text, table) { piece in
      switch piece {
      case .token(let id): output.append(id)
      case .text(let range): cut(text.part(range), step: 0, isStart: isStart && range.lowerBound == 0)
      }
    }
  }

  /// Runs the pre-tokenizers from `step` on, each on every part that the one before gives.
  private func cut(_ text: Bytes, step: Int, isStart: Bool) {
    if text.isEmpty { return }
    guard step < pipeline.preTokenizers.count else { return encodeWord(text) }
    func next(_ range: Range<Int>) {
      cut(text.part(range), step: step + 1, isStart: isStart && range.lowerBound == 0)
    }
    switch pipeline.preTokenizers[step] {
    case .words(let scanner):
      var start = 0
      while start < text.count {
        let end = scanner.end(text, start, table)
        next(start..<end)
        start = end
      }
    case .digits(let individual): cutDigits(text, individual: individual, next)
    case .split(_, let behavior, let invert):
      guard let matcher = matchers[step] else { return }
      MatchSplitter.parts(of: text, behavior, invert: invert) { matcher.firstMatch(text, from: $0) }.forEach(next)
    case .punctuation(let behavior):
      MatchSplitter.parts(of: text, behavior, invert: false) { start in
        firstScalar(text, from: start) { $0.isPunctuation || Self.isASCIISymbol($1) }
      }.forEach(next)
    case .whitespaceSplit:
      MatchSplitter.parts(of: text, .removed, invert: false) { start in
        firstScalar(text, from: start) { entry, _ in entry.isSpace }
      }.forEach(next)
    case .whitespace: cutWhitespace(text, next)
    case .metaspace(let replacement, let scheme, let split):
      var replaced = Self.replaceSpaces(text, by: replacement)
      let addsPrefix = isStart ? scheme != .never && !continuing : scheme == .always
      if addsPrefix, !replaced.starts(with: replacement) {
        replaced.insert(contentsOf: replacement, at: 0)
      }
      replaced.withUnsafeBufferPointer { replaced in
        let parts =
          split
          ? MatchSplitter.parts(of: replaced, .mergedWithNext, invert: false) {
            RegexMatcher.find(replacement, in: replaced, from: $0)
          } : [0..<replaced.count]
        for range in parts {
          cut(replaced.part(range), step: step + 1, isStart: isStart && range.lowerBound == 0)
        }
      }
    case .prefixSpace:
      if text.first == 0x20 || (isStart && continuing) { return next(0..<text.count) }
      ([0x20] + Array(text)).withUnsafeBufferPointer { cut($0, step: step + 1, isStart: isStart) }
    case .byteCharacters:
      ByteAlphabet.characters(of: text).withUnsafeBufferPointer { cut($0, step: step + 1, isStart: isStart) }
    }
  }

  private func cutDigits(_ text: Bytes, individual: Bool, _ next: (Range<Int>) -> Void) {
    var start = 0
    var position = 0
    var inNumber = false
    while position < text.count {
      let (scalar, length) = text.scalar(at: position)
      let isNumber = table.entry(scalar).isNumber
      if position > start, isNumber != inNumber || (isNumber && individual) {
        next(start..<position)
        start = position
      }
      inNumber = isNumber
      position += length
    }
    next(start..<text.count)
  }

  private func cutWhitespace(_ text: Bytes, _ next: (Range<Int>) -> Void) {
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
        if current != 0 { next(start..<position) }
        start = position
        current = found
      }
      position += length
    }
    if current != 0 { next(start..<text.count) }
  }

  private func firstScalar(
    _ text: Bytes, from start: Int, where accepts: (UnicodeEntry, UInt32) -> Bool
  ) -> Range<Int>? {
    var position = start
    while position < text.count {
      let (scalar, length) = text.scalar(at: position)
      if accepts(table.entry(scalar), scalar) { return position..<position + length }
      position += length
    }
    return nil
  }

  /// The symbols of ASCII that are punctuation for `tokenizers`, though not for Unicode.
  private static func isASCIISymbol(_ scalar: UInt32) -> Bool {
    scalar < 0x80 && scalar > 0x20
      && !(0x30...0x39).contains(scalar) && !(0x41...0x5A).contains(scalar) && !(0x61...0x7A).contains(scalar)
      && scalar != 0x7F
  }

  private static func replaceSpaces(_ text: Bytes, by replacement: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.count + text.count / 2)
    for byte in text {
      if byte == 0x20 { result.append(contentsOf: replacement) } else { result.append(byte) }
    }
    return result
  }

  // MARK: words

  private func encodeWord(_ word: Bytes) {
    guard let seam = pipeline.model.seam, word.count > seam.count else { return encodePart(word) }
    var start = 0
    var position = 0
    var afterSeam = true
    while position < word.count {
      let isSeam =
        word[position] == seam[0] && position + seam.count <= word.count
        && (1..<seam.count).allSatisfy { word[position + $0] == seam[$0] }
      if isSeam, !afterSeam {
        encodePart(word.part(start..<position))
        start = position
      }
      afterSeam = isSeam
      position += isSeam ? seam.count : 1
    }
    encodePart(word.part(start..<word.count))
  }

  private func encodePart(_ word: Bytes) {
    if word.count == 1, let tokens = pipeline.model.byteTokens {
      output.append(tokens[Int(word[0])])
      return
    }
    guard word.count <= WordCache.longestWord else {
      return pipeline.model.encode(word, &scratch, into: &output)
    }
    let hash = hash(word)
    if cache.find(word, hash: hash, into: &output) { return }
    let start = output.count
    pipeline.model.encode(word, &scratch, into: &output)
    cache.insert(word, hash: hash, output[start...])
  }
}
