/// The tokens of a text or a pair of texts, with the type and the place of each.
///
/// All lists have an entry per token. It is what Hugging Face's `tokenizers` calls an `Encoding`.
public struct TextEncoding: Sendable, Equatable {
  public internal(set) var ids: [Int32] = []
  /// What `token_type_ids` holds: which text a token counts to.
  public internal(set) var typeIDs: [Int32] = []
  /// The characters (Unicode scalars) of the text that a token stands for; of the word, if words were given. Empty at 0 for
  /// tokens that the tokenizer put there.
  public internal(set) var offsets: [Range<Int>] = []
  /// Which word a token belongs to: of the words that were given, or of those that the tokenizer cut; none for tokens that
  /// the tokenizer put there.
  public internal(set) var wordIndices: [Int?] = []
  /// 0 for tokens of the first text, 1 for those of the second; none for tokens that the tokenizer put there.
  public internal(set) var textIndices: [Int?] = []

  public var count: Int { ids.count }
}

extension TextEncoding {
  /// The tokens without the ends of texts: of each text so many are kept, and all that the tokenizer put there.
  ///
  /// - Parameter counts: tokens of the first and of the second text
  public func keeping(_ counts: [Int]) -> TextEncoding {
    var left = counts
    var result = TextEncoding()
    for index in ids.indices {
      if let text = textIndices[index] {
        guard left[text] > 0 else { continue }
        left[text] -= 1
      }
      result.ids.append(ids[index])
      result.typeIDs.append(typeIDs[index])
      result.offsets.append(offsets[index])
      result.wordIndices.append(wordIndices[index])
      result.textIndices.append(textIndices[index])
    }
    return result
  }

  mutating func append(_ other: TextEncoding) {
    ids += other.ids
    typeIDs += other.typeIDs
    offsets += other.offsets
    wordIndices += other.wordIndices
    textIndices += other.textIndices
  }

  mutating func append(token id: Int32, type: Int32) {
    ids.append(id)
    typeIDs.append(type)
    offsets.append(0..<0)
    wordIndices.append(nil)
    textIndices.append(nil)
  }
}

extension Tokenizer {
  /// The tokens of a text, or of a pair of texts as one sample, with types and places.
  /// - Parameters:
  ///   - pair: the second text, such as a hypothesis or a document
  ///   - addSpecialTokens: whether the tokens that the tokenizer itself puts around texts are added
  public func encoding(_ text: String, pair: String? = nil, addSpecialTokens: Bool = true) -> TextEncoding {
    assemble(traced([text], areWords: false), pair.map { traced([$0], areWords: false) }, addSpecialTokens)
  }

  /// The tokens of a text that is given word by word, each encoded by itself.
  public func encoding(words: [String], pair: [String]? = nil, addSpecialTokens: Bool = true) -> TextEncoding {
    assemble(traced(words, areWords: true), pair.map { traced($0, areWords: true) }, addSpecialTokens)
  }

  private func assemble(_ first: TextEncoding, _ second: TextEncoding?, _ addSpecialTokens: Bool) -> TextEncoding {
    let processor = pipeline.postProcessor
    var result = TextEncoding()
    for piece in second == nil ? processor.single : processor.pair {
      switch piece {
      case .token(let id, let type): if addSpecialTokens { result.append(token: id, type: type) }
      case .text(let isSecond, var type):
        var part = isSecond ? second ?? TextEncoding() : first
        if !addSpecialTokens, let plain = processor.plainTypes { type = isSecond ? plain.second : plain.first }
        part.typeIDs = Array(repeating: type, count: part.count)
        part.textIndices = Array(repeating: isSecond ? 1 : 0, count: part.count)
        result.append(part)
      }
    }
    return result
  }

  private func traced(_ texts: [String], areWords: Bool) -> TextEncoding {
    var result = TextEncoding()
    var traces: [TokenTrace] = []
    for (index, text) in texts.enumerated() {
      var text = text
      text.withUTF8 { bytes in
        let tokens = withEncoder { $0.trace(bytes) }
        result.ids += tokens.ids
        result.wordIndices += tokens.traces.map { areWords ? index : Int($0.word) }
        result.offsets += Self.characters(of: bytes, tokens.traces)
        traces += tokens.traces
      }
    }
    for trimming in pipeline.postProcessor.trimmings { trimming.apply(&result.offsets, traces) }
    return result
  }

  /// The places of tokens counted in characters.
  private static func characters(of text: Bytes, _ traces: [TokenTrace]) -> [Range<Int>] {
    // The character that each byte belongs to, if bytes are not characters.
    var characters: [UInt32] = []
    if text.contains(where: { $0 >= 0x80 }) {
      characters.reserveCapacity(text.count)
      var character: UInt32 = 0
      for byte in text {
        if byte & 0xC0 != 0x80 { character += 1 }
        characters.append(character - 1)
      }
    }
    return traces.map { trace in
      let (start, end) = (Int(trace.origin.start), Int(trace.origin.end))
      if characters.isEmpty || start >= text.count || end < start { return start..<max(start, end) }
      let first = Int(characters[start])
      return first..<max(first, end < text.count ? Int(characters[end]) : end > 0 ? Int(characters[end - 1]) + 1 : 0)
    }
  }
}
