/// WordPiece: a word is cut from its start into the longest tokens there are; what continues a word is marked.
///
/// Source: Wu et al. 2016, arXiv 1609.08144, as BERT uses it; details as in the `tokenizers` library.
struct WordPieceModel: Sendable {
  let vocabulary: Vocabulary
  let unknownID: Int32
  /// Words of more characters are unknown as a whole.
  let longestWord: Int
  private let trie: TokenTrie
  /// Where tokens that continue a word start in the trie.
  private let continuation: Int?

  init(vocabulary: Vocabulary, unknownID: Int32, prefix: String, longestWord: Int) {
    self.vocabulary = vocabulary
    self.unknownID = unknownID
    self.longestWord = longestWord
    trie = TokenTrie(vocabulary)
    continuation = trie.node(prefix.utf8)
  }

  /// Appends the tokens of `word`.
  func encode(_ word: Bytes, _ scratch: inout ModelScratch, into output: inout [Int32]) {
    let start = output.count
    if word.count > longestWord, word.count(where: { $0 & 0xC0 != 0x80 }) > longestWord {
      return unknown(word, &scratch, into: &output)
    }
    var position = 0
    while position < word.count {
      guard let first = position == 0 ? TokenTrie.root : continuation, let (id, end) = longest(word, position, first)
      else {
        scratch.forget(output.count - start)
        output.removeLast(output.count - start)
        return unknown(word, &scratch, into: &output)
      }
      output.append(id)
      scratch.note(position..<end)
      position = end
    }
  }

  private func longest(_ word: Bytes, _ start: Int, _ first: Int) -> (Int32, end: Int)? {
    var node = first
    var best: (Int32, end: Int)?
    var position = start
    while position < word.count, let next = trie.child(of: node, word[position]) {
      node = next
      position += 1
      let token = trie.token(at: node)
      if token >= 0 { best = (token, position) }
    }
    return best
  }

  private func unknown(_ word: Bytes, _ scratch: inout ModelScratch, into output: inout [Int32]) {
    output.append(unknownID)
    scratch.note(0..<word.count)
  }
}
