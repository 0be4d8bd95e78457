import CKernels
import Glibc

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
/// a time. For the way back the weights of short samples are kept as halves; of longer ones the logarithm of each row's
/// sum, and the scores are computed again.
///
/// Source: Dao et al. 2022, arXiv 2205.14135.
public enum Attention {
  /// What `forward` leaves for `backward`.
  public struct Kept {
    /// `[heads * tokens]`: logarithm of each row's sum, or where the weights are kept its inverse.
    let sums: Vector
    /// `[tokens, weightsPerToken]`, in halves, before they are divided by the row's sum; empty where scores are computed
    /// again. A sample's heads lie one after the other, and of each its tiles.
    let weights: KeptMatrix

    public init(sums: Vector, weights: KeptMatrix) {
      self.sums = sums
      self.weights = weights
    }

    /// One head's part of what a sample of the tokens `segment` leaves.
    func head(_ index: Int, _ segment: Range<Int>, tokens: Int, shape: AttentionShape) -> KeptHead {
      let perHead = weights.columns / shape.headCount
      return KeptHead(
        sums: sums.part(index * tokens + segment.lowerBound..<index * tokens + segment.upperBound),
        weights: perHead == 0
          ? nil : weights.codes(segment.lowerBound) + index * segment.count * perHead)
    }
  }

  /// What one head leaves of one sample.
  struct KeptHead {
    let sums: Vector  // [length]
    let weights: UnsafeMutablePointer<UInt16>?
  }

  /// Halves per token for the weights of samples of at most `length` tokens; none where they would take more memory than
  /// queries, keys and values do.
  public static func weightsPerToken(shape: AttentionShape, length: Int) -> Int {
    // A shorter sample has no more per token: its rows see no more keys.
    let perHead = (weightCount(rowsBefore: length, of: length) + max(length, 1) - 1) / max(length, 1)
    let floats = (shape.headCount + 2 * shape.keyValueHeadCount) * shape.headSize
    return 2 * shape.headCount * perHead > 4 * floats ? 0 : shape.headCount * perHead
  }

  /// Kept weights of the rows before `end`, the end of a tile, in a sample of `length` tokens.
  private static func weightCount(rowsBefore end: Int, of length: Int) -> Int {
    stride(from: 0, to: end, by: tileRows).reduce(0) { count, first in
      let rows = first..<min(first + tileRows, length)
      return count + rows.count * wholeVectors(rows.upperBound)
    }
  }

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

  /// Query rows of a sample that are a task's work where a head is shared between two: the second part begins where both
  /// have as many products to do. The gradients of keys and values are always sums of two parts' sums.
  private static func rows(of length: Int, part: Int?) -> Range<Int> {
    let tiles = Int((Double(length) * 0.5.squareRoot() / Double(tileRows)).rounded())
    let middle = length < 4 * tileRows ? 0 : tiles * tileRows
    return switch part {
    case nil: 0..<length
    case 0: 0..<middle
    default: middle..<length
    }
  }

  /// How heads are shared out: whole ones as far as every thread gets as many, the others in two parts.
  private struct Division {
    private let wholeCount: Int
    /// Number of tasks.
    let count: Int

    init(heads: Int, threadCount: Int) {
      wholeCount = threadCount == 1 ? heads : heads / threadCount * threadCount
      count = wholeCount + 2 * (heads - wholeCount)
    }

    /// Whether the last tasks are smaller than the others.
    var hasParts: Bool { count > wholeCount }

    /// Head and part of a task; a whole head where there is no part.
    func task(_ index: Int) -> (head: Int, part: Int?) {
      if index < wholeCount { return (index, nil) }
      return (wholeCount + (index - wholeCount) / 2, (index - wholeCount) % 2)
    }

    /// Place of a head among those that are in two parts, of which there are fewer than threads.
    func place(ofHead head: Int) -> Int? { head < wholeCount ? nil : head - wholeCount }
  }

