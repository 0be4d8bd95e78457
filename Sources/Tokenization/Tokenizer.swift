import Synchronization

/// Text to token ids and back, as `tokenizer.json` describes it.
///
/// Format: the serialisation of Hugging Face's `tokenizers` library, with models of type BPE, WordPiece and Unigram; ids,
/// texts and places are the same as that library's. May be used from several threads at once.
public final class Tokenizer: Sendable {
  let pipeline: TokenizerPipeline
  /// One more than the greatest id, added tokens included.
  public let vocabularySize: Int
  /// The id of `bos_token`, where `tokenizer_config.json` names one.
  public let bosTokenID: Int32?
  /// The id of `eos_token`, where `tokenizer_config.json` names one.
  public let eosTokenID: Int32?
  /// The id of `unk_token`, where `tokenizer_config.json` names one.
  public let unknownTokenID: Int32?
  /// The id of `pad_token`, where `tokenizer_config.json` names one.
  public let padTokenID: Int32?
  /// How the model writes conversations.
  public let chatTemplate: ChatTemplate?
  /// Encoders that no call is using.
  private let idleEncoders = Mutex<[TextEncoder]>([])

  init(pipeline: TokenizerPipeline, tokens: [String: String], chatTemplate: ChatTemplate?) {
    self.pipeline = pipeline
    self.chatTemplate = chatTemplate
    vocabularySize = pipeline.vocabularySize
    func id(_ name: String) -> Int32? { tokens[name].flatMap { pipeline.id($0) } }
    bosTokenID = id("bos_token")
    eosTokenID = id("eos_token")
    unknownTokenID = id("unk_token")
    padTokenID = id("pad_token")
  }

  /// The token with this id, as the vocabulary writes it.
  public func token(_ id: Int32) -> String? { bytes(of: id).map { String(decoding: $0, as: UTF8.self) } }

  /// The id of a token, written as in the vocabulary.
  public func tokenID(_ token: String) -> Int32? { pipeline.id(token) }

  /// Whether decoding may leave this token out.
  public func isSpecial(_ id: Int32) -> Bool { pipeline.specialIDs.contains(id) }

  private func bytes(of id: Int32) -> [UInt8]? {
    if let added = pipeline.addedTokens[id] { return Array(added.utf8) }
    return pipeline.model.vocabulary.text(id).map { Array($0) }
  }

  /// The ids of a text. Special tokens that the text spells out are found in either case.
  /// - Parameters:
  ///   - addSpecialTokens: whether the tokens that the tokenizer itself puts around a text are added
  ///   - continuing: whether the text goes on from another one, so that no space and no token is put before it
  public func encode(_ text: String, addSpecialTokens: Bool = true, continuing: Bool = false) -> [Int32] {
    var text = text
    let ids = text.withUTF8 { text in withEncoder { $0.encode(text, continuing: continuing) } }
    guard addSpecialTokens, pipeline.hasSpecialTokens else { return ids }
    return (continuing ? [] : pipeline.prefix) + ids + pipeline.suffix
  }

  func withEncoder<Result>(_ body: (TextEncoder) -> Result) -> Result {
    let encoder = idleEncoders.withLock { $0.popLast() } ?? TextEncoder(pipeline)
    defer { idleEncoders.withLock { $0.append(encoder) } }
    return body(encoder)
  }

  /// The ids of a text that something will follow: with what the tokenizer puts before a text, not what it puts after.
  public func encodeStart(_ text: String) -> [Int32] { pipeline.prefix + encode(text, addSpecialTokens: false) }

  /// The text of some ids; bytes that are not UTF-8 become U+FFFD, ids without a token nothing.
  /// - Parameter skipSpecialTokens: whether special tokens are left out
  public func decode(_ ids: [Int32], skipSpecialTokens: Bool = false) -> String {
    let kept = skipSpecialTokens ? ids.filter { !pipeline.specialIDs.contains($0) } : ids
    guard pipeline.decoder.isByteLevel else {
      return String(decoding: pipeline.decoder.decode(kept.compactMap { bytes(of: $0) }), as: UTF8.self)
    }
    var result: [UInt8] = []
    for id in kept { result += plainBytes(id) }
    return String(decoding: result, as: UTF8.self)
  }

  /// The bytes that one token within a text stands for, which may be a part of a character only.
  public func bytes(decoding id: Int32) -> [UInt8] {
    if pipeline.decoder.isByteLevel { return plainBytes(id) }
    if let byte = fallbackByte(id) { return [byte] }
    // The first token of a text may lose its space.
    let (one, two) = (decode([id]).utf8, decode([id, id]).utf8)
    return Array(two.starts(with: one) ? two.dropFirst(one.count) : one[...])
  }

  /// The byte that a token like `<0x0A>` stands for, if the decoder reads such tokens.
  func fallbackByte(_ id: Int32) -> UInt8? {
    guard pipeline.decoder.readsByteTokens, let token = pipeline.model.vocabulary.text(id), token.count == 6 else {
      return nil
    }
    return TokenDecoder.byte(of: Array(token))
  }

  /// The bytes that one token of a byte-level tokenizer stands for.
  func plainBytes(_ id: Int32) -> [UInt8] {
    guard let token = bytes(of: id) else { return [] }
    return token.withUnsafeBufferPointer { ByteAlphabet.bytes(of: $0) } ?? token
  }
}
