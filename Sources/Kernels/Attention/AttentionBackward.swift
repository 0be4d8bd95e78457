extension Attention {
  /// Gradients of query, key and value. Parameters as in `forward`; `query` and `dOutput` are spent, sums wait in their place.
  ///
  /// Heads that share keys and values are summed in their order, whoever computes them.
  ///
  /// - Parameter prefixGradient: gets the gradient of the prefix, if that is trained
  public static func backward(
    _ dOutput: Matrix, query: HeadMatrix, key: HeadMatrix, value: HeadMatrix, shape: AttentionShape,
    visibility: Visibility = .causal, prefix: Prefix? = nil, segments: [Int], kept: Kept, dQuery: HeadMatrix,
    dKey: HeadMatrix, dValue: HeadMatrix, prefixGradient: PrefixGradient? = nil, isExact: Bool, pool: ThreadPool,
    scratch: [Scratch]
  ) {
    precondition(
      query.count == shape.headCount && dQuery.count == shape.headCount
        && [key, value, dKey, dValue].allSatisfy { $0.count == shape.keyValueHeadCount }, "heads of an attention")
    let way = WayBack(
      dOutput: HeadMatrix(dOutput, size: shape.headSize), query: query, key: key, value: value, prefix: prefix,
      layout: AttentionLayout(shape: shape, visibility: visibility, prefixCount: prefix?.count ?? 0),
      segments: segments, kept: kept, dQuery: dQuery, dKey: dKey, dValue: dValue,
      arithmetic: AttentionArithmetic(shape: shape, isExact: isExact), scratch: scratch)
    let samples = 0..<segments.count - 1
    if let prefixGradient, prefix != nil {
      for first in stride(from: 0, to: samples.count, by: PrefixGradient.sampleCount) {
        let some = first..<min(first + PrefixGradient.sampleCount, samples.count)
        way.runByGroup(samples: some, prefixGradient: prefixGradient, pool: pool)
        way.join(prefixGradient, sampleCount: some.count, pool: pool)
      }
      return
    }
    let groups = samples.count * shape.keyValueHeadCount
    // A group of heads transposes its keys once, so it stays together where that gives every thread as much to do.
    if shape.queriesPerKey > 1 && groups < 4 * pool.threadCount && groups % pool.threadCount != 0 {
      way.runByHead(pool: pool)
    } else {
      way.runByGroup(samples: samples, prefixGradient: nil, pool: pool)
    }
  }

  /// What the schedules of the way back have in common.
  struct WayBack: Sendable {
    let dOutput: HeadMatrix
    let query: HeadMatrix
    let key: HeadMatrix
    let value: HeadMatrix
    let prefix: Prefix?
    let layout: AttentionLayout
    let segments: [Int]
    let kept: Kept
    let dQuery: HeadMatrix
    let dKey: HeadMatrix
    let dValue: HeadMatrix
    let arithmetic: AttentionArithmetic
    let scratch: [Scratch]

    var shape: AttentionShape { layout.shape }

    func memory(_ worker: Int, length: Int) -> AttentionTiles {
      AttentionTiles(scratch[worker], layout, length: length, arithmetic, hasGradient: true)
    }

    func segment(_ index: Int) -> Range<Int> { segments[index]..<segments[index + 1] }

    /// - Parameter prefix: what the sample adds to the prefix's gradients
    func gradient(_ index: Int, _ segment: Range<Int>, prefix: (key: Matrix, value: Matrix)? = nil) -> HeadGradient {
      HeadGradient(
        query: query.rows(segment).head(index), dOutput: dOutput.rows(segment).head(index),
        dQuery: dQuery.rows(segment).head(index), prefix: prefix,
        kept: kept.head(index, segment, tokens: query.rows, shape: shape), layout: layout, arithmetic: arithmetic)
    }

    /// - Parameter seen: the first keys of the sample
    func operands(_ keyHead: Int, _ segment: Range<Int>, seen: Range<Int>, tiles: AttentionTiles) -> KeyOperands {
      KeyOperands(
        key.rows(segment).head(keyHead).rows(seen), value.rows(segment).head(keyHead).rows(seen),
        prefix: prefix.map { ($0.key.head(keyHead), $0.value.head(keyHead)) }, arithmetic, tiles: tiles,
        hasWeights: kept.weights.columns > 0)
    }
  }
}