  /// Scratch of one worker for samples of at most `length` tokens, in bytes.
  public static func scratchByteCount(shape: AttentionShape, length: Int, hasGradient: Bool) -> Int {
    let size = shape.headSize
    let tiles = (2 * size + 2 * tileRows) * distance(length) + tileRows
    var gradient = hasGradient ? 4 * shareCount(shape, length) : 0
    if hasGradient && Arithmetic(shape: shape, isExact: false).packs {
      gradient += (length + 1) / 2 * size + tileRows * distance(length) + 3 * tileRows / 2 * size
    }
    return Scratch.aligned((tiles + gradient) * 4)
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

    // Empty if heads share no keys.
    let keyShare: Matrix  // [length, head size]
    let valueShare: Matrix  // [length, head size]
    // Shares of the second part of a head, whichever worker computes it: one such head in the memory of each worker.
    let partKeyShare: Matrix  // [length, head size]
    let partValueShare: Matrix  // [length, head size]

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
      // At the very end: samples of other lengths, whose memory lies elsewhere, may be in work at the same time.
      base = (scratch.base + scratch.byteCount).assumingMemoryBound(to: Float.self) - 2 * count
      partKeyShare = take(count / size, size, stride: size)
      partValueShare = take(count / size, size, stride: size)
    }
  }

  /// - Parameters:
  ///   - query: `[tokens, heads * head size]`
  ///   - key: `[tokens, key-value heads * head size]`
  ///   - value: as `key`
  ///   - segments: first token of each sample, then the number of tokens
  ///   - output: as `query`
  ///   - kept: for `backward`
  ///   - isExact: the products are those of floats; otherwise of bfloat16 where the processor is faster with that
  ///   - scratch: one for each worker, of `scratchByteCount` for the longest sample
  public static func forward(
    query: Matrix, key: Matrix, value: Matrix, shape: AttentionShape, segments: [Int], into output: Matrix,
    keeping kept: Kept, isExact: Bool, pool: ThreadPool, scratch: [Scratch]
  ) {
    let kernels = VectorOperations.kernels
    let arithmetic = Arithmetic(shape: shape, isExact: isExact)
    let size = shape.headSize
    let division = Division(heads: (segments.count - 1) * shape.headCount, threadCount: pool.threadCount)
    pool.run(division.count, as: .attention, inOrder: division.hasParts) { task, worker in
      let (index, half) = division.task(task)
      let head = index % shape.headCount
      let segment = segments[index / shape.headCount]..<segments[index / shape.headCount + 1]
      let part = rows(of: segment.count, part: half)
      let tiles = Tiles(scratch[worker], shape: shape, length: segment.count, packs: arithmetic.packs)
      let columns = head * size..<(head + 1) * size
      let shared = head / shape.queriesPerKey * size..<(head / shape.queriesPerKey + 1) * size
      let q = query.rows(segment).columns(columns)
      let o = output.rows(segment).columns(columns)
      let visible = segment.lowerBound..<segment.lowerBound + part.upperBound
      let keptHead = kept.head(head, segment, tokens: query.rows, shape: shape)
      var weights = keptHead.weights.map { $0 + weightCount(rowsBefore: part.lowerBound, of: segment.count) }
      transpose(key.rows(visible).columns(shared), into: tiles.keys)
      let values = arithmetic.columns(value.rows(visible).columns(shared), in: tiles.valueColumns)
      for first in stride(from: part.lowerBound, to: part.upperBound, by: tileRows) {
        let rows = first..<min(first + tileRows, part.upperBound)
        let (count, seen) = (rows.count, rows.upperBound)
        let scores = tiles.scores.rows(0..<count)
        score(q.rows(rows), tiles.keys, seen: seen, shape: shape, into: scores)
        for row in 0..<count {
          let line = scores.base + row * scores.stride
          let valid = first + row + 1
          var largest: Float = 0
          tiles.sums[row] = kernels.exp_from_largest(valid, line, &largest)
          for column in valid..<seen { line[column] = 0 }
          if let place = weights {
            kernels.to_half(seen, line, place)
            weights = place + wholeVectors(seen)
            keptHead.sums.base[first + row] = 1 / tiles.sums[row]
          } else {
            keptHead.sums.base[first + row] = largest + log(tiles.sums[row])
          }
        }
        arithmetic.multiply(
          arithmetic.rows(scores.columns(0..<seen), in: scores), values, columns: size, into: o.rows(rows))
        for row in 0..<count { kernels.scale(size, 1 / tiles.sums[row], o.base + (first + row) * o.stride) }
      }
    }
  }

  /// Gradients of query, key and value. Parameters as in `forward`; `query` and `dOutput` are spent, sums wait in their place.
  ///
  /// Heads that share keys and values are summed in their order, whoever computes them.
  public static func backward(
    _ dOutput: Matrix, query: Matrix, key: Matrix, value: Matrix, shape: AttentionShape,
    segments: [Int], kept: Kept, dQuery: Matrix, dKey: Matrix, dValue: Matrix, isExact: Bool, pool: ThreadPool,
    scratch: [Scratch]
  ) {
    let arithmetic = Arithmetic(shape: shape, isExact: isExact)
    let size = shape.headSize
    let perKey = shape.queriesPerKey
    let segmentCount = segments.count - 1
    func memory(_ worker: Int, length: Int) -> Tiles {
      Tiles(scratch[worker], shape: shape, length: length, packs: arithmetic.packs, hasGradient: true)
    }
    func segment(_ index: Int) -> Range<Int> { segments[index]..<segments[index + 1] }
    func gradient(_ index: Int, _ segment: Range<Int>) -> HeadGradient {
      let columns = index * size..<(index + 1) * size
      return HeadGradient(
        query: query.rows(segment).columns(columns), dOutput: dOutput.rows(segment).columns(columns),
        dQuery: dQuery.rows(segment).columns(columns),
        kept: kept.head(index, segment, tokens: query.rows, shape: shape), shape: shape, arithmetic: arithmetic)
    }
    func shared(_ matrix: Matrix, _ keyHead: Int, _ segment: Range<Int>) -> Matrix {
      matrix.rows(segment).columns(keyHead * size..<(keyHead + 1) * size)
    }

    let groups = segmentCount * shape.keyValueHeadCount
    // A group of heads transposes its keys once, so it stays together where that gives every thread as much to do.
    guard perKey > 1 && groups < 4 * pool.threadCount && groups % pool.threadCount != 0 else {
      pool.run(groups, as: .attention) { task, worker in
        let (keyHead, segment) = (task % shape.keyValueHeadCount, segment(task / shape.keyValueHeadCount))
        let tiles = memory(worker, length: segment.count)
        let (dk, dv) = (shared(dKey, keyHead, segment), shared(dValue, keyHead, segment))
        let operands = KeyOperands(
          shared(key, keyHead, segment), shared(value, keyHead, segment), arithmetic, tiles: tiles,
          hasWeights: kept.weights.columns > 0)
        for index in keyHead * perKey..<(keyHead + 1) * perKey {
          let (keyShare, valueShare) = perKey > 1 ? (tiles.keyShare, tiles.valueShare) : (dk, dv)
          gradient(index, segment).run(operands, tiles: tiles, into: keyShare, valueShare)
          if perKey > 1 {
            join(keyShare, into: dk, isFirst: index == keyHead * perKey)
            join(valueShare, into: dv, isFirst: index == keyHead * perKey)
          }
        }
      }
      return
    }
    let division = Division(heads: segmentCount * shape.headCount, threadCount: pool.threadCount)
    pool.run(division.count, as: .attention, inOrder: true) { task, worker in
      let (number, part) = division.task(task)
      let (index, segment) = (number % shape.headCount, segment(number / shape.headCount))
      let tiles = memory(worker, length: segment.count)
      let rows = rows(of: segment.count, part: part)
      let visible = segment.lowerBound..<segment.lowerBound + rows.upperBound
      let operands = KeyOperands(
        shared(key, index / perKey, visible), shared(value, index / perKey, visible), arithmetic, tiles: tiles,
        hasWeights: kept.weights.columns > 0)
      let head = gradient(index, segment)
      guard let part else {
        head.run(operands, tiles: tiles, into: tiles.keyShare, tiles.valueShare)
        join(tiles.keyShare, into: head.query, isFirst: true)
        join(tiles.valueShare, into: head.dOutput, isFirst: true)
        return
      }
      if part == 0 {
        head.run(rows, operands, tiles: tiles, into: tiles.keyShare, tiles.valueShare)
        join(tiles.keyShare.rows(rows), into: head.query.rows(rows), isFirst: true)
        join(tiles.valueShare.rows(rows), into: head.dOutput.rows(rows), isFirst: true)
      } else if let place = division.place(ofHead: number) {
        let second = memory(place, length: segment.count)
        head.run(rows, operands, tiles: tiles, into: second.partKeyShare, second.partValueShare)
      }
    }
    pool.run(groups, as: .attention) { task, _ in
      let (keyHead, segment) = (task % shape.keyValueHeadCount, segment(task / shape.keyValueHeadCount))
      for index in keyHead * perKey..<(keyHead + 1) * perKey {
        let number = task / shape.keyValueHeadCount * shape.headCount + index
        let head = gradient(index, segment)
        var shares = (keys: head.query, values: head.dOutput)
        if let place = division.place(ofHead: number) {
          let second = memory(place, length: segment.count)
          let rows = rows(of: segment.count, part: 0)
          join(shares.keys.rows(rows), into: second.partKeyShare.rows(rows), isFirst: false)
          join(shares.values.rows(rows), into: second.partValueShare.rows(rows), isFirst: false)
          shares = (second.partKeyShare, second.partValueShare)
        }
        join(shares.keys, into: shared(dKey, keyHead, segment), isFirst: index == keyHead * perKey)
        join(shares.values, into: shared(dValue, keyHead, segment), isFirst: index == keyHead * perKey)
      }
    }
  }

  /// Keys and values of a head as its gradients need them.
  private struct KeyOperands {
    /// For scores that are computed again.
    let transposedKeys: Matrix
    /// For products that sum over tokens.
    let keys: Matrix
    let transposedValues: Matrix

    /// - Parameter hasWeights: whether those of the softmax are kept
    init(_ key: Matrix, _ value: Matrix, _ arithmetic: Arithmetic, tiles: Tiles, hasWeights: Bool) {
      if !hasWeights { transpose(key, into: tiles.keys) }
      transposedKeys = tiles.keys
      keys = arithmetic.columns(key, in: tiles.keyColumns)
      let v = arithmetic.rows(value, in: tiles.valueRows)
      transpose(v, into: tiles.values)
      transposedValues = tiles.values.rows(0..<v.columns)
    }
  }

  /// The way back of one head in one sample.
  private struct HeadGradient {
    let query: Matrix  // [length, head size]
    let dOutput: Matrix  // [length, head size]
    let dQuery: Matrix  // [length, head size]
    let kept: KeptHead
    let shape: AttentionShape
    let arithmetic: Arithmetic

    /// All rows. The first part's shares wait in the place of its queries and outputs' gradients.
    ///
    /// - Parameters:
    ///   - keyShare: becomes the head's part of the keys' gradient, `[length, head size]`
    ///   - valueShare: the same for the values
    func run(_ operands: KeyOperands, tiles: Tiles, into keyShare: Matrix, _ valueShare: Matrix) {
      let first = Attention.rows(of: query.rows, part: 0)
      if !first.isEmpty {
        run(first, operands, tiles: tiles, into: keyShare, valueShare)
        join(keyShare.rows(first), into: query.rows(first), isFirst: true)
        join(valueShare.rows(first), into: dOutput.rows(first), isFirst: true)
      }
      run(Attention.rows(of: query.rows, part: 1), operands, tiles: tiles, into: keyShare, valueShare)
      join(query.rows(first), into: keyShare.rows(first), isFirst: false)
      join(dOutput.rows(first), into: valueShare.rows(first), isFirst: false)
    }

    /// Some rows, from a multiple of `tileRows`; of the shares the rows of the keys that those see.
    func run(
      _ part: Range<Int>, _ operands: KeyOperands, tiles: Tiles, into keyShare: Matrix, _ valueShare: Matrix
    ) {
      let kernels = VectorOperations.kernels
      VectorOperations.fill(keyShare.rows(0..<part.upperBound), with: 0)
      VectorOperations.fill(valueShare.rows(0..<part.upperBound), with: 0)
      var weights = kept.weights.map { $0 + weightCount(rowsBefore: part.lowerBound, of: query.rows) }
      for first in stride(from: part.lowerBound, to: part.upperBound, by: tileRows) {
        let rows = first..<min(first + tileRows, part.upperBound)
        let (count, seen) = (rows.count, rows.upperBound)
        let p = tiles.scores.rows(0..<count)
        let dS = tiles.gradients.rows(0..<count)
        let qTile = query.rows(rows)
        let dOTile = dOutput.rows(rows)
        if weights == nil { score(qTile, operands.transposedKeys, seen: seen, shape: shape, into: p) }
        arithmetic.multiply(
          arithmetic.rows(dOTile, in: tiles.outputRows), operands.transposedValues, columns: wholeVectors(seen),
          into: dS)
        for row in 0..<count {
          let valid = first + row + 1
          let line = p.base + row * p.stride
          let gradient = dS.base + row * dS.stride
          var scale: Float = 1
          if let place = weights {
            kernels.from_half(seen, place, line)
            weights = place + wholeVectors(seen)
            // The weights' factor joins what they are multiplied with.
            scale = kept.sums.base[first + row]
            kernels.scale(shape.headSize, scale, dOTile.base + row * dOTile.stride)
          } else {
            _ = kernels.exp_shifted(valid, kept.sums.base[first + row], 1, line)
            for column in valid..<seen { line[column] = 0 }
          }
          // The mean from the same products that it is taken from: what is wrong with them cancels where one key has
          // nearly all of the weight.
          let mean = scale * kernels.dot(valid, line, gradient)
          kernels.softmax_backward(valid, mean, scale * shape.scale, line, gradient)
          for column in valid..<seen { gradient[column] = 0 }
        }
        let visible = dS.columns(0..<seen)
        arithmetic.multiplyTransposed(
          arithmetic.columns(visible, in: tiles.gradientColumns),
          arithmetic.columns(qTile, in: tiles.queryColumns), addingTo: keyShare)
        arithmetic.multiplyTransposed(
          arithmetic.columns(p.columns(0..<seen), in: tiles.scoreColumns),
          arithmetic.columns(dOTile, in: tiles.outputColumns), addingTo: valueShare)
        arithmetic.multiply(
          arithmetic.rows(visible, in: dS), operands.keys, columns: shape.headSize, into: dQuery.rows(rows))
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
