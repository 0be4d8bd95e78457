/// What `tokenizer.json` says, step by step: added tokens, normalizers, pre-tokenizers, model, decoders.
struct TokenizerPipeline: Sendable {
  /// Looked for in the text as it is given.
  var rawTokens = AddedTokenFinder([])
  var normalizers: [Normalizer] = []
  /// Looked for after normalising.
  var normalizedTokens = AddedTokenFinder([])
  var preTokenizers: [PreTokenizer] = []
  var model: TokenModel
  var postProcessor = PostProcessor()
  /// What the tokenizer itself puts before and after a single text.
  var prefix: [Int32] = []
  var suffix: [Int32] = []
  var decoder = TokenDecoder()
  /// Added tokens by id.
  var addedTokens: [Int32: String] = [:]
  /// By the bytes of the token: Swift's strings are equal where only their meaning is.
  var addedIDs: [[UInt8]: Int32] = [:]
  var specialIDs: Set<Int32> = []

  func id(_ token: String) -> Int32? { addedIDs[Array(token.utf8)] ?? model.vocabulary.id(token) }

  /// Whether the word that starts a text is treated as others are not, and it is not plain which one that is.
  var dependsOnStart: Bool {
    !normalizers.isEmpty
      && preTokenizers.contains { if case .metaspace(_, .first, _) = $0 { true } else { false } }
  }

  var hasSpecialTokens: Bool { !prefix.isEmpty || !suffix.isEmpty }

  /// One more than the greatest id.
  var vocabularySize: Int { max(model.vocabulary.count, (addedTokens.keys.max().map { Int($0) } ?? -1) + 1) }
}
