/// Tokens by id and ids by token: all texts in one piece of memory, found by hashing with open addressing.
///
/// Memory: the texts, 8 bytes per id and 8 to 16 bytes per token; a vocabulary of 300,000 takes about 8 MB.
struct Vocabulary: Sendable {
  private var texts: [UInt8] = []
  private var starts: [UInt32] = []
  private var lengths: [UInt32] = []
  private var slots: [Int32]
  private var filled = 0

  /// The largest id that is believed; a greater one is a damaged file.
  static let largestID = 4_000_000
  /// The most tokens, or merges of them, that are believed of a file of a kind that is read whole.
  static let mostListed = 1 << 19

  init(reserving count: Int = 0) {
    var size = 64
    while size < count * 2 { size *= 2 }
    slots = Array(repeating: -1, count: size)
    starts.reserveCapacity(count)
    lengths.reserveCapacity(count)
  }

  /// One more than the greatest id.
  var count: Int { starts.count }

  /// Gives `token` the id `id`; the last one given counts.
  mutating func insert(_ token: Bytes, id: Int) {
    while starts.count <= id {
      starts.append(.max)
      lengths.append(0)
    }
    starts[id] = UInt32(texts.count)
    lengths[id] = UInt32(token.count)
    texts.append(contentsOf: token)
    if (filled + 1) * 2 > slots.count { grow() }
    let slot = slot(of: token)
    if slots[slot] < 0 { filled += 1 }
    slots[slot] = Int32(id)
  }

  mutating func insert(_ token: String, id: Int) {
    var token = token
    token.withUTF8 { insert($0, id: id) }
  }

  func id(_ token: Bytes) -> Int32? {
    let id = slots[slot(of: token)]
    return id < 0 ? nil : id
  }

  func id(_ token: String) -> Int32? {
    var token = token
    return token.withUTF8 { id($0) }
  }

  /// The bytes of a token; `nil` for an id that no token has.
  func text(_ id: Int32) -> ArraySlice<UInt8>? {
    guard id >= 0, Int(id) < starts.count, starts[Int(id)] != .max else { return nil }
    let start = Int(starts[Int(id)])
    return texts[start..<start + Int(lengths[Int(id)])]
  }

  func byteCount(_ id: Int32) -> Int { Int(lengths[Int(id)]) }

  func byte(_ id: Int32, at position: Int) -> UInt8 { texts[Int(starts[Int(id)]) + position] }

  /// The ids by which tokens are found, in the order of their bytes.
  func sortedIDs() -> [Int32] {
    texts.withUnsafeBufferPointer { texts in
      slots.filter { $0 >= 0 }.sorted { a, b in
        let (left, right) = (Int(starts[Int(a)]), Int(starts[Int(b)]))
        let (leftCount, rightCount) = (Int(lengths[Int(a)]), Int(lengths[Int(b)]))
        for index in 0..<min(leftCount, rightCount) where texts[left + index] != texts[right + index] {
          return texts[left + index] < texts[right + index]
        }
        return leftCount < rightCount
      }
    }
  }

  private func slot(of token: Bytes) -> Int {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hash(token)) & mask
    while slots[slot] >= 0, !matches(slots[slot], token) { slot = (slot + 1) & mask }
    return slot
  }

  private func matches(_ id: Int32, _ token: Bytes) -> Bool {
    guard Int(lengths[Int(id)]) == token.count else { return false }
    let start = Int(starts[Int(id)])
    return texts.withUnsafeBufferPointer { texts in
      for index in 0..<token.count where texts[start + index] != token[index] { return false }
      return true
    }
  }

  private mutating func grow() {
    let old = slots
    slots = Array(repeating: -1, count: old.count * 2)
    for id in old where id >= 0 {
      let start = Int(starts[Int(id)])
      let length = Int(lengths[Int(id)])
      let place = texts.withUnsafeBufferPointer { slot(of: $0.part(start..<start + length)) }
      slots[place] = id
    }
  }
}

/// A hash of some bytes, eight at a time; good enough for tables, not against adversaries.
@inline(__always) func hash(_ bytes: Bytes) -> UInt64 {
  var state = 0x9E37_79B9_7F4A_7C15 ^ UInt64(bytes.count)
  let raw = UnsafeRawBufferPointer(bytes)
  var position = 0
  while position + 8 <= raw.count {
    state = mix(state ^ raw.loadUnaligned(fromByteOffset: position, as: UInt64.self))
    position += 8
  }
  if position < raw.count {
    var tail: UInt64 = 0
    while position < raw.count {
      tail = tail << 8 | UInt64(raw[position])
      position += 1
    }
    state = mix(state ^ tail)
  }
  return state ^ state >> 32
}

/// Spreads the bits of a number: the two halves of a wide product.
@inline(__always) func mix(_ value: UInt64) -> UInt64 {
  let (high, low) = value.multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
  return high ^ low
}
