import CKernels

/// Queries, or transposed keys, of the products under the exponential: floats, or words of two 16-bit numbers and a unit for
/// each query or key.
struct ScoreOperand {
  /// Queries `[tile, head size]`, keys `[head size, length]`; words take half of it.
  let elements: Matrix
  /// Empty with floats.
  let units: Matrix  // [1, tile or length]
}

/// Of the exponent's error the weights of the softmax get the whole: bfloat16 has too few digits for scores. Words have
/// twice as many and are as fast; a row's unit goes by its length, so that 32 bits hold every sum.
extension AttentionArithmetic {
  /// Keys `[length, head size]`, transposed into their place.
  func place(_ key: Matrix, in keys: ScoreOperand) {
    guard let words else { return Self.transpose(key, into: keys.elements) }
    // As rows they wait in the half that their transposition leaves free.
    let size = key.columns / 2
    let free = keys.elements.base + size * keys.elements.stride
    words.pointee.quantise_rows(key.rows, key.columns, key.base, key.stride, free, size, keys.units.base)
    Self.transpose(Matrix(free, rows: key.rows, columns: size), into: keys.elements.rows(0..<size))
  }

  /// Queries `[rows, head size]`, in `space` where they are not floats.
  func queries(_ query: Matrix, in space: ScoreOperand) -> ScoreOperand {
    guard let words else { return ScoreOperand(elements: query, units: space.units) }
    words.pointee.quantise_rows(
      query.rows, query.columns, query.base, query.stride, space.elements.base, space.elements.stride, space.units.base)
    return ScoreOperand(elements: space.elements.rows(0..<query.rows), units: space.units)
  }

  /// `scores = scale * queries keys`, for some of the keys; the columns of `scores` are filled up to whole vectors.
  func score(_ queries: ScoreOperand, _ keys: ScoreOperand, _ range: Range<Int>, scale: Float, into scores: Matrix) {
    let (q, k) = (queries.elements, keys.elements)
    let columns = AttentionLayout.wholeVectors(range.count)
    if let words {
      words.pointee.gemm(
        q.rows, columns, k.rows / 2, scale, q.base, q.stride, queries.units.base, k.base + range.lowerBound, k.stride,
        keys.units.base + range.lowerBound, scores.base, scores.stride)
    } else {
      KernelTables.float.pointee.gemm(
        q.rows, columns, k.rows, scale, q.base, q.stride, 1, k.base + range.lowerBound, k.stride, 0, scores.base,
        scores.stride)
    }
  }
}
