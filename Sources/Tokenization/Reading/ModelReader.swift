import Formats

/// Builds the model of a tokenizer from `model` in `tokenizer.json`.
struct ModelReader {
  let document: TokenizerDocument

  private func refuse(_ reason: String) -> TokenizerError { TokenizerError(file: document.file, reason: reason) }

  /// - Parameter steps: the last of them is taken away where the model does its work
  func model(_ steps: inout [PreTokenizer]) throws -> TokenModel {
    switch document.model["type"]?.stringValue ?? guessedType {
    case "BPE":
      let vocabulary = try readVocabulary()
      let byteTokens = Self.byteTokens(vocabulary, &steps)
      return .bytePair(try bytePair(vocabulary, byteTokens))
    case "WordPiece": return .wordPiece(try wordPiece(try readVocabulary()))
    case "Unigram": return .unigram(try unigram())
    case let type: throw refuse("a model of type \(type) is not supported; supported are BPE, WordPiece, Unigram")
    }
  }

  /// Files of old do not say.
  private var guessedType: String {
    if document.model["max_input_chars_per_word"] != nil { return "WordPiece" }
    return document.model["unk_id"] != nil ? "Unigram" : "BPE"
  }

  private func readVocabulary() throws -> Vocabulary {
    var count = 0
    try document.forEachToken { _, _ in count += 1 }
    if count == 0 { throw refuse("the vocabulary is empty") }
    var vocabulary = Vocabulary(reserving: count)
    try document.forEachToken { token, id in
      // Ids may have gaps, but not so many that the table is mostly empty.
      if id > count * 4 + 1000 { throw refuse("id \(id) is far greater than the number of tokens, \(count)") }
      vocabulary.insert(token, id: id)
    }
    return vocabulary
  }

  private static func byteFallback(_ vocabulary: Vocabulary) -> [Int32] {
    (0..<256).map { byte in
      let digits = String(byte, radix: 16, uppercase: true)
      return vocabulary.id("<0x\(digits.count == 1 ? "0" : "")\(digits)>") ?? -1
    }
  }

  // MARK: byte-pair encoding

  private func bytePair(_ vocabulary: Vocabulary, _ byteTokens: [Int32]?) throws -> BytePairModel {
    let model = document.model
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] where model[key]?.stringValue?.isEmpty == false {
      throw refuse("model.\(key) is not supported")
    }
    if model["dropout"]?.doubleValue ?? 0 > 0 { throw refuse("model.dropout is not supported") }
    var unknownID: Int32?
    if let unknown = model["unk_token"]?.stringValue {
      unknownID = vocabulary.id(unknown)
      if unknownID == nil { throw refuse("model.unk_token \(unknown) is not in the vocabulary") }
    }
    let fallback = model["byte_fallback"]?.boolValue == true ? Self.byteFallback(vocabulary) : nil
    let merges = try readMerges(vocabulary)
    let ignoresMerges = model["ignore_merges"]?.boolValue ?? false
    let canCut = byteTokens == nil && !ignoresMerges
    return BytePairModel(
      vocabulary: vocabulary, merges: merges, unknownID: unknownID,
      fusesUnknown: model["fuse_unk"]?.boolValue ?? false, byteFallback: fallback, ignoresMerges: ignoresMerges,
      byteTokens: byteTokens, seam: canCut ? Self.seam(vocabulary, merges) : nil)
  }

  private func readMerges(_ vocabulary: Vocabulary) throws -> MergeTable {
    // Most tokens come of one merge.
    var merges = MergeTable(reserving: vocabulary.count)
    var rank: UInt32 = 0
    var joined: [UInt8] = []
    try document.forEachMerge { left, right in
      joined.removeAll(keepingCapacity: true)
      joined.append(contentsOf: left)
      joined.append(contentsOf: right)
      guard let first = vocabulary.id(left), let second = vocabulary.id(right),
        let token = joined.withUnsafeBufferPointer({ vocabulary.id($0) })
      else {
        let pair = "\(String(decoding: left, as: UTF8.self)) \(String(decoding: right, as: UTF8.self))"
        throw refuse("merge \(rank) (\(pair.prefix(60))) names a token that is not in the vocabulary")
      }
      merges.insert(first, second, rank: rank, token: token)
      rank += 1
    }
    return merges
  }

  /// The tokens of single bytes, if all are in the vocabulary and writing bytes as characters is the last step; then
  /// that step is not done at all.
  private static func byteTokens(_ vocabulary: Vocabulary, _ steps: inout [PreTokenizer]) -> [Int32]? {
    guard case .byteCharacters? = steps.last, steps.dropLast().allSatisfy({ !$0.writesByteCharacters }) else {
      return nil
    }
    var tokens: [Int32] = []
    for byte in UInt8.min...UInt8.max {
      let character = withUnsafeBytes(of: byte) { ByteAlphabet.characters(of: $0.bindMemory(to: UInt8.self)) }
      guard let id = character.withUnsafeBufferPointer({ vocabulary.id($0) }) else { return nil }
      tokens.append(id)
    }
    steps.removeLast()
    return tokens
  }

  /// SentencePiece's mark for spaces, if no merge makes a token in which it follows anything else.
  private static func seam(_ vocabulary: Vocabulary, _ merges: MergeTable) -> [UInt8]? {
    let mark: [UInt8] = [0xE2, 0x96, 0x81]
    guard mark.withUnsafeBufferPointer({ vocabulary.id($0) }) != nil else { return nil }
    for token in merges.results {
      guard var rest = vocabulary.text(token) else { return nil }
      while rest.starts(with: mark) { rest = rest.dropFirst(mark.count) }
      while let start = rest.firstIndex(of: mark[0]) {
        if rest[start...].starts(with: mark) { return nil }
        rest = rest[(start + 1)...]
      }
    }
    return mark
  }

  // MARK: the others

  private func wordPiece(_ vocabulary: Vocabulary) throws -> WordPieceModel {
    let model = document.model
    let unknown = model["unk_token"]?.stringValue ?? "[UNK]"
    guard let unknownID = vocabulary.id(unknown) else {
      throw refuse("model.unk_token \(unknown) is not in the vocabulary")
    }
    return WordPieceModel(
      vocabulary: vocabulary, unknownID: unknownID,
      prefix: model["continuing_subword_prefix"]?.stringValue ?? "##",
      longestWord: max(0, model["max_input_chars_per_word"]?.intValue ?? 100))
  }

  private func unigram() throws -> UnigramModel {
    var count = 0
    try document.forEachScoredToken { _, _ in count += 1 }
    if count == 0 { throw refuse("the vocabulary is empty") }
    var vocabulary = Vocabulary(reserving: count)
    var scores: [Double] = []
    try document.forEachScoredToken { token, score in
      vocabulary.insert(token, id: scores.count)
      scores.append(score)
    }
    let unknown = document.model["unk_id"]?.intValue
    if let unknown, unknown < 0 || unknown >= scores.count {
      throw refuse("model.unk_id \(unknown) is not in the vocabulary")
    }
    return UnigramModel(
      vocabulary: vocabulary, scores: scores, unknownID: unknown.map { Int32($0) },
      byteFallback: document.model["byte_fallback"]?.boolValue == true ? Self.byteFallback(vocabulary) : nil)
  }
}
