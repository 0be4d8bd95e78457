import CKernels
import Foundation

/// Heads of an attention layer.
public struct AttentionShape: Sendable, Equatable {
  public let headCount: Int
  public let keyValueHeadCount: Int
  public let headSize: Int

  public init(headCount: Int, keyValueHeadCount: Int, headSize: Int) {
    precondition(headCount % keyValueHeadCount == 0, "query heads share key-value heads evenly")
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headSize = headSize
  }

  var queriesPerKey: Int { headCount / keyValueHeadCount }
  var scale: Float { 1 / Float(headSize).squareRoot() }
}

/// Causal attention over samples that lie end to end, with grouped queries. Only a tile of query rows meets all keys at
/// a time; for the way back the logarithm of each row's sum is kept and the scores are computed again.
///
/// Source: Dao et al. 2022, arXiv 2205.14135.
public enum Attention {
  /// Query rows of a tile: whole tiles of the float products, which take 6 or 8 rows.
  private static let tileRows = 24

  /// Distance between rows of scores and of transposed keys: whole cache lines, and one more, so that the rows of a
  /// column do not fall into the same few places of the first-level cache.
  private static func distance(_ length: Int) -> Int { wholeVectors(length) + 16 }

  /// As many columns as fill the longest vectors; what stands in the last ones means nothing.
  private static func wholeVectors(_ columns: Int) -> Int { (columns + 15) / 16 * 16 }

  /// How the products with and for the weights of the softmax are computed: in floats, or twice as fast in pairs of
  /// bfloat16, each pair a word. Sums are floats, and so are the products under the exponential, which would magnify what
  /// they lack.
  private struct Arithmetic {
    private let pairs: UnsafePointer<el_pair_kernels>?

    /// - Parameter isExact: floats, whatever the processor offers
    init(shape: AttentionShape, isExact: Bool) {
      pairs = isExact || shape.headSize % 32 != 0 ? nil : KernelTables.float.pointee.pairs
    }

    var packs: Bool { pairs != nil }

    /// `x` for products that sum over its columns: `[rows, words]`, in `space` unless it is `x` itself.
    func rows(_ x: Matrix, in space: Matrix) -> Matrix {
      guard let pairs else { return x }
      pairs.pointee.pack_rows(x.rows, x.columns, x.base, x.stride, space.base, space.stride)
      return Matrix(space.base, rows: x.rows, columns: (x.columns + 1) / 2, stride: space.stride)
    }

    /// `x` for products that sum over its rows: `[words, columns]`.
    func columns(_ x: Matrix, in space: Matrix) -> Matrix {
      guard let pairs else { return x }
      pairs.pointee.pack_columns(x.rows, wholeVectors(x.columns), x.base, x.stride, space.base, space.stride)
      return Matrix(space.base, rows: (x.rows + 1) / 2, columns: x.columns, stride: space.stride)
    }

    /// `c = a b`, for some columns of `b`.
    func multiply(_ a: Matrix, _ b: Matrix, columns: Int, into c: Matrix) {
      multiply(a.rows, columns, a.columns, a, rowStride: a.stride, columnStride: 1, b, beta: 0, c)
    }

    /// `c += aᵀ b`
    func multiplyTransposed(_ a: Matrix, _ b: Matrix, addingTo c: Matrix) {
      multiply(a.columns, b.columns, a.rows, a, rowStride: 1, columnStride: a.stride, b, beta: 1, c)
    }

    private func multiply(
      _ m: Int, _ n: Int, _ k: Int, _ a: Matrix, rowStride: Int, columnStride: Int, _ b: Matrix, beta: Float,
      _ c: Matrix
    ) {
      if let pairs {
        pairs.pointee.gemm(m, n, k, 1, a.base, rowStride, columnStride, b.base, b.stride, beta, c.base, c.stride)
      } else {
        KernelTables.float.pointee.gemm(
          m, n, k, 1, a.base, rowStride, columnStride, b.base, b.stride, beta, c.base, c.stride)
      }
    }
  }

  private static func transpose(_ x: Matrix, into y: Matrix) {
    VectorOperations.kernels.transpose(x.rows, x.columns, x.base, x.stride, y.base, y.stride)
  }

  /// Products of a tile of queries with the keys that it sees, under the exponential.
  private static func score(
    _ q: Matrix, _ transposedKeys: Matrix, seen: Int, shape: AttentionShape, into scores: Matrix
  ) {
    KernelTables.float.pointee.gemm(
      q.rows, wholeVectors(seen), shape.headSize, shape.scale, q.base, q.stride, 1, transposedKeys.base,
      transposedKeys.stride, 0, scores.base, scores.stride)
  }

