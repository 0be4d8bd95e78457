import Formats
import Foundation
import Synchronization

/// Text to token ids and back, as `tokenizer.json` describes it.
///
/// Format: the serialisation of Hugging Face's `tokenizers` library; models of type BPE.
public final class Tokenizer: Sendable {
  let pipeline: TokenizerPipeline
  /// Number of ids, added tokens included.
  public var vocabularySize: Int { pipeline.tokens.count }
  public let bosTokenID: Int32?
  public let eosTokenID: Int32?
  public let chatTemplate: ChatTemplate?
  private let cache = Mutex<[ShortWord: [Int32]]>([:])
  private static let cacheLimit = 50_000

  init(pipeline: TokenizerPipeline, bosTokenID: Int32?, eosTokenID: Int32?, chatTemplate: ChatTemplate?) {
    self.pipeline = pipeline
    self.bosTokenID = bosTokenID
    self.eosTokenID = eosTokenID
    self.chatTemplate = chatTemplate
  }

  public func token(_ id: Int32) -> String? { id >= 0 && id < pipeline.tokens.count ? pipeline.tokens[Int(id)] : nil }

  public func tokenID(_ token: String) -> Int32? { pipeline.ids[token] }

  /// - Parameter addSpecialTokens: whether the tokenizer's own beginning and end are added, and no others
  public func encode(_ text: String, addSpecialTokens: Bool = true) -> [Int32] {
    var result: [Int32] = addSpecialTokens ? pipeline.prefix : []
    cache.withLock { cache in
      if cache.count > Self.cacheLimit { cache.removeAll(keepingCapacity: true) }
      var isFirst = true
      pipeline.splitAddedTokens(text) { piece in
        switch piece {
        case .added(let id): result.append(id)
        case .text(let part):
          for word in pipeline.words(part, isFirst: isFirst) { encode(word, into: &result, cache: &cache) }
        }
        isFirst = false
      }
    }
    if addSpecialTokens { result += pipeline.suffix }
    return result
  }

  private func encode(_ word: [UInt32], into result: inout [Int32], cache: inout [ShortWord: [Int32]]) {
    let key = ShortWord(word)
    if let key, let known = cache[key] {
      result += known
      return
    }
    var symbols = pipeline.symbols(of: word)
    if let whole = symbols.whole {
      symbols.ids = [whole]
    } else {
      pipeline.model.merge(&symbols.ids)
    }
    if let key { cache[key] = symbols.ids }
    result += symbols.ids
  }

  public func decode(_ ids: [Int32], skipSpecialTokens: Bool = false) -> String {
    String(decoding: decodeBytes(ids, skipSpecialTokens: skipSpecialTokens, isStart: true), as: UTF8.self)
  }

  /// The bytes behind some ids.
  /// - Parameter isStart: whether a text starts here, whose first space some tokenizers add when encoding
  func decodeBytes(_ ids: [Int32], skipSpecialTokens: Bool, isStart: Bool) -> [UInt8] {
    var bytes: [UInt8] = []
    for id in ids where !(skipSpecialTokens && pipeline.specialIDs.contains(id)) {
      guard let token = token(id) else { continue }
      if pipeline.addedIDs.contains(id) {
        bytes += Array(token.utf8)
      } else if pipeline.isByteLevel {
        for scalar in token.unicodeScalars {
          if let byte = ByteAlphabet.bytes[scalar.value] {
            bytes.append(byte)
          } else {
            bytes += Array(String(scalar).utf8)
          }
        }
      } else if let byte = pipeline.byteOf[id] {
        bytes.append(byte)
      } else {
        bytes += Array(token.replacingOccurrences(of: "\u{2581}", with: " ").utf8)
      }
    }
    if isStart, pipeline.stripsFirstSpace, bytes.first == 0x20 { bytes.removeFirst() }
    return bytes
  }
}

/// A word of up to 15 Latin-1 characters in two machine words: a key without memory of its own.
private struct ShortWord: Hashable {
  let first: UInt64
  let second: UInt64

  init?(_ word: [UInt32]) {
    guard word.count <= 15 else { return nil }
    var halves: (UInt64, UInt64) = (0, UInt64(word.count) << 56)
    for (index, scalar) in word.enumerated() {
      if scalar > 0xFF { return nil }
      if index < 8 {
        halves.0 |= UInt64(scalar) << (8 * UInt64(index))
      } else {
        halves.1 |= UInt64(scalar) << (8 * UInt64(index - 8))
      }
    }
    (first, second) = halves
  }
}

/// Turns ids into text as they come, holding back bytes that do not make a whole character yet.
public struct StreamingDecoder {
  private let tokenizer: Tokenizer
  private var pending: [UInt8] = []
  private var isStart = true

  public init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

  /// The text that `id` completes; special tokens give none.
  public mutating func append(_ id: Int32) -> String {
    pending += tokenizer.decodeBytes([id], skipSpecialTokens: true, isStart: isStart)
    if !pending.isEmpty { isStart = false }
    var complete = pending.count
    // The start of a character of n bytes lies at most n - 1 bytes before the end.
    for back in 1...min(4, max(pending.count, 1)) where back <= pending.count {
      let byte = pending[pending.count - back]
      if byte & 0xC0 == 0x80 { continue }
      let length = byte < 0x80 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2
      if length > back { complete = pending.count - back }
      break
    }
    defer { pending.removeFirst(complete) }
    return String(decoding: pending[0..<complete], as: UTF8.self)
  }

  /// What is left at the end.
  public mutating func finish() -> String {
    defer { pending = [] }
    return String(decoding: pending, as: UTF8.self)
  }
}
