/// Byte-pair encoding: neighbouring symbols are merged, the pair with the lowest rank first.
///
/// Source: Sennrich et al. 2015, arXiv 1508.07909, with the details of the `tokenizers` library.
struct BytePairModel: Sendable {
  private let merges: [UInt64: UInt64]  // pair of ids -> rank << 32 | id of the merged token

  init(merges: [UInt64: UInt64]) { self.merges = merges }

  static func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  /// Merges symbols until no pair is known.
  func merge(_ symbols: inout [Int32]) {
    if symbols.count > 48 { mergeLong(&symbols) } else { mergeShort(&symbols) }
  }

  private func mergeShort(_ symbols: inout [Int32]) {
    while symbols.count > 1 {
      var best = UInt64.max
      var place = 0
      for index in 0..<symbols.count - 1 {
        if let merge = merges[Self.key(symbols[index], symbols[index + 1])], merge < best {
          best = merge
          place = index
        }
      }
      if best == .max { return }
      symbols[place] = Int32(truncatingIfNeeded: best)
      symbols.remove(at: place + 1)
    }
  }

  private struct Candidate {
    let merge: UInt64
    let place: Int
    let right: Int32
    func precedes(_ other: Candidate) -> Bool {
      let rank = merge >> 32
      let otherRank = other.merge >> 32
      return rank != otherRank ? rank < otherRank : place < other.place
    }
  }

  /// A heap of pairs over a linked list: `n log n` also for a whole text that is one word.
  private func mergeLong(_ symbols: inout [Int32]) {
    var next = (0..<symbols.count).map { $0 + 1 }
    var previous = (0..<symbols.count).map { $0 - 1 }
    let count = symbols.count
    var heap: [Candidate] = []
    func push(_ place: Int) {
      guard place >= 0, next[place] < count else { return }
      let right = symbols[next[place]]
      guard let merge = merges[Self.key(symbols[place], right)] else { return }
      heap.append(Candidate(merge: merge, place: place, right: right))
      var child = heap.count - 1
      while child > 0, heap[child].precedes(heap[(child - 1) / 2]) {
        heap.swapAt(child, (child - 1) / 2)
        child = (child - 1) / 2
      }
    }
    func pop() -> Candidate? {
      guard let top = heap.first else { return nil }
      let last = heap.removeLast()
      if heap.isEmpty { return top }
      heap[0] = last
      var parent = 0
      while true {
        var least = parent
        for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
          if heap[child].precedes(heap[least]) { least = child }
        }
        if least == parent { return top }
        heap.swapAt(parent, least)
        parent = least
      }
    }
    for place in 0..<count { push(place) }
    while let candidate = pop() {
      let place = candidate.place
      // What it was made for may be gone: the left symbol merged away or changed, or the right one.
      guard symbols[place] >= 0, next[place] < count, symbols[next[place]] == candidate.right,
        merges[Self.key(symbols[place], candidate.right)] == candidate.merge
      else { continue }
      let right = next[place]
      symbols[place] = Int32(truncatingIfNeeded: candidate.merge)
      symbols[right] = -1
      next[place] = next[right]
      if next[right] < count { previous[next[right]] = place }
      push(previous[place])
      push(place)
    }
    symbols.removeAll { $0 < 0 }
  }
}

/// GPT-2's printable stand-ins for bytes.
enum ByteAlphabet {
  static let scalars: [UInt32] = {
    var table = [UInt32](repeating: 0, count: 256)
    var next: UInt32 = 256
    for byte in 0..<256 {
      if (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte) {
        table[byte] = UInt32(byte)
      } else {
        table[byte] = next
        next += 1
      }
    }
    return table
  }()

  static let bytes: [UInt32: UInt8] = Dictionary(
    uniqueKeysWithValues: scalars.enumerated().map { ($1, UInt8($0)) })
}
