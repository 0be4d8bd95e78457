/// The part of a tokenizer that knows tokens.
enum TokenModel: Sendable {
  case bytePair(BytePairModel)
  case wordPiece(WordPieceModel)
  case unigram(UnigramModel)

  var vocabulary: Vocabulary {
    switch self {
    case .bytePair(let model): model.vocabulary
    case .wordPiece(let model): model.vocabulary
    case .unigram(let model): model.vocabulary
    }
  }

  /// The tokens of single bytes, if words are given as bytes and not as characters of `ByteAlphabet`.
  var byteTokens: [Int32]? { if case .bytePair(let model) = self { model.byteTokens } else { nil } }

  /// A character at whose start a word may be cut, as no token reaches across.
  var seam: [UInt8]? { if case .bytePair(let model) = self { model.seam } else { nil } }

  /// Appends the tokens of a word that is not empty.
  @inline(__always) func encode(_ word: Bytes, _ scratch: inout ModelScratch, into output: inout [Int32]) {
    switch self {
    case .bytePair(let model): model.encode(word, &scratch, into: &output)
    case .wordPiece(let model): model.encode(word, &scratch, into: &output)
    case .unigram(let model): model.encode(word, &scratch, into: &output)
    }
  }
}

/// Room for the work of a model, kept from one word to the next.
struct ModelScratch: Sendable {
  var merging = MergeScratch()
  var steps: [UnigramModel.Step] = []
  /// Whether the places of tokens are asked for.
  var notesSpans = false
  /// The bytes of the word that each token stands for.
  var spans: [Range<Int>] = []

  @inline(__always) mutating func note(_ span: Range<Int>) { if notesSpans { spans.append(span) } }

  mutating func forget(_ count: Int) { if notesSpans { spans.removeLast(count) } }
}
