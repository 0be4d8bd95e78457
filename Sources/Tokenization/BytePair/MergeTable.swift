/// Which pairs of tokens become one, and in which order: a hash table with open addressing.
///
/// Memory: 16 bytes per slot, at most three quarters of them used; 150,000 merges take 4 MB, 50,000 take 2 MB. Four slots
/// share a line of the cache, so looking a little further costs little.
struct MergeTable: Sendable {
  /// A merge: of several that are possible, the one with the lowest rank is done first.
  struct Merge: Sendable {
    let rank: UInt32
    let token: Int32
  }

  /// The rank of pairs that are not merged.
  static let none = UInt32.max

  private struct Slot: Sendable {
    var pair: UInt64
    var rank: UInt32
    var token: Int32
  }

  private static let empty = UInt64.max
  private var slots: [Slot]
  private var filled = 0

  init(reserving count: Int = 0) {
    var size = 64
    while size * 3 < count * 4 { size *= 2 }
    slots = Array(repeating: Slot(pair: Self.empty, rank: Self.none, token: -1), count: size)
  }

  /// A pair that is given twice has the rank of the second time.
  mutating func insert(_ left: Int32, _ right: Int32, rank: UInt32, token: Int32) {
    if (filled + 1) * 4 > slots.count * 3 { grow() }
    let pair = Self.pair(left, right)
    let slot = slot(of: pair)
    if slots[slot].pair == Self.empty { filled += 1 }
    slots[slot] = Slot(pair: pair, rank: rank, token: token)
  }

  @inline(__always) func merge(_ left: Int32, _ right: Int32) -> Merge {
    let slot = slot(of: Self.pair(left, right))
    return Merge(rank: slots[slot].rank, token: slots[slot].token)
  }

  /// All tokens that come of merging.
  var results: some Sequence<Int32> { slots.lazy.filter { $0.pair != Self.empty }.map(\.token) }

  @inline(__always) private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  @inline(__always) private func slot(of pair: UInt64) -> Int {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: mix(pair)) & mask
    while slots[slot].pair != pair, slots[slot].pair != Self.empty { slot = (slot + 1) & mask }
    return slot
  }

  private mutating func grow() {
    let old = slots
    slots = Array(repeating: Slot(pair: Self.empty, rank: Self.none, token: -1), count: old.count * 2)
    for entry in old where entry.pair != Self.empty { slots[slot(of: entry.pair)] = entry }
  }
}
