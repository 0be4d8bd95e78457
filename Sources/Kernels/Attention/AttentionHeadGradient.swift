import CKernels

extension Attention {
  /// Keys and values of a head as its gradients need them.
  struct KeyOperands {
    /// For products that sum over tokens.
    let keys: Matrix
    let transposedValues: Matrix
    let prefixKeys: Matrix?
    let transposedPrefixValues: Matrix?

    /// - Parameters:
    ///   - prefix: keys and values that all samples have in front
    ///   - hasWeights: whether those of the softmax are kept; otherwise the transposed keys are left in `tiles`
    init(
      _ key: Matrix, _ value: Matrix, prefix: (key: Matrix, value: Matrix)?, _ arithmetic: AttentionArithmetic,
      tiles: AttentionTiles, hasWeights: Bool
    ) {
      if !hasWeights { arithmetic.place(key, in: tiles.keys) }
      keys = arithmetic.columns(key, in: tiles.keyColumns)
      let v = arithmetic.rows(value, in: tiles.valueRows)
      AttentionArithmetic.transpose(v, into: tiles.values)
      transposedValues = tiles.values.rows(0..<v.columns)
      guard let prefix else {
        (prefixKeys, transposedPrefixValues) = (nil, nil)
        return
      }
      if !hasWeights { arithmetic.place(prefix.key, in: tiles.prefixKeys) }
      prefixKeys = arithmetic.columns(prefix.key, in: tiles.prefixColumns)
      let prefixValues = arithmetic.rows(prefix.value, in: tiles.prefixRows)
      AttentionArithmetic.transpose(prefixValues, into: tiles.prefixValues)
      transposedPrefixValues = tiles.prefixValues.rows(0..<prefixValues.columns)
    }
  }

  /// The way back of one head in one sample.
  struct HeadGradient {
    let query: Matrix  // [length, head size]
    let dOutput: Matrix  // [length, head size]
    let dQuery: Matrix  // [length, head size]
    /// What the sample adds to the prefix's gradients, `[p, head size]`; added to.
    let prefix: (key: Matrix, value: Matrix)?
    let kept: KeptHead
    let layout: AttentionLayout
    let arithmetic: AttentionArithmetic

    /// All rows. The first part's shares wait in the place of its queries and outputs' gradients.
    ///
    /// - Parameters:
    ///   - keyShare: becomes the head's part of the keys' gradient, `[length, head size]`
    ///   - valueShare: the same for the values
    func run(_ operands: KeyOperands, tiles: AttentionTiles, into keyShare: Matrix, _ valueShare: Matrix) {
      let first = layout.rows(of: query.rows, part: 0)
      if !first.isEmpty {
        run(first, operands, tiles: tiles, into: keyShare, valueShare)
        join(keyShare.rows(first), into: query.rows(first), isFirst: true)
        join(valueShare.rows(first), into: dOutput.rows(first), isFirst: true)
      }
      run(layout.rows(of: query.rows, part: 1), operands, tiles: tiles, into: keyShare, valueShare)
      join(query.rows(first), into: keyShare.rows(first), isFirst: false)
      join(dOutput.rows(first), into: valueShare.rows(first), isFirst: false)
    }

