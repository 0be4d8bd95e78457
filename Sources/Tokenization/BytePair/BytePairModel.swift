/// Byte-pair encoding: a word is taken as a row of small tokens, and neighbours are merged, best pair first, until no
/// pair is left that the merges know.
///
/// Source: Sennrich, Haddow & Birch 2016, arXiv 1508.07909; details as in the `tokenizers` library.
struct BytePairModel: Sendable {
  let vocabulary: Vocabulary
  let merges: MergeTable
  /// What a character becomes that is no token; `nil` drops it.
  let unknownID: Int32?
  /// Whether neighbouring unknown characters are one unknown token.
  let fusesUnknown: Bool
  /// The tokens `<0x00>` ... `<0xFF>`, if unknown characters are written in bytes; -1 where one is missing.
  let byteFallback: [Int32]?
  /// Whether a word that is a token is not split at all.
  let ignoresMerges: Bool
  /// The tokens of single bytes, if words are given as bytes and not as characters of `ByteAlphabet`.
  let byteTokens: [Int32]?
  /// A character at whose start a word may be cut, as no merge reaches across; `nil` if there is none.
  let seam: [UInt8]?

  /// Appends the tokens of `word`.
  func encode(_ word: Bytes, _ scratch: inout ModelScratch, into output: inout [Int32]) {
    if ignoresMerges, let id = wholeWord(word) {
      output.append(id)
      scratch.note(0..<word.count)
      return
    }
    scratch.merging.ids.removeAll(keepingCapacity: true)
    scratch.merging.lengths.removeAll(keepingCapacity: true)
    if let byteTokens {
      for byte in word { scratch.merging.ids.append(byteTokens[Int(byte)]) }
      if scratch.notesSpans { scratch.merging.lengths.append(contentsOf: repeatElement(1, count: word.count)) }
    } else {
      appendCharacters(word, to: &scratch.merging)
    }
    let symbols = scratch.notesSpans ? scratch.merging.ids : []
    if scratch.merging.ids.count > 1 {
      if scratch.merging.ids.count <= MergeScratch.shortWord {
        mergeShort(&scratch.merging)
      } else {
        mergeLong(&scratch.merging)
      }
    }
    output += scratch.merging.ids
    if scratch.notesSpans { noteSpans(symbols, &scratch) }
  }

  /// The places of the merged tokens: each is made of as many of the first ones as make up its text.
  private func noteSpans(_ symbols: [Int32], _ scratch: inout ModelScratch) {
    var symbol = 0
    var position = 0
    for id in scratch.merging.ids {
      var rest = vocabulary.byteCount(id)
      let start = position
      repeat {
        guard symbol < symbols.count else { break }
        rest -= vocabulary.byteCount(symbols[symbol])
        position += scratch.merging.lengths[symbol]
        symbol += 1
      } while rest > 0
      scratch.note(start..<position)
    }
  }

  private func wholeWord(_ word: Bytes) -> Int32? {
    if byteTokens == nil { return vocabulary.id(word) }
    return ByteAlphabet.characters(of: word).withUnsafeBufferPointer { vocabulary.id($0) }
  }

  private func appendCharacters(_ word: Bytes, to scratch: inout MergeScratch) {
    var position = 0
    var unknownLength = 0
    func flush() {
      if unknownLength > 0, let unknownID {
        scratch.ids.append(unknownID)
        scratch.lengths.append(unknownLength)
      }
      unknownLength = 0
    }
    while position < word.count {
      let length = word.scalar(at: position).length
      let character = word.part(position..<position + length)
      position += length
      if let id = vocabulary.id(character) {
        flush()
        scratch.ids.append(id)
        scratch.lengths.append(length)
        continue
      }
      if let byteFallback, character.allSatisfy({ byteFallback[Int($0)] >= 0 }) {
        for byte in character {
          scratch.ids.append(byteFallback[Int(byte)])
          scratch.lengths.append(1)
        }
        continue
      }
      if !fusesUnknown { flush() }
      unknownLength += unknownID != nil ? length : 0
    }
    flush()
  }

