extension Attention {
  /// Attention of one new token to what it sees of a cache, of which its own key is the last.
  ///
  /// - Parameters:
  ///   - query: one row of heads, `[1, heads * head size]`
  ///   - keys: `[length, key-value heads * head size]`
  ///   - values: as `keys`
  ///   - output: `[heads * head size]`
  ///   - scratch: one for each worker, of `scratchByteCount` for `length` tokens
  public static func decode(
    query: HeadMatrix, keys: Matrix, values: Matrix, shape: AttentionShape, visibility: Visibility = .causal,
    prefix: Prefix? = nil, into output: Vector, pool: ThreadPool, scratch: [Scratch]
  ) {
    let size = shape.headSize
    let seen = visibility.keys(of: keys.rows - 1, length: keys.rows)
    let keys = HeadMatrix(keys.rows(seen), size: size)
    let values = HeadMatrix(values.rows(seen), size: size)
    let prefixCount = prefix?.count ?? 0
    precondition(query.rows == 1 && query.count == shape.headCount && output.count == shape.headCount * size, "one row")
    precondition(keys.count == shape.keyValueHeadCount && values.count == keys.count, "heads of a cache")
    precondition(scratch.allSatisfy { $0.byteCount >= (prefixCount + seen.count) * 4 }, "scratch of attention")
    pool.run(shape.headCount, as: .attention) { head, worker in
      let kernels = KernelTables.float
      let shared = head / shape.queriesPerKey
      let scores = scratch[worker].base.assumingMemoryBound(to: Float.self)
      let own = scores + prefixCount
      let q = query.address(row: 0, head: head)
      func score(_ key: Matrix, into scores: UnsafeMutablePointer<Float>) {
        kernels.pointee.gemm_rows(1, key.rows, size, shape.scale, q, size, key.base, key.stride, 0, scores, key.rows)
      }
      if let prefix { score(prefix.key.head(shared), into: scores) }
      score(keys.head(shared), into: own)
      var largest: Float = 0
      let sum = kernels.pointee.exp_from_largest(prefixCount + seen.count, scores, &largest)
      func mix(_ weights: UnsafeMutablePointer<Float>, _ value: Matrix, beta: Float) {
        kernels.pointee.gemm(
          1, size, value.rows, 1 / sum, weights, value.rows, 1, value.base, value.stride, beta,
          output.base + head * size,
          size)
      }
      mix(own, values.head(shared), beta: 0)
      if let prefix { mix(scores, prefix.value.head(shared), beta: 1) }
    }
  }
}