    /// Some rows, from a multiple of `tileRows`; of the shares the rows of the keys that those see.
    func run(
      _ part: Range<Int>, _ operands: KeyOperands, tiles: AttentionTiles, into keyShare: Matrix, _ valueShare: Matrix
    ) {
      let kernels = KernelTables.float
      let length = query.rows
      let seen = 0..<layout.keys(of: part, length: length).upperBound
      VectorOperations.fill(keyShare.rows(seen), with: 0)
      VectorOperations.fill(valueShare.rows(seen), with: 0)
      var weights = kept.weights.map { $0 + layout.weightCount(rowsBefore: part.lowerBound, of: length) }
      for first in stride(from: part.lowerBound, to: part.upperBound, by: AttentionLayout.tileRows) {
        let rows = first..<min(first + AttentionLayout.tileRows, part.upperBound)
        let tile = ScoreTile(rows: rows, keys: layout.keys(of: rows, length: length), layout: layout, length: length)
        let p = tiles.scores.rows(0..<rows.count)
        let dS = tiles.gradients.rows(0..<rows.count)
        let dOTile = dOutput.rows(rows)
        if weights == nil { tile.score(query.rows(rows), arithmetic, tiles: tiles, into: p) }
        multiplyValues(dOTile, operands, tile, tiles: tiles, into: dS)
        for row in 0..<rows.count {
          let line = p.base + row * p.stride
          let gradient = dS.base + row * dS.stride
          var scale: Float = 1
          let valid = tile.hide(row, in: line)
          if let place = weights {
            kernels.pointee.from_half(tile.columns, place, line)
            weights = place + tile.keptColumns
            // The weights' factor joins what they are multiplied with.
            scale = kept.sums.base[first + row]
            kernels.pointee.scale(layout.shape.headSize, scale, dOTile.base + row * dOTile.stride)
          } else {
            _ = kernels.pointee.exp_shifted(valid, kept.sums.base[first + row], 1, line)
            for column in valid..<tile.columns { line[column] = 0 }
          }
          for column in tile.hidden(row) { gradient[column] = 0 }
          // The mean from the same products that it is taken from: what is wrong with them cancels where one key has
          // nearly all of the weight.
          let mean = scale * kernels.pointee.dot(valid, line, gradient)
          kernels.pointee.softmax_backward(valid, mean, scale * layout.shape.scale, line, gradient)
          for column in valid..<tile.columns { gradient[column] = 0 }
        }
        finish(tile, p: p, dS: dS, operands, tiles: tiles, into: keyShare, valueShare)
      }
    }

    /// `dS = dO valuesᵀ`
    private func multiplyValues(
      _ dOTile: Matrix, _ operands: KeyOperands, _ tile: ScoreTile, tiles: AttentionTiles, into dS: Matrix
    ) {
      let dO = arithmetic.rows(dOTile, in: tiles.outputRows)
      let values = operands.transposedValues
      arithmetic.multiply(
        dO,
        Matrix(values.base + tile.keys.lowerBound, rows: values.rows, columns: tile.keys.count, stride: values.stride),
        columns: AttentionLayout.wholeVectors(tile.keys.count),
        into: Matrix(
          dS.base + layout.prefixColumns, rows: dS.rows, columns: dS.columns - layout.prefixColumns, stride: dS.stride))
      if let prefixValues = operands.transposedPrefixValues {
        arithmetic.multiply(dO, prefixValues, columns: layout.prefixColumns, into: dS)
      }
    }

    /// What the gradients of queries, keys and values get of a tile's weights `p` and scores' gradients `dS`.
    private func finish(
      _ tile: ScoreTile, p: Matrix, dS: Matrix, _ operands: KeyOperands, tiles: AttentionTiles, into keyShare: Matrix,
      _ valueShare: Matrix
    ) {
      let size = layout.shape.headSize
      let visible = dS.columns(0..<tile.columns)
      let dScores = arithmetic.columns(visible, in: tiles.gradientColumns)
      let queries = arithmetic.columns(query.rows(tile.rows), in: tiles.queryColumns)
      arithmetic.multiplyTransposed(dScores.columns(tile.own), queries, addingTo: keyShare.rows(tile.keys))
      let weights = arithmetic.columns(p.columns(0..<tile.columns), in: tiles.scoreColumns)
      let dOutputs = arithmetic.columns(dOutput.rows(tile.rows), in: tiles.outputColumns)
      arithmetic.multiplyTransposed(weights.columns(tile.own), dOutputs, addingTo: valueShare.rows(tile.keys))
      if let prefix {
        arithmetic.multiplyTransposed(dScores.columns(tile.prefix), queries, addingTo: prefix.key)
        arithmetic.multiplyTransposed(weights.columns(tile.prefix), dOutputs, addingTo: prefix.value)
      }
      let packed = arithmetic.rows(visible, in: dS)
      let dq = dQuery.rows(tile.rows)
      arithmetic.multiply(
        arithmetic.part(packed, tile.own), arithmetic.rowPart(operands.keys, tile.keys), columns: size, into: dq)
      if let prefixKeys = operands.prefixKeys {
        arithmetic.multiply(
          arithmetic.part(packed, tile.prefix), prefixKeys, columns: size, into: dq, accumulate: true)
      }
    }
  }

  /// `y (+)= share`
  static func join(_ share: Matrix, into y: Matrix, isFirst: Bool) {
    let kernels = KernelTables.float
    for row in 0..<share.rows {
      let (from, to) = (share.base + row * share.stride, y.base + row * y.stride)
      if isFirst {
        kernels.pointee.copy(share.columns, from, to)
      } else {
        kernels.pointee.add_scaled(share.columns, 1, from, to)
      }
    }
  }
}
