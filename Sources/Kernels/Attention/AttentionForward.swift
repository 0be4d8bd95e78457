import CKernels
import FoundationEssentials
import Glibc

extension Attention {
  /// `output = softmax(scale * query keyᵀ) value` for every head, over the keys that each token sees.
  ///
  /// - Parameters:
  ///   - query: `[tokens, heads * head size]`
  ///   - key: `[tokens, key-value heads * head size]`
  ///   - value: as `key`
  ///   - segments: first token of each sample, then the number of tokens
  ///   - output: `[tokens, heads * head size]`
  ///   - kept: for `backward`
  ///   - isExact: the products are those of floats; otherwise of bfloat16 where the processor is faster with that
  ///   - scratch: one for each worker, of `scratchByteCount` for the longest sample
  public static func forward(
    query: HeadMatrix, key: HeadMatrix, value: HeadMatrix, shape: AttentionShape, visibility: Visibility = .causal,
    prefix: Prefix? = nil, segments: [Int], into output: Matrix, keeping kept: Kept, isExact: Bool, pool: ThreadPool,
    scratch: [Scratch]
  ) {
    let layout = AttentionLayout(shape: shape, visibility: visibility, prefixCount: prefix?.count ?? 0)
    let arithmetic = AttentionArithmetic(shape: shape, isExact: isExact)
    let output = HeadMatrix(output, size: shape.headSize)
    precondition(
      query.count == shape.headCount && key.count == shape.keyValueHeadCount && value.count == key.count
        && output.count == query.count, "heads of an attention")
    let division = AttentionDivision(heads: (segments.count - 1) * shape.headCount, threadCount: pool.threadCount)
    pool.run(division.count, as: .attention, inOrder: division.hasParts) { task, worker in
      let (index, half) = division.task(task)
      let head = index % shape.headCount
      let shared = head / shape.queriesPerKey
      let segment = segments[index / shape.headCount]..<segments[index / shape.headCount + 1]
      let part = layout.rows(of: segment.count, part: half)
      let tiles = AttentionTiles(scratch[worker], layout, length: segment.count, arithmetic)
      let visible = 0..<layout.keys(of: part, length: segment.count).upperBound
      let keys = key.rows(segment).head(shared).rows(visible)
      let values = value.rows(segment).head(shared).rows(visible)
      arithmetic.place(keys, in: tiles.keys)
      let prefixValues = prefix.map { prefix in
        arithmetic.place(prefix.key.head(shared), in: tiles.prefixKeys)
        return arithmetic.columns(prefix.value.head(shared), in: tiles.prefixColumns)
      }
      HeadForward(
        query: query.rows(segment).head(head), output: output.rows(segment).head(head),
        values: arithmetic.columns(values, in: tiles.valueColumns), prefixValues: prefixValues,
        kept: kept.head(head, segment, tokens: query.rows, shape: shape), layout: layout, arithmetic: arithmetic
      ).run(part, tiles: tiles)
    }
  }

  /// The way forward of one head in one sample.
  private struct HeadForward {
    let query: Matrix  // [length, head size]
    let output: Matrix  // [length, head size]
    let values: Matrix  // of the arithmetic, for products that sum over tokens
    let prefixValues: Matrix?  // likewise
    let kept: KeptHead
    let layout: AttentionLayout
    let arithmetic: AttentionArithmetic

    /// Some rows, from a multiple of `tileRows`.
    func run(_ part: Range<Int>, tiles: AttentionTiles) {
      let kernels = KernelTables.float
      let length = query.rows
      let size = layout.shape.headSize
      var weights = kept.weights.map { $0 + layout.weightCount(rowsBefore: part.lowerBound, of: length) }
      for first in stride(from: part.lowerBound, to: part.upperBound, by: AttentionLayout.tileRows) {
        let rows = first..<min(first + AttentionLayout.tileRows, part.upperBound)
        let tile = ScoreTile(rows: rows, keys: layout.keys(of: rows, length: length), layout: layout, length: length)
        let scores = tiles.scores.rows(0..<rows.count)
        tile.score(query.rows(rows), arithmetic, tiles: tiles, into: scores)
        for row in 0..<rows.count {
          let line = scores.base + row * scores.stride
          let valid = tile.hide(row, in: line)
          var largest: Float = 0
          tiles.sums[row] = kernels.pointee.exp_from_largest(valid, line, &largest)
          for column in valid..<tile.columns { line[column] = 0 }
          if let place = weights {
            kernels.pointee.to_half(tile.columns, line, place)
            weights = place + tile.keptColumns
            kept.sums.base[first + row] = 1 / tiles.sums[row]
          } else {
            kept.sums.base[first + row] = largest + log(tiles.sums[row])
          }
        }
        let packed = arithmetic.rows(scores.columns(0..<tile.columns), in: scores)
        let o = output.rows(rows)
        arithmetic.multiply(
          arithmetic.part(packed, tile.own), arithmetic.rowPart(values, tile.keys), columns: size, into: o)
        if let prefixValues {
          arithmetic.multiply(
            arithmetic.part(packed, tile.prefix), prefixValues, columns: size, into: o, accumulate: true)
        }
        for row in 0..<rows.count { kernels.pointee.scale(size, 1 / tiles.sums[row], o.base + row * o.stride) }
      }
    }
  }

  /// Where a tile's columns stand.
  struct ScoreTile {
    let rows: Range<Int>
    /// Keys of the sample among the columns.
    let keys: Range<Int>
    let layout: AttentionLayout
    let length: Int

    /// Columns of the prefix; up to `own` there are some that mean nothing.
    var prefix: Range<Int> { 0..<layout.prefixCount }
    /// Columns of `keys`.
    var own: Range<Int> { layout.prefixColumns..<columns }
    var columns: Int { layout.prefixColumns + keys.count }
    var keptColumns: Int { layout.keptColumns(of: rows, length: length) }

    /// Products of the tile's queries with the keys, under the exponential; transposed keys are in `tiles`.
    func score(_ query: Matrix, _ arithmetic: AttentionArithmetic, tiles: AttentionTiles, into scores: Matrix) {
      let queries = arithmetic.queries(query, in: tiles.queries)
      let scale = layout.shape.scale
      if layout.prefixCount > 0 {
        arithmetic.score(queries, tiles.prefixKeys, prefix, scale: scale, into: scores)
      }
      arithmetic.score(queries, tiles.keys, keys, scale: scale, into: scores.columns(layout.prefixColumns..<columns))
    }

    /// Columns before the first key of its sample that a row sees, without the prefix; the row's weights there are 0.
    func hidden(_ row: Int) -> Range<Int> {
      let first = layout.visibility.keys(of: rows.lowerBound + row, length: length).lowerBound
      return layout.prefixCount..<layout.prefixColumns + first - keys.lowerBound
    }

    /// Makes the exponentials of what a row does not see 0, before the last key that it sees.
    /// - Returns: the columns up to that one
    func hide(_ row: Int, in line: UnsafeMutablePointer<Float>) -> Int {
      for column in 0..<layout.visibility.hiddenPrefix(of: rows.lowerBound + row, count: layout.prefixCount) {
        line[column] = -.infinity
      }
      for column in hidden(row) { line[column] = -.infinity }
      let end = layout.visibility.keys(of: rows.lowerBound + row, length: length).upperBound
      return layout.prefixColumns + end - keys.lowerBound
    }
  }
}
