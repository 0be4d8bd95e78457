/// Unigram: of all ways to cut a word into tokens, the one whose scores add up to most.
///
/// Source: Kudo 2018, arXiv 1804.10959; Viterbi's algorithm, details as in the `tokenizers` library.
struct UnigramModel: Sendable {
  let vocabulary: Vocabulary
  /// Logarithms of probabilities by id.
  private let scores: [Double]
  let unknownID: Int32?
  /// The tokens `<0x00>` ... `<0xFF>`, if unknown characters are written in bytes; -1 where one is missing.
  let byteFallback: [Int32]?
  private let trie: TokenTrie
  private let unknownScore: Double
  /// How much less than the least token an unknown character counts.
  private static let unknownPenalty = 10.0

  init(vocabulary: Vocabulary, scores: [Double], unknownID: Int32?, byteFallback: [Int32]?) {
    self.vocabulary = vocabulary
    self.scores = scores
    self.unknownID = unknownID
    self.byteFallback = byteFallback
    trie = TokenTrie(vocabulary)
    unknownScore = (scores.min() ?? 0) - Self.unknownPenalty
  }

  /// The best way to cut a word up to some place.
  struct Step: Sendable {
    var score = 0.0
    /// Where the last token starts, or -1 as long as no way leads here.
    var start: Int32 = -1
    var id: Int32 = -1
  }

  /// Appends the tokens of `word`.
  func encode(_ word: Bytes, _ scratch: inout ModelScratch, into output: inout [Int32]) {
    findBest(word, &scratch.steps)
    let first = output.count
    let firstSpan = scratch.spans.count
    var end = word.count
    while end > 0 {
      var start = Int(scratch.steps[end].start)
      let id = scratch.steps[end].id
      if id < 0 || id == unknownID {
        // Unknown characters side by side are one token.
        while start > 0, scratch.steps[start].id < 0 || scratch.steps[start].id == unknownID {
          start = Int(scratch.steps[start].start)
        }
        appendUnknown(word, start..<end, &scratch, into: &output)
      } else {
        output.append(id)
        scratch.note(start..<end)
      }
      end = start
    }
    Self.reverse(&output, from: first)
    Self.reverse(&scratch.spans, from: firstSpan)
  }

  private static func reverse<Element>(_ values: inout [Element], from start: Int) {
    var (low, high) = (start, values.count - 1)
    while low < high {
      values.swapAt(low, high)
      low += 1
      high -= 1
    }
  }

  private func findBest(_ word: Bytes, _ steps: inout [Step]) {
    steps.removeAll(keepingCapacity: true)
    steps.append(contentsOf: repeatElement(Step(), count: word.count + 1))
    steps.withUnsafeMutableBufferPointer { steps in
      var start = 0
      while start < word.count {
        let here = steps[start].score
        let length = word.scalar(at: start).length
        func reach(_ end: Int, _ score: Double, _ id: Int32) {
          if steps[end].start < 0 || score > steps[end].score {
            steps[end] = Step(score: score, start: Int32(start), id: id)
          }
        }
        var hasSingle = false
        var node = TokenTrie.root
        var end = start
        while end < word.count, let next = trie.child(of: node, word[end]) {
          node = next
          end += 1
          let id = trie.token(at: node)
          if id >= 0 {
            reach(end, scores[Int(id)] + here, id)
            if end == start + length { hasSingle = true }
          }
        }
        if !hasSingle { reach(start + length, unknownScore + here, unknownID ?? -1) }
        start += length
      }
    }
  }

  private func appendUnknown(
    _ word: Bytes, _ range: Range<Int>, _ scratch: inout ModelScratch, into output: inout [Int32]
  ) {
    let part = word.part(range)
    if let id = vocabulary.id(part) {
      output.append(id)
    } else if let byteFallback, part.allSatisfy({ byteFallback[Int($0)] >= 0 }) {
      // From the end, as everything here.
      for byte in part.reversed() {
        output.append(byteFallback[Int(byte)])
        scratch.note(range)
      }
      return
    } else if let unknownID {
      output.append(unknownID)
    } else {
      return
    }
    scratch.note(range)
  }
}
