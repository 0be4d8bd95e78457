/// Memory of one task: transposed keys and values of a sample, two tiles of scores, operands in pairs, and what a head adds
/// to the gradients of its keys and values. What only the way back needs comes last: elsewhere it takes no memory.
struct AttentionTiles {
  let keys: ScoreOperand  // [head size, length]
  let values: Matrix  // [head size, length]
  let scores: Matrix  // [tile, columns]
  let gradients: Matrix  // [tile, columns]
  let sums: UnsafeMutablePointer<Float>  // [tile]
  let queries: ScoreOperand  // [tile, head size]

  // The prefix, empty where there is none.
  let prefixKeys: ScoreOperand  // [head size, prefix]
  let prefixValues: Matrix  // [head size, prefix]
  let prefixRows: Matrix  // pairs: [prefix, head size / 2]
  let prefixColumns: Matrix  // pairs: [prefix / 2, head size]

  // Pairs, where products are computed in them. Those of the transposed values fill the upper half of `values`; in the
  // lower one stand first the rows that are transposed, then the values packed along their columns.
  let valueRows: Matrix  // [length, head size / 2]
  let valueColumns: Matrix  // [length / 2, head size]
  let keyColumns: Matrix  // [length / 2, head size]
  let scoreColumns: Matrix  // [tile / 2, columns]
  let gradientColumns: Matrix  // [tile / 2, columns]
  let queryColumns: Matrix  // [tile / 2, head size]
  let outputRows: Matrix  // [tile, head size / 2]
  let outputColumns: Matrix  // [tile / 2, head size]

  // Empty if heads share no keys.
  let keyShare: Matrix  // [length, head size]
  let valueShare: Matrix  // [length, head size]
  // Shares of the second part of a head, whichever worker computes it: one such head in the memory of each worker.
  let partKeyShare: Matrix  // [length, head size]
  let partValueShare: Matrix  // [length, head size]

  /// Memory for samples of at most `length` tokens, in bytes.
  static func byteCount(_ layout: AttentionLayout, length: Int, hasGradient: Bool) -> Int {
    let size = layout.shape.headSize
    let tile = AttentionLayout.tileRows
    let arithmetic = AttentionArithmetic(shape: layout.shape, isExact: false)
    let packs = arithmetic.packs
    let stride = AttentionLayout.distance(layout.mostColumns(length))
    var floats = 2 * size * AttentionLayout.distance(length) + 2 * tile * stride + tile
    if layout.prefixCount > 0 {
      floats += 2 * size * AttentionLayout.distance(layout.prefixCount)
      if packs { floats += layout.prefixCount * size / 2 + (layout.prefixCount + 1) / 2 * size }
    }
    if arithmetic.roundsScores {
      floats += tile * (size / 2 + 1)
      floats += AttentionLayout.distance(length) + AttentionLayout.distance(layout.prefixCount)
    }
    if hasGradient {
      floats += 4 * layout.shareCount(length)
      if packs { floats += (length + 1) / 2 * size + tile * stride + 3 * tile / 2 * size }
    }
    return Scratch.aligned(floats * 4)
  }

  init(
    _ scratch: Scratch, _ layout: AttentionLayout, length: Int, _ arithmetic: AttentionArithmetic,
    hasGradient: Bool = false
  ) {
    let packs = arithmetic.packs
    let distance = AttentionLayout.distance(length)
    let columns = layout.mostColumns(length)
    let stride = AttentionLayout.distance(columns)
    let size = layout.shape.headSize
    let tile = AttentionLayout.tileRows
    precondition(
      scratch.byteCount >= Self.byteCount(layout, length: length, hasGradient: hasGradient), "scratch of attention")
    var base = scratch.base.assumingMemoryBound(to: Float.self)
    func take(_ rows: Int, _ columns: Int, stride: Int) -> Matrix {
      defer { base += rows * stride }
      return Matrix(base, rows: rows, columns: columns, stride: stride)
    }
    /// Units of score operands.
    func units(_ count: Int, stride: Int) -> Matrix {
      arithmetic.roundsScores ? take(1, count, stride: stride) : Matrix(base, rows: 0, columns: count)
    }
    keys = ScoreOperand(elements: take(size, length, stride: distance), units: units(length, stride: distance))
    values = take(size, length, stride: distance)
    scores = take(tile, columns, stride: stride)
    gradients = take(tile, columns, stride: stride)
    sums = base
    base += tile
    queries = ScoreOperand(
      elements: take(arithmetic.roundsScores ? tile : 0, size / 2, stride: size / 2), units: units(tile, stride: tile))
    let prefix = layout.prefixCount
    let prefixDistance = AttentionLayout.distance(prefix)
    prefixKeys = ScoreOperand(
      elements: take(prefix > 0 ? size : 0, prefix, stride: prefixDistance),
      units: units(prefix, stride: prefixDistance))
    prefixValues = take(prefix > 0 ? size : 0, prefix, stride: prefixDistance)
    prefixRows = take(packs ? prefix : 0, size / 2, stride: size / 2)
    prefixColumns = take(packs ? (prefix + 1) / 2 : 0, size, stride: size)
    let lower = values.base + size / 2 * distance
    valueRows = Matrix(lower, rows: packs ? length : 0, columns: size / 2)
    valueColumns = Matrix(lower, rows: packs ? (length + 1) / 2 : 0, columns: size)
    let (wholeRows, halfRows) = packs && hasGradient ? (tile, tile / 2) : (0, 0)
    keyColumns = take(halfRows == 0 ? 0 : (length + 1) / 2, size, stride: size)
    scoreColumns = take(halfRows, columns, stride: stride)
    gradientColumns = take(halfRows, columns, stride: stride)
    queryColumns = take(halfRows, size, stride: size)
    outputRows = take(wholeRows, size / 2, stride: size / 2)
    outputColumns = take(halfRows, size, stride: size)
    let count = hasGradient ? layout.shareCount(length) : 0
    keyShare = take(count / size, size, stride: size)
    valueShare = take(count / size, size, stride: size)
    // At the very end: samples of other lengths, whose memory lies elsewhere, may be in work at the same time.
    base = (scratch.base + scratch.byteCount).assumingMemoryBound(to: Float.self) - 2 * count
    partKeyShare = take(count / size, size, stride: size)
    partValueShare = take(count / size, size, stride: size)
  }
}