  /// Scratch of one worker for samples of at most `length` tokens, in bytes.
  public static func scratchByteCount(shape: AttentionShape, length: Int, hasGradient: Bool) -> Int {
    let size = shape.headSize
    let tiles = (2 * size + 2 * tileRows) * distance(length) + tileRows
    var gradient = hasGradient ? 2 * shareCount(shape, length) : 0
    if hasGradient && Arithmetic(shape: shape, isExact: false).packs {
      gradient += (length + 1) / 2 * size + tileRows * distance(length) + 3 * tileRows / 2 * size
    }
    return ((tiles + gradient) * 4 + 63) / 64 * 64
  }

  /// Elements of what one head adds to a gradient that it has in common with others.
  private static func shareCount(_ shape: AttentionShape, _ length: Int) -> Int {
    shape.queriesPerKey > 1 ? length * shape.headSize : 0
  }

  /// Memory of one task: transposed keys and values of a sample, two tiles of scores, operands in pairs, and what a head adds
  /// to the gradients of its keys and values. What only the way back needs comes last: elsewhere it takes no memory.
  private struct Tiles {
    let keys: Matrix  // [head size, length]
    let values: Matrix  // [head size, length]
    let scores: Matrix  // [tile, length]
    let gradients: Matrix  // [tile, length]
    let sums: UnsafeMutablePointer<Float>  // [tile]

    // Pairs, where products are computed in them. Those of the transposed values fill the upper half of `values`; in the
    // lower one stand first the rows that are transposed, then the values packed along their columns.
    let valueRows: Matrix  // [length, head size / 2]
    let valueColumns: Matrix  // [length / 2, head size]
    let keyColumns: Matrix  // [length / 2, head size]
    let scoreColumns: Matrix  // [tile / 2, length]
    let gradientColumns: Matrix  // [tile / 2, length]
    let queryColumns: Matrix  // [tile / 2, head size]
    let outputRows: Matrix  // [tile, head size / 2]
    let outputColumns: Matrix  // [tile / 2, head size]

    let keyShare: Matrix  // [length, head size]; empty if heads share no keys
    let valueShare: Matrix  // [length, head size]

    init(_ scratch: Scratch, shape: AttentionShape, length: Int, packs: Bool, hasGradient: Bool = false) {
      let stride = distance(length)
      let size = shape.headSize
      precondition(
        scratch.byteCount >= scratchByteCount(shape: shape, length: length, hasGradient: hasGradient),
        "scratch of attention")
      var base = scratch.base.assumingMemoryBound(to: Float.self)
      func take(_ rows: Int, _ columns: Int, stride: Int) -> Matrix {
        defer { base += rows * stride }
        return Matrix(base, rows: rows, columns: columns, stride: stride)
      }
      keys = take(size, length, stride: stride)
      values = take(size, length, stride: stride)
      scores = take(tileRows, length, stride: stride)
      gradients = take(tileRows, length, stride: stride)
      sums = base
      base += tileRows
      let lower = values.base + size / 2 * stride
      valueRows = Matrix(lower, rows: packs ? length : 0, columns: size / 2)
      valueColumns = Matrix(lower, rows: packs ? (length + 1) / 2 : 0, columns: size)
      let (wholeRows, halfRows) = packs && hasGradient ? (tileRows, tileRows / 2) : (0, 0)
      keyColumns = take(halfRows == 0 ? 0 : (length + 1) / 2, size, stride: size)
      scoreColumns = take(halfRows, length, stride: stride)
      gradientColumns = take(halfRows, length, stride: stride)
      queryColumns = take(halfRows, size, stride: size)
      outputRows = take(wholeRows, size / 2, stride: size / 2)
      outputColumns = take(halfRows, size, stride: size)
      let count = hasGradient ? shareCount(shape, length) : 0
      keyShare = take(count / size, size, stride: size)
      valueShare = take(count / size, size, stride: size)
    }
  }

