/// Takes texts through a pipeline, with a cache and scratch memory of its own.
///
/// `@unchecked Sendable`: an encoder is used by one call at a time, which takes it out of the tokenizer's pool.
final class TextEncoder: @unchecked Sendable {
  private let pipeline: TokenizerPipeline
  private let table = UnicodeTable.shared
  private let matchers: [RegexMatcher?]
  private var cache = WordCache()
  private var scratch = ModelScratch()
  private var output: [Int32] = []
  private var traces: [TokenTrace] = []
  private var wordIndex: Int32 = 0
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
    output.reserveCapacity(text.count / 4)
    run(Stretch(text: text, origins: nil))
    defer { output = [] }
    return output
  }

  /// Where a text may be cut, whatever it goes on with: the tokens of both sides together are those of the whole.
  struct Cut {
    /// Bytes before it.
    var byteCount = 0
    /// Tokens before it.
    var tokenCount = 0
  }

  /// The tokens of a text that may grow, and the last place where it may be cut: before an added token that lies so far from
  /// the end that no longer one can begin before it.
  func encodeGrowing(_ text: Bytes) -> (tokens: [Int32], cut: Cut) {
    continuing = false
    var (cut, end) = (Cut(), 0)
    for matcher in matchers { matcher?.begin(byteCount: text.count) }
    let finder = pipeline.rawTokens
    finder.pieces(text, table) { piece in
      let whole = Stretch(text: text, origins: nil)
      switch piece {
      case .token(let id, let range):
        if range.lowerBound >= end, range.lowerBound + finder.longest <= text.count, finder.plain.contains(id) {
          cut = Cut(byteCount: range.lowerBound, tokenCount: output.count)
        }
        end = range.upperBound
        output.append(id)
      case .text(let range):
        end = range.upperBound
        normalize(whole.part(range), isStart: range.lowerBound == 0)
      }
    }
    defer { output = [] }
    return (output, cut)
  }

  /// The tokens of a text with the place that each comes from.
  func trace(_ text: Bytes) -> TracedTokens {
    continuing = false
    scratch.notesSpans = true
    defer {
      scratch.notesSpans = false
      output = []
      traces = []
    }
    wordIndex = 0
    Self.origins(of: text).withUnsafeBufferPointer { run(Stretch(text: text, origins: $0.baseAddress)) }
    return TracedTokens(ids: output, traces: traces)
  }

  /// Each byte comes from the whole character that it belongs to.
  private static func origins(of text: Bytes) -> [Origin] {
    var origins: [Origin] = []
    origins.reserveCapacity(text.count)
    var position = 0
    while position < text.count {
      let length = text.scalar(at: position).length
      let origin = Origin(start: UInt32(position), end: UInt32(position + length))
      for _ in 0..<length { origins.append(origin) }
      position += length
    }
    return origins
  }

  private func run(_ text: Stretch) {
    for matcher in matchers { matcher?.begin(byteCount: text.text.count) }
    pipeline.rawTokens.pieces(text.text, table) { piece in
      switch piece {
      case .token(let id, let range): append(id, text.part(range))
      case .text(let range): normalize(text.part(range), isStart: range.lowerBound == 0)
      }
    }
  }

  private func normalize(_ text: Stretch, isStart: Bool) {
    if pipeline.normalizers.isEmpty { return findTokens(text, isStart: isStart) }
    // Where it counts whether a word starts the text, what normalizers take away before it counts as well.
    let asksForStart = isStart && pipeline.dependsOnStart && text.origins == nil
    let origins = asksForStart ? Self.origins(of: text.text) : []
    var normalized = origins.withUnsafeBufferPointer {
      TracedText(asksForStart ? Stretch(text: text.text, origins: $0.baseAddress) : text)
    }
    for normalizer in pipeline.normalizers {
      if case .prepend = normalizer, continuing, isStart { continue }
      normalizer.apply(&normalized, table)
    }
    let isStart = isStart && normalized.origins.first?.start ?? 0 == 0
    normalized.withStretch {
      findTokens(Stretch(text: $0.text, origins: asksForStart ? nil : $0.origins), isStart: isStart)
    }
  }

  private func findTokens(_ text: Stretch, isStart: Bool) {
    if pipeline.normalizedTokens.isEmpty { return cut(text, step: 0, isStart: isStart) }
    pipeline.normalizedTokens.pieces(text.text, table) { piece in
      switch piece {
      case .token(let id, let range): append(id, text.part(range))
      case .text(let range): cut(text.part(range), step: 0, isStart: isStart && range.lowerBound == 0)
      }
    }
  }

  /// Runs the pre-tokenizers from `step` on, each on every part that the one before gives.
  private func cut(_ stretch: Stretch, step: Int, isStart: Bool) {
    let text = stretch.text
    if text.isEmpty { return }
    guard step < pipeline.preTokenizers.count else { return encodeWord(stretch) }
    func next(_ range: Range<Int>) {
      cut(stretch.part(range), step: step + 1, isStart: isStart && range.lowerBound == 0)
    }
    switch pipeline.preTokenizers[step] {
    case .words(let scanner):
      var start = 0
      while start < text.count {
        let end = scanner.end(text, start, table)
        next(start..<end)
        start = end
      }
    case .bertWords: WordCutter.bertWords(text, table, next)
    case .digits(let individual): WordCutter.digits(text, individual: individual, table, next)
    case .split(_, let behavior, let invert):
      guard let matcher = matchers[step] else { return }
      MatchSplitter.parts(of: text, behavior, invert: invert) { matcher.firstMatch(text, from: $0) }.forEach(next)
    case .punctuation(let behavior):
      MatchSplitter.parts(of: text, behavior, invert: false) { start in
        WordCutter.firstScalar(text, from: start) { BertCharacters.isPunctuation($0, self.table) }
      }.forEach(next)
    case .whitespaceSplit: WordCutter.words(text, table, next)
    case .whitespace: WordCutter.wordsAndSigns(text, table, next)
    case .metaspace(let replacement, let scheme, let split):
      replaceSpaces(stretch, by: replacement, scheme, isStart: isStart).withStretch { replaced in
        let parts =
          split
          ? MatchSplitter.parts(of: replaced.text, .mergedWithNext, invert: false) {
            RegexMatcher.find(replacement, in: replaced.text, from: $0)
          } : [0..<replaced.text.count]
        for range in parts {
          cut(replaced.part(range), step: step + 1, isStart: isStart && range.lowerBound == 0)
        }
      }
    case .prefixSpace:
      if text.first == 0x20 || (isStart && continuing) { return next(0..<text.count) }
      var spaced = TracedText(stretch)
      Normalizer.prepend([0x20]).apply(&spaced, table)
      spaced.withStretch { cut($0, step: step + 1, isStart: isStart) }
    case .byteCharacters:
      var written = TracedText(stretch)
      Normalizer.byteLevel.apply(&written, table)
      written.withStretch { cut($0, step: step + 1, isStart: isStart) }
    }
  }

  private func replaceSpaces(
    _ stretch: Stretch, by replacement: [UInt8], _ scheme: PreTokenizer.PrependScheme, isStart: Bool
  ) -> TracedText {
    var replaced = TracedText(stretch)
    replaced.edit { source, edit in
      for (index, byte) in source.enumerated() {
        if byte == 0x20 { edit.put(replacement, at: index) } else { edit.put(byte, at: index) }
      }
    }
    let addsPrefix = isStart ? scheme != .never && !continuing : scheme == .always
    if addsPrefix, !replaced.bytes.starts(with: replacement) { Normalizer.prepend(replacement).apply(&replaced, table) }
    return replaced
  }

  // MARK: words

  /// An added token, with the text that it was found as.
  private func append(_ id: Int32, _ stretch: Stretch) {
    output.append(id)
    guard let origins = stretch.origins else { return }
    trace(stretch.text, Origin(start: origins[0].start, end: origins[stretch.text.count - 1].end))
    wordIndex += 1
  }

  private func trace(_ text: Bytes, _ origin: Origin) {
    var trace = TokenTrace(origin: origin, word: wordIndex)
    if !pipeline.postProcessor.trimmings.isEmpty { trace.countSpaces(in: text, table) }
    traces.append(trace)
  }

  private func encodeWord(_ word: Stretch) {
    defer { wordIndex &+= 1 }
    guard let seam = pipeline.model.seam, word.text.count > seam.count else { return encodePart(word) }
    let text = word.text
    var start = 0
    var position = 0
    var afterSeam = true
    while position < text.count {
      let isSeam =
        text[position] == seam[0] && position + seam.count <= text.count
        && (1..<seam.count).allSatisfy { text[position + $0] == seam[$0] }
      if isSeam, !afterSeam {
        encodePart(word.part(start..<position))
        start = position
      }
      afterSeam = isSeam
      position += isSeam ? seam.count : 1
    }
    encodePart(word.part(start..<text.count))
  }

  private func encodePart(_ stretch: Stretch) {
    let word = stretch.text
    if let origins = stretch.origins { return traceTokens(word, origins) }
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

  private func traceTokens(_ word: Bytes, _ origins: UnsafePointer<Origin>) {
    scratch.spans.removeAll(keepingCapacity: true)
    let first = output.count
    pipeline.model.encode(word, &scratch, into: &output)
    for (id, span) in zip(output[first...], scratch.spans) {
      // What stands for nothing is where the word starts to count.
      let origin =
        span.isEmpty
        ? Origin(start: UInt32(span.lowerBound), end: UInt32(span.lowerBound))
        : Origin(start: origins[span.lowerBound].start, end: origins[span.upperBound - 1].end)
      var token = Array(pipeline.model.vocabulary.text(id) ?? [])
      token.withUnsafeMutableBufferPointer { trace(Bytes($0), origin) }
    }
  }
}
