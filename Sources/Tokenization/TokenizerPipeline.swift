import Formats
import Foundation

/// The parts of a tokenizer, in the order in which text passes through them.
struct TokenizerPipeline: Sendable {
  struct AddedToken: Sendable {
    let id: Int32
    let bytes: [UInt8]
    let stripsLeft: Bool
    let stripsRight: Bool
    let isSingleWord: Bool
  }

  enum Piece {
    case added(Int32)
    case text(String)
  }

  var tokens: [String] = []
  var ids: [String: Int32] = [:]
  var addedIDs: Set<Int32> = []
  var specialIDs: Set<Int32> = []
  var added: [UInt8: [AddedToken]] = [:]
  var normalizers: [Normalizer] = []
  var preTokenizers: [PreTokenizer] = []
  var isByteLevel = false
  var byteFallback: [Int32] = []
  var byteOf: [Int32: UInt8] = [:]
  var byteIDs: [Int32] = []
  var unknownID: Int32?
  var ignoresMerges = false
  var stripsFirstSpace = false
  var prefix: [Int32] = []
  var suffix: [Int32] = []
  var model = BytePairModel(merges: [:])

  /// Cuts out added tokens: the first that occurs, of several at one place the longest.
  func splitAddedTokens(_ text: String, _ body: (Piece) -> Void) {
    if added.isEmpty {
      if !text.isEmpty { body(.text(text)) }
      return
    }
    let bytes = Array(text.utf8)
    var start = 0
    var position = 0
    while position < bytes.count {
      guard let candidates = added[bytes[position]],
        let token = candidates.first(where: { matches($0, bytes, position) })
      else {
        position += 1
        continue
      }
      var end = position
      if token.stripsLeft { while end > start, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[end - 1]) { end -= 1 } }
      if end > start { body(.text(String(decoding: bytes[start..<end], as: UTF8.self))) }
      body(.added(token.id))
      position += token.bytes.count
      if token.stripsRight {
        while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) { position += 1 }
      }
      start = position
    }
    if start < bytes.count { body(.text(String(decoding: bytes[start...], as: UTF8.self))) }
  }

  private func matches(_ token: AddedToken, _ bytes: [UInt8], _ position: Int) -> Bool {
    guard position + token.bytes.count <= bytes.count,
      bytes[position..<position + token.bytes.count].elementsEqual(token.bytes)
    else { return false }
    if !token.isSingleWord { return true }
    func isWord(_ index: Int) -> Bool {
      guard index >= 0, index < bytes.count else { return false }
      let byte = bytes[index]
      return byte >= 0x80 || byte == 0x5F || (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte & 0xDF)
    }
    return !isWord(position - 1) && !isWord(position + token.bytes.count)
  }

  /// Normalises and cuts.
  func words(_ text: String, isFirst: Bool) -> [[UInt32]] {
    var text = text
    var scalars: [UInt32]?
    for normalizer in normalizers {
      switch normalizer {
      case .composed: if !text.utf8.allSatisfy({ $0 < 0x80 }) { text = text.precomposedStringWithCanonicalMapping }
      case .decomposed: text = text.decomposedStringWithCanonicalMapping
      case .compatibilityComposed: text = text.precomposedStringWithCompatibilityMapping
      case .lowercase: text = text.lowercased()
      case .strip(let left, let right):
        var part = text[...]
        if left { part = part.drop { $0.isWhitespace } }
        if right { while part.last?.isWhitespace == true { part.removeLast() } }
        text = String(part)
      case .prepend(let front):
        if !text.isEmpty { scalars = front + (scalars ?? text.unicodeScalars.map(\.value)) }
      case .replace(let pattern, let replacement):
        let current = scalars ?? text.unicodeScalars.map(\.value)
        var replaced: [UInt32] = []
        replaced.reserveCapacity(current.count)
        current.withUnsafeBufferPointer { buffer in
          var position = 0
          while position < buffer.count {
            if let end = pattern.match(buffer, at: position), end > position {
              replaced += replacement
              position = end
            } else {
              replaced.append(buffer[position])
              position += 1
            }
          }
        }
        scalars = replaced
      }
    }
    var words = [scalars ?? text.unicodeScalars.map(\.value)]
    for step in preTokenizers { words = step.apply(words, isFirst: isFirst) }
    return words
  }

  /// The symbols that merging starts from; `whole` if the word is a token that needs no merging.
  func symbols(of word: [UInt32]) -> (ids: [Int32], whole: Int32?) {
    var result: [Int32] = []
    result.reserveCapacity(word.count * 2)
    if isByteLevel {
      for scalar in word {
        guard let unicode = Unicode.Scalar(scalar) else { continue }
        for byte in UTF8Bytes(unicode) { result.append(byteIDs[Int(byte)]) }
      }
      if ignoresMerges {
        var text = String.UnicodeScalarView()
        for scalar in word {
          guard let unicode = Unicode.Scalar(scalar) else { continue }
          for byte in UTF8Bytes(unicode) {
            if let stand = Unicode.Scalar(ByteAlphabet.scalars[Int(byte)]) { text.append(stand) }
          }
        }
        if let whole = ids[String(text)] { return ([], whole) }
      }
      return (result.filter { $0 >= 0 }, nil)
    }
    if ignoresMerges {
      var text = String.UnicodeScalarView()
      text.append(contentsOf: word.compactMap(Unicode.Scalar.init))
      if let whole = ids[String(text)] { return ([], whole) }
    }
    for scalar in word {
      guard let unicode = Unicode.Scalar(scalar) else { continue }
      if let id = ids[String(unicode)] {
        result.append(id)
      } else if !byteFallback.isEmpty {
        for byte in UTF8Bytes(unicode) { result.append(byteFallback[Int(byte)]) }
      } else if let unknownID, result.last != unknownID {
        result.append(unknownID)
      }
    }
    return (result, nil)
  }
}

/// The UTF-8 bytes of a scalar, without memory.
private struct UTF8Bytes: Sequence, IteratorProtocol {
  private var bytes: UInt32
  private var left: Int

  init(_ scalar: Unicode.Scalar) {
    let value = scalar.value
    switch value {
    case 0..<0x80: (bytes, left) = (value, 1)
    case 0x80..<0x800: (bytes, left) = (0xC0 | value >> 6 | (0x80 | value & 0x3F) << 8, 2)
    case 0x800..<0x10000:
      (bytes, left) = (0xE0 | value >> 12 | (0x80 | value >> 6 & 0x3F) << 8 | (0x80 | value & 0x3F) << 16, 3)
    default:
      let low = (0x80 | value >> 6 & 0x3F) << 16 | (0x80 | value & 0x3F) << 24
      (bytes, left) = (0xF0 | value >> 18 | (0x80 | value >> 12 & 0x3F) << 8 | low, 4)
    }
  }

  mutating func next() -> UInt8? {
    if left == 0 { return nil }
    defer {
      bytes >>= 8
      left -= 1
    }
    return UInt8(truncatingIfNeeded: bytes)
  }
}
