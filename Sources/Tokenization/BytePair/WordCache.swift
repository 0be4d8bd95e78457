/// The tokens of words that were met before.
///
/// Each word has one slot, by its hash, and the last one there stays. Memory: at most about 4 MB.
struct WordCache: Sendable {
  private struct Slot: Sendable {
    var check: UInt32 = 0
    var textStart: UInt32 = 0
    var tokenStart: UInt32 = 0
    var textCount: UInt16 = 0
    var tokenCount: UInt16 = 0
  }

  /// Longer words seldom come again.
  static let longestWord = 48
  private static let slotCount = 1 << 16
  private static let textLimit = 1 << 20
  private static let tokenLimit = 1 << 18

  private var slots = Array(repeating: Slot(), count: slotCount)
  private var texts: [UInt8] = []
  private var tokens: [Int32] = []

  /// Appends the tokens of a word, if they are known.
  @inline(__always) func find(_ word: Bytes, hash: UInt64, into output: inout [Int32]) -> Bool {
    let slot = slots[Int(truncatingIfNeeded: hash) & (Self.slotCount - 1)]
    guard slot.check == UInt32(truncatingIfNeeded: hash >> 32), Int(slot.textCount) == word.count else { return false }
    let start = Int(slot.textStart)
    let isSame = texts.withUnsafeBufferPointer { texts in
      for index in 0..<word.count where texts[start + index] != word[index] { return false }
      return true
    }
    guard isSame else { return false }
    let first = Int(slot.tokenStart)
    for index in first..<first + Int(slot.tokenCount) { output.append(tokens[index]) }
    return true
  }

  mutating func insert(_ word: Bytes, hash: UInt64, _ ids: ArraySlice<Int32>) {
    if texts.count + word.count > Self.textLimit || tokens.count + ids.count > Self.tokenLimit {
      for index in slots.indices { slots[index] = Slot() }
      texts.removeAll(keepingCapacity: true)
      tokens.removeAll(keepingCapacity: true)
    }
    slots[Int(truncatingIfNeeded: hash) & (Self.slotCount - 1)] = Slot(
      check: UInt32(truncatingIfNeeded: hash >> 32), textStart: UInt32(texts.count), tokenStart: UInt32(tokens.count),
      textCount: UInt16(word.count), tokenCount: UInt16(ids.count))
    texts.append(contentsOf: word)
    tokens.append(contentsOf: ids)
  }
}
