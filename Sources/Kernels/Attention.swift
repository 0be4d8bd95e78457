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

  /// Scratch of one worker for samples of at most `length` tokens, in bytes.
  public static func scratchByteCount(shape: AttentionShape, length: Int, hasGradient: Bool) -> Int {
    let shares = hasGradient ? 2 * shareCount(shape, length) : 0
    return (((2 * shape.headSize + 2 * tileRows) * distance(length) + tileRows + shares) * 4 + 63) / 64 * 64
  }

  /// Elements of what one head adds to a gradient that it has in common with others.
  private static func shareCount(_ shape: AttentionShape, _ length: Int) -> Int {
    shape.queriesPerKey > 1 ? length * shape.headSize : 0
  }

  /// Memory of one task: transposed keys and values of a sample, two tiles of scores, and what a head adds to the gradients
  /// of its keys and values. The last come last: where nothing goes back they take no memory.
  private struct Tiles {
    let keys: Matrix  // [head size, length]
    let values: Matrix  // [head size, length]
    let scores: Matrix  // [tile, length]
    let gradients: Matrix  // [tile, length]

    let sums: UnsafeMutablePointer<Float>  // [tile]
    let keyShare: Matrix  // [length, head size]; empty if heads share no keys, or nothing goes back
    let valueShare: Matrix  // [length, head size]

    init(_ scratch: Scratch, shape: AttentionShape, length: Int, hasGradient: Bool = false) {
      let stride = distance(length)
      let headSize = shape.headSize
      precondition(
        scratch.byteCount >= scratchByteCount(shape: shape, length: length, hasGradient: hasGradient),
        "scratch of attention")
      var base = scratch.base.assumingMemoryBound(to: Float.self)
      func take(_ rows: Int) -> Matrix {
        defer { base += rows * stride }
        return Matrix(base, rows: rows, columns: length, stride: stride)
      }
      keys = take(headSize)
      values = take(headSize)
      scores = take(tileRows)
      gradients = take(tileRows)
      sums = base
      let count = hasGradient ? shareCount(shape, length) : 0
      keyShare = Matrix(base + tileRows, rows: count / headSize, columns: headSize)
      valueShare = Matrix(base + tileRows + count, rows: count / headSize, columns: headSize)
    }
  }

  private static func transpose(_ x: Matrix, into y: Matrix) {
    VectorOperations.kernels.transpose(x.rows, x.columns, x.base, x.stride, y.base, y.stride)
  }

  /// - Parameters:
  ///   - query: `[tokens, heads * head size]`
  ///   - key: `[tokens, key-value heads * head size]`
  ///   - value: as `key`
  ///   - segments: first token of each sample, then the number of tokens
  ///   - output: as `query`
  ///   - logSumExp: `[heads * tokens]`, for `backward`
  ///   - scratch: one for each worker, of `scratchByteCount` for the longest sample
  public static func forward(
    query: Matrix, key: Matrix, value: Matrix, shape: AttentionShape, segments: [Int], into output: Matrix,
    keeping logSumExp: Vector, pool: ThreadPool, scratch: [Scratch]
  ) {
    let kernels = VectorOperations.kernels
    let size = shape.headSize
    pool.run((segments.count - 1) * shape.headCount, as: .attention) { task, worker in
      let head = task % shape.headCount
      let segment = segments[task / shape.headCount]..<segments[task / shape.headCount + 1]
      let tiles = Tiles(scratch[worker], shape: shape, length: segment.count)
      let columns = head * size..<(head + 1) * size
      let shared = head / shape.queriesPerKey * size..<(head / shape.queriesPerKey + 1) * size
      let q = query.rows(segment).columns(columns)
      let v = value.rows(segment).columns(shared)
      let o = output.rows(segment).columns(columns)
      transpose(key.rows(segment).columns(shared), into: tiles.keys)
      for first in stride(from: 0, to: segment.count, by: tileRows) {
        let count = min(tileRows, segment.count - first)
        let seen = first + count
        let scores = tiles.scores
        kernels.gemm(
          count, wholeVectors(seen), size, shape.scale, q.base + first * q.stride, q.stride, 1, tiles.keys.base,
          tiles.keys.stride, 0, scores.base, scores.stride)
        for row in 0..<count {
          let line = scores.base + row * scores.stride
          let valid = first + row + 1
          var largest: Float = 0
          tiles.sums[row] = kernels.exp_from_largest(valid, line, &largest)
          for column in valid..<seen { line[column] = 0 }
          logSumExp.base[head * query.rows + segment.lowerBound + first + row] = largest + log(tiles.sums[row])
        }
        kernels.gemm(
          count, size, seen, 1, scores.base, scores.stride, 1, v.base, v.stride, 0, o.base + first * o.stride,
          o.stride)
        for row in 0..<count { kernels.scale(size, 1 / tiles.sums[row], o.base + (first + row) * o.stride) }
      }
    }
  }

  /// Gradients of query, key and value; all overwritten. Parameters as in `forward`.
  ///
  /// Heads that share keys and values are summed in their order, whoever computes them. Where each is a task of its own, its
  /// shares replace its columns of `query` and `dOutput`: nobody needs those afterwards.
  public static func backward(
    _ dOutput: Matrix, output: Matrix, query: Matrix, key: Matrix, value: Matrix, shape: AttentionShape,
    segments: [Int], logSumExp: Vector, dQuery: Matrix, dKey: Matrix, dValue: Matrix, pool: ThreadPool,
    scratch: [Scratch]
  ) {
    let kernels = VectorOperations.kernels
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
      let tiles = Tiles(scratch[worker], shape: shape, length: segment.count, hasGradient: true)
      let sharedColumns = firstHead / perKey * size..<(firstHead / perKey + 1) * size
      let k = key.rows(segment).columns(sharedColumns)
      let dk = dKey.rows(segment).columns(sharedColumns)
      let dv = dValue.rows(segment).columns(sharedColumns)
      transpose(k, into: tiles.keys)
      transpose(value.rows(segment).columns(sharedColumns), into: tiles.values)
      for head in firstHead..<firstHead + headsPerTask {
        let columns = head * size..<(head + 1) * size
        let q = query.rows(segment).columns(columns)
        let o = output.rows(segment).columns(columns)
        let dq = dQuery.rows(segment).columns(columns)
        let dO = dOutput.rows(segment).columns(columns)
        let keyShare = perKey > 1 ? tiles.keyShare : dk
        let valueShare = perKey > 1 ? tiles.valueShare : dv
        VectorOperations.fill(keyShare, with: 0)
        VectorOperations.fill(valueShare, with: 0)
        for first in stride(from: 0, to: segment.count, by: tileRows) {
          let count = min(tileRows, segment.count - first)
          let seen = first + count
          let p = tiles.scores
          let dS = tiles.gradients
          let qTile = q.base + first * q.stride
          let dOTile = dO.base + first * dO.stride
          kernels.gemm(
            count, wholeVectors(seen), size, shape.scale, qTile, q.stride, 1, tiles.keys.base, tiles.keys.stride, 0,
            p.base, p.stride)
          kernels.gemm(
            count, wholeVectors(seen), size, 1, dOTile, dO.stride, 1, tiles.values.base, tiles.values.stride, 0, dS.base, dS.stride)
          for row in 0..<count {
            let valid = first + row + 1
            let line = p.base + row * p.stride
            let gradient = dS.base + row * dS.stride
            _ = kernels.exp_shifted(
              valid, logSumExp.base[head * query.rows + segment.lowerBound + first + row], 1, line)
            let mean = kernels.dot(size, dOTile + row * dO.stride, o.base + (first + row) * o.stride)
            kernels.softmax_backward(valid, mean, shape.scale, line, gradient)
            for column in valid..<seen {
              line[column] = 0
              gradient[column] = 0
            }
          }
          kernels.gemm(
            count, size, seen, 1, dS.base, dS.stride, 1, k.base, k.stride, 0, dq.base + first * dq.stride, dq.stride)
          kernels.gemm(
            seen, size, count, 1, dS.base, 1, dS.stride, qTile, q.stride, 1, keyShare.base, keyShare.stride)
          kernels.gemm(
            seen, size, count, 1, p.base, 1, p.stride, dOTile, dO.stride, 1, valueShare.base, valueShare.stride)
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
