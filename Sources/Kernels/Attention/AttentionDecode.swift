extension Attention {
  /// What a new token sees of the text before it, its own key and value the last.
  public struct Seen: Sendable {
    let keys: HeadMatrix
    let values: HeadMatrix
    private let visibility: Visibility
    private let position: Int

    /// - Parameters:
    ///   - keys: `[length, key-value heads * head size]`
    ///   - values: as `keys`
    ///   - position: of the token in its text, where the keys are only the last ones of it
    public init(
      keys: Matrix, values: Matrix, shape: AttentionShape, visibility: Visibility = .causal, position: Int? = nil
    ) {
      self.visibility = visibility
      self.position = position ?? keys.rows - 1
      let seen = visibility.keys(of: keys.rows - 1, length: keys.rows)
      self.keys = HeadMatrix(keys.rows(seen), size: shape.headSize)
      self.values = HeadMatrix(values.rows(seen), size: shape.headSize)
      precondition(
        self.keys.count == shape.keyValueHeadCount && self.values.count == self.keys.count, "heads of a cache")
    }

    /// Keys of a prefix that the token still sees.
    func prefix(_ count: Int) -> Range<Int> { visibility.hiddenPrefix(of: position, count: count)..<count }
  }

  /// Attention of new tokens, one of each text.
  ///
  /// - Parameters:
  ///   - query: `[texts, heads * head size]`
  ///   - texts: what each of them sees
  ///   - output: `[texts, heads * head size]`
  ///   - scratch: one for each worker, of `scratchByteCount` for the longest text
  public static func decode(
    query: HeadMatrix, texts: [Seen], shape: AttentionShape, prefix: Prefix? = nil, into output: Matrix,
    pool: ThreadPool, scratch: [Scratch]
  ) {
    let size = shape.headSize
    let prefixCount = prefix?.count ?? 0
    let longest = texts.map(\.keys.rows).max() ?? 0
    precondition(
      query.rows == texts.count && query.count == shape.headCount && output.rows == texts.count
        && output.columns == shape.headCount * size, "a row of each text")
    precondition(scratch.allSatisfy { $0.byteCount >= (prefixCount + longest) * 4 }, "scratch of attention")
    pool.run(texts.count * shape.headCount, as: .attention) { task, worker in
      let (row, head) = task.quotientAndRemainder(dividingBy: shape.headCount)
      let (keys, values) = (texts[row].keys, texts[row].values)
      let kernels = KernelTables.float
      let shared = head / shape.queriesPerKey
      let inFront = texts[row].prefix(prefixCount)
      let scores = scratch[worker].base.assumingMemoryBound(to: Float.self)
      let own = scores + inFront.count
      let q = query.address(row: row, head: head)
      func score(_ key: Matrix, into scores: UnsafeMutablePointer<Float>) {
        kernels.pointee.gemm_rows(1, key.rows, size, shape.scale, q, size, key.base, key.stride, 0, scores, key.rows)
      }
      if let prefix { score(prefix.key.head(shared).rows(inFront), into: scores) }
      score(keys.head(shared), into: own)
      var largest: Float = 0
      let sum = kernels.pointee.exp_from_largest(inFront.count + keys.rows, scores, &largest)
      func mix(_ weights: UnsafeMutablePointer<Float>, _ value: Matrix, beta: Float) {
        kernels.pointee.gemm(
          1, size, value.rows, 1 / sum, weights, value.rows, 1, value.base, value.stride, beta,
          output.base + row * output.stride + head * size, size)
      }
      mix(own, values.head(shared), beta: 0)
      if let prefix { mix(scores, prefix.value.head(shared).rows(inFront), beta: 1) }
    }
  }
}
