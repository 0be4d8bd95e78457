/// The tokens of a vocabulary as a tree of bytes, to find all tokens that a text starts with.
///
/// The children of a node lie side by side, in the order of their bytes. Memory: 9 bytes per node; the 250,000 tokens of a
/// multilingual vocabulary make some 700,000 nodes.
struct TokenTrie: Sendable {
  /// The token that ends at each node, or -1.
  private var tokens: [Int32] = [-1]
  private var labels: [UInt8] = [0]
  /// Where the children of each node start; those of the next node start where they end.
  private var firstChild: [UInt32] = [0]
  /// The children of the root by their byte, or 0.
  private var roots = [UInt32](repeating: 0, count: 256)

  static let root = 0

  init(_ vocabulary: Vocabulary) {
    let ids = vocabulary.sortedIDs()
    // Level by level: each node is a range of the sorted tokens that share so many bytes.
    var level: [Range<Int>] = [0..<ids.count]
    var nodes = [0]
    var depth = 0
    while !level.isEmpty {
      var nextLevel: [Range<Int>] = []
      var nextNodes: [Int] = []
      for (range, node) in zip(level, nodes) {
        firstChild[node] = UInt32(labels.count)
        var start = range.lowerBound
        while start < range.upperBound, vocabulary.byteCount(ids[start]) == depth {
          tokens[node] = ids[start]
          start += 1
        }
        while start < range.upperBound {
          let byte = vocabulary.byte(ids[start], at: depth)
          var end = start + 1
          while end < range.upperBound, vocabulary.byte(ids[end], at: depth) == byte { end += 1 }
          if node == Self.root { roots[Int(byte)] = UInt32(labels.count) }
          nextLevel.append(start..<end)
          nextNodes.append(labels.count)
          labels.append(byte)
          tokens.append(-1)
          firstChild.append(0)
          start = end
        }
      }
      (level, nodes) = (nextLevel, nextNodes)
      depth += 1
    }
    firstChild.append(UInt32(labels.count))
  }

  @inline(__always) func token(at node: Int) -> Int32 { tokens[node] }

  @inline(__always) func child(of node: Int, _ byte: UInt8) -> Int? {
    if node == Self.root {
      let child = Int(roots[Int(byte)])
      return child > 0 ? child : nil
    }
    var low = Int(firstChild[node])
    var high = Int(firstChild[node + 1])
    while low < high {
      let middle = (low + high) >> 1
      let label = labels[middle]
      if label == byte { return middle }
      if label < byte { low = middle + 1 } else { high = middle }
    }
    return nil
  }

  /// The node that `text` leads to.
  func node(_ text: some Sequence<UInt8>) -> Int? {
    var node: Int? = Self.root
    for byte in text { node = node.flatMap { child(of: $0, byte) } }
    return node
  }
}