  /// - Parameters:
  ///   - query: `[tokens, heads * head size]`
  ///   - key: `[tokens, key-value heads * head size]`
  ///   - value: as `key`
  ///   - segments: first token of each sample, then the number of tokens
  ///   - output: as `query`
  ///   - logSumExp: `[heads * tokens]`, for `backward`
  ///   - isExact: the products are those of floats; otherwise of bfloat16 where the processor is faster with that
  ///   - scratch: one for each worker, of `scratchByteCount` for the longest sample
  public static func forward(
    query: Matrix, key: Matrix, value: Matrix, shape: AttentionShape, segments: [Int], into output: Matrix,
    keeping logSumExp: Vector, isExact: Bool, pool: ThreadPool, scratch: [Scratch]
  ) {
    let kernels = VectorOperations.kernels
    let arithmetic = Arithmetic(shape: shape, isExact: isExact)
    let size = shape.headSize
    pool.run((segments.count - 1) * shape.headCount, as: .attention) { task, worker in
      let head = task % shape.headCount
      let segment = segments[task / shape.headCount]..<segments[task / shape.headCount + 1]
      let tiles = Tiles(scratch[worker], shape: shape, length: segment.count, packs: arithmetic.packs)
      let columns = head * size..<(head + 1) * size
      let shared = head / shape.queriesPerKey * size..<(head / shape.queriesPerKey + 1) * size
      let q = query.rows(segment).columns(columns)
      let o = output.rows(segment).columns(columns)
      transpose(key.rows(segment).columns(shared), into: tiles.keys)
      let values = arithmetic.columns(value.rows(segment).columns(shared), in: tiles.valueColumns)
      for first in stride(from: 0, to: segment.count, by: tileRows) {
        let rows = first..<min(first + tileRows, segment.count)
        let (count, seen) = (rows.count, rows.upperBound)
        let scores = tiles.scores.rows(0..<count)
        score(q.rows(rows), tiles.keys, seen: seen, shape: shape, into: scores)
        for row in 0..<count {
          let line = scores.base + row * scores.stride
          let valid = first + row + 1
          var largest: Float = 0
          tiles.sums[row] = kernels.exp_from_largest(valid, line, &largest)
          for column in valid..<seen { line[column] = 0 }
          logSumExp.base[head * query.rows + segment.lowerBound + first + row] = largest + log(tiles.sums[row])
        }
        arithmetic.multiply(
          arithmetic.rows(scores.columns(0..<seen), in: scores), values, columns: size, into: o.rows(rows))
        for row in 0..<count { kernels.scale(size, 1 / tiles.sums[row], o.base + (first + row) * o.stride) }
      }
    }
  }