  /// Looks for the best pair again after each merge: quadratic, but fastest for a few tokens.
  private func mergeShort(_ scratch: inout MergeScratch) {
    scratch.ranks.removeAll(keepingCapacity: true)
    var count = scratch.ids.count
    for index in 1..<count { scratch.ranks.append(merges.merge(scratch.ids[index - 1], scratch.ids[index]).rank) }
    scratch.ids.withUnsafeMutableBufferPointer { ids in
      scratch.ranks.withUnsafeMutableBufferPointer { ranks in
        while count > 1 {
          var best = 0
          for index in 1..<max(count - 1, 1) where ranks[index] < ranks[best] { best = index }
          if ranks[best] == MergeTable.none { break }
          ids[best] = merges.merge(ids[best], ids[best + 1]).token
          count -= 1
          var index = best + 1
          while index < count {
            ids[index] = ids[index + 1]
            ranks[index - 1] = ranks[index]
            index += 1
          }
          if best > 0 { ranks[best - 1] = merges.merge(ids[best - 1], ids[best]).rank }
          if best + 1 < count { ranks[best] = merges.merge(ids[best], ids[best + 1]).rank }
        }
      }
    }
    scratch.ids.removeLast(scratch.ids.count - count)
  }

  /// Keeps the pairs in a heap: n log n.
  private func mergeLong(_ scratch: inout MergeScratch) {
    let count = scratch.ids.count
    scratch.next = Array(1...UInt32(count))
    scratch.previous = (0..<UInt32(count)).map { $0 == 0 ? 0 : $0 - 1 }
    scratch.heap.removeAll()
    for index in 1..<count {
      let merge = merges.merge(scratch.ids[index - 1], scratch.ids[index])
      if merge.rank != MergeTable.none { scratch.heap.insert(rank: merge.rank, position: UInt32(index - 1)) }
    }
    let gone: Int32 = -1
    while let (rank, position) = scratch.heap.popFirst() {
      let left = Int(position)
      guard scratch.ids[left] != gone else { continue }
      let right = Int(scratch.next[left])
      guard right < count else { continue }
      let merge = merges.merge(scratch.ids[left], scratch.ids[right])
      // A pair that has changed since it was put into the heap is there again with its own rank.
      guard merge.rank == rank else { continue }
      scratch.ids[left] = merge.token
      scratch.ids[right] = gone
      let after = Int(scratch.next[right])
      scratch.next[left] = UInt32(after)
      if after < count {
        scratch.previous[after] = position
        let following = merges.merge(scratch.ids[left], scratch.ids[after])
        if following.rank != MergeTable.none { scratch.heap.insert(rank: following.rank, position: position) }
      }
      if left > 0 {
        let before = scratch.previous[left]
        let preceding = merges.merge(scratch.ids[Int(before)], scratch.ids[left])
        if preceding.rank != MergeTable.none { scratch.heap.insert(rank: preceding.rank, position: before) }
      }
    }
    scratch.ids.removeAll { $0 == gone }
    scratch.release()
  }
}

/// Room for the merging of a word, kept from one word to the next.
struct MergeScratch: Sendable {
  /// Longer words are merged with a heap.
  static let shortWord = 40

  var ids: [Int32] = []
  /// How many bytes of the word each token stands for before merging.
  var lengths: [Int] = []
  var ranks: [UInt32] = []
  var next: [UInt32] = []
  var previous: [UInt32] = []
  var heap = RankHeap()

  /// Gives back what a very long word needed.
  mutating func release() {
    next = []
    previous = []
    if heap.capacity > 100_000 { heap = RankHeap() }
  }
}

/// Places of pairs, lowest rank first, then leftmost.
struct RankHeap: Sendable {
  private var entries: [UInt64] = []

  var capacity: Int { entries.capacity }

  mutating func removeAll() { entries.removeAll(keepingCapacity: true) }

  mutating func insert(rank: UInt32, position: UInt32) {
    let entry = UInt64(rank) << 32 | UInt64(position)
    entries.append(entry)
    var child = entries.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      if entries[parent] <= entry { break }
      entries[child] = entries[parent]
      child = parent
    }
    entries[child] = entry
  }

  mutating func popFirst() -> (rank: UInt32, position: UInt32)? {
    guard let first = entries.first, let last = entries.popLast() else { return nil }
    if !entries.isEmpty {
      var hole = 0
      while true {
        var child = hole * 2 + 1
        if child >= entries.count { break }
        if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
        if entries[child] >= last { break }
        entries[hole] = entries[child]
        hole = child
      }
      entries[hole] = last
    }
    return (UInt32(first >> 32), UInt32(truncatingIfNeeded: first))
  }
}