  /// Gradients of query, key and value; all overwritten. Parameters as in `forward`.
  ///
  /// Heads that share keys and values are summed in their order, whoever computes them. Where each is a task of its own, its
  /// shares replace its columns of `query` and `dOutput`: nobody needs those afterwards.
  public static func backward(
    _ dOutput: Matrix, query: Matrix, key: Matrix, value: Matrix, shape: AttentionShape,
    segments: [Int], logSumExp: Vector, dQuery: Matrix, dKey: Matrix, dValue: Matrix, isExact: Bool, pool: ThreadPool,
    scratch: [Scratch]
  ) {
    let kernels = VectorOperations.kernels
    let arithmetic = Arithmetic(shape: shape, isExact: isExact)
    let size = shape.headSize
    let perKey = shape.queriesPerKey
    let groups = (segments.count - 1) * shape.keyValueHeadCount
    // A group of heads transposes its keys once, so it stays together where that gives every thread as much to do.
    let splits = perKey > 1 && groups < 4 * pool.threadCount && groups % pool.threadCount != 0
    let headsPerTask = splits ? 1 : perKey
    pool.run(groups * perKey / headsPerTask, as: .attention) { task, worker in
      let tasksPerSegment = shape.headCount / headsPerTask
      let firstHead = task % tasksPerSegment * headsPerTask
      let segment = segments[task / tasksPerSegment]..<segments[task / tasksPerSegment + 1]
      let tiles = Tiles(
        scratch[worker], shape: shape, length: segment.count, packs: arithmetic.packs, hasGradient: true)
      let sharedColumns = firstHead / perKey * size..<(firstHead / perKey + 1) * size
      let k = key.rows(segment).columns(sharedColumns)
      let dk = dKey.rows(segment).columns(sharedColumns)
      let dv = dValue.rows(segment).columns(sharedColumns)
      transpose(k, into: tiles.keys)
      let keys = arithmetic.columns(k, in: tiles.keyColumns)
      let v = arithmetic.rows(value.rows(segment).columns(sharedColumns), in: tiles.valueRows)
      transpose(v, into: tiles.values)
      let transposedValues = tiles.values.rows(0..<v.columns)
      for head in firstHead..<firstHead + headsPerTask {
        let columns = head * size..<(head + 1) * size
        let q = query.rows(segment).columns(columns)
        let dq = dQuery.rows(segment).columns(columns)
        let dO = dOutput.rows(segment).columns(columns)
        let keyShare = perKey > 1 ? tiles.keyShare : dk
        let valueShare = perKey > 1 ? tiles.valueShare : dv
        VectorOperations.fill(keyShare, with: 0)
        VectorOperations.fill(valueShare, with: 0)
        for first in stride(from: 0, to: segment.count, by: tileRows) {
          let rows = first..<min(first + tileRows, segment.count)
          let (count, seen) = (rows.count, rows.upperBound)
          let p = tiles.scores.rows(0..<count)
          let dS = tiles.gradients.rows(0..<count)
          let qTile = q.rows(rows)
          let dOTile = dO.rows(rows)
          score(qTile, tiles.keys, seen: seen, shape: shape, into: p)
          arithmetic.multiply(
            arithmetic.rows(dOTile, in: tiles.outputRows), transposedValues, columns: wholeVectors(seen), into: dS)
          for row in 0..<count {
            let valid = first + row + 1
            let line = p.base + row * p.stride
            let gradient = dS.base + row * dS.stride
            _ = kernels.exp_shifted(
              valid, logSumExp.base[head * query.rows + segment.lowerBound + first + row], 1, line)
            // The mean from the same products that it is taken from: what is wrong with them cancels where one key has
            // nearly all of the weight.
            let mean = kernels.dot(valid, line, gradient)
            kernels.softmax_backward(valid, mean, shape.scale, line, gradient)
            for column in valid..<seen {
              line[column] = 0
              gradient[column] = 0
            }
          }
          let visible = dS.columns(0..<seen)
          arithmetic.multiplyTransposed(
            arithmetic.columns(visible, in: tiles.gradientColumns),
            arithmetic.columns(qTile, in: tiles.queryColumns), addingTo: keyShare)
          arithmetic.multiplyTransposed(
            arithmetic.columns(p.columns(0..<seen), in: tiles.scoreColumns),
            arithmetic.columns(dOTile, in: tiles.outputColumns), addingTo: valueShare)
          arithmetic.multiply(arithmetic.rows(visible, in: dS), keys, columns: size, into: dq.rows(rows))
        }
        if perKey > 1 {
          let isFirst = splits || head == firstHead
          join(keyShare, into: splits ? q : dk, isFirst: isFirst)
          join(valueShare, into: splits ? dO : dv, isFirst: isFirst)
        }
      }
    }
    guard splits else { return }
    pool.run(shape.keyValueHeadCount, as: .attention) { shared, _ in
      let sharedColumns = shared * size..<(shared + 1) * size
      for head in shared * perKey..<(shared + 1) * perKey {
        let columns = head * size..<(head + 1) * size
        let isFirst = head == shared * perKey
        join(query.columns(columns), into: dKey.columns(sharedColumns), isFirst: isFirst)
        join(dOutput.columns(columns), into: dValue.columns(sharedColumns), isFirst: isFirst)
      }
    }
  }

  /// `y (+)= share`
  private static func join(_ share: Matrix, into y: Matrix, isFirst: Bool) {
    let kernels = VectorOperations.kernels
    for row in 0..<share.rows {
      let (from, to) = (share.base + row * share.stride, y.base + row * y.stride)
      if isFirst { kernels.copy(share.columns, from, to) } else { kernels.add_scaled(share.columns, 1, from, to) }
    }
  }

  /// Attention of one new token to all that a cache holds.
  ///
  /// - Parameters:
  ///   - query: `[heads * head size]`
  ///   - keys: `[length, key-value heads * head size]`
  ///   - values: as `keys`
  ///   - output: as `query`
  public static func decode(
    query: Vector, keys: Matrix, values: Matrix, shape: AttentionShape, into output: Vector, pool: ThreadPool,
    scratch: [Scratch]
  ) {
    let kernels = VectorOperations.kernels
    let size = shape.headSize
    pool.run(shape.headCount, as: .attention) { head, worker in
      let shared = head / shape.queriesPerKey * size
      let scores = scratch[worker].base.assumingMemoryBound(to: Float.self)
      kernels.gemm_rows(
        1, keys.rows, size, shape.scale, query.base + head * size, size, keys.base + shared, keys.stride, 0, scores,
        keys.rows)
      var largest: Float = 0
      let sum = kernels.exp_from_largest(keys.rows, scores, &largest)
      kernels.gemm(
        1, size, keys.rows, 1 / sum, scores, keys.rows, 1, values.base + shared, values.stride, 0,
        output.base + head * size, size)
    }
  }
}
