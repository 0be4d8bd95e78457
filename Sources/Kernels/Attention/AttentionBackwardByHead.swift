extension Attention.WayBack {
  /// One task for a head of a sample, or two; then the heads that share keys and values are joined. For few groups of heads,
  /// which would not give every thread as much to do.
  func runByHead(pool: ThreadPool) {
    let perKey = shape.queriesPerKey
    let segmentCount = segments.count - 1
    let division = AttentionDivision(heads: segmentCount * shape.headCount, threadCount: pool.threadCount)
    pool.run(division.count, as: .attention, inOrder: true) { task, worker in
      let (number, part) = division.task(task)
      let (index, segment) = (number % shape.headCount, segment(number / shape.headCount))
      let tiles = memory(worker, length: segment.count)
      let rows = layout.rows(of: segment.count, part: part)
      let seen = 0..<layout.keys(of: rows, length: segment.count).upperBound
      let operands = operands(index / perKey, segment, seen: seen, tiles: tiles)
      let head = gradient(index, segment)
      guard let part else {
        head.run(operands, tiles: tiles, into: tiles.keyShare, tiles.valueShare)
        Attention.join(tiles.keyShare, into: head.query, isFirst: true)
        Attention.join(tiles.valueShare, into: head.dOutput, isFirst: true)
        return
      }
      if part == 0 {
        head.run(rows, operands, tiles: tiles, into: tiles.keyShare, tiles.valueShare)
        Attention.join(tiles.keyShare.rows(rows), into: head.query.rows(rows), isFirst: true)
        Attention.join(tiles.valueShare.rows(rows), into: head.dOutput.rows(rows), isFirst: true)
      } else if let place = division.place(ofHead: number) {
        let second = memory(place, length: segment.count)
        head.run(rows, operands, tiles: tiles, into: second.partKeyShare, second.partValueShare)
      }
    }
    pool.run(segmentCount * shape.keyValueHeadCount, as: .attention) { task, _ in
      let (keyHead, segment) = (task % shape.keyValueHeadCount, segment(task / shape.keyValueHeadCount))
      for index in keyHead * perKey..<(keyHead + 1) * perKey {
        let number = task / shape.keyValueHeadCount * shape.headCount + index
        let head = gradient(index, segment)
        var shares = (keys: head.query, values: head.dOutput)
        if let place = division.place(ofHead: number) {
          let second = memory(place, length: segment.count)
          let rows = layout.rows(of: segment.count, part: 0)
          Attention.join(shares.keys.rows(rows), into: second.partKeyShare.rows(rows), isFirst: false)
          Attention.join(shares.values.rows(rows), into: second.partValueShare.rows(rows), isFirst: false)
          shares = (second.partKeyShare, second.partValueShare)
        }
        let isFirst = index == keyHead * perKey
        Attention.join(shares.keys, into: dKey.rows(segment).head(keyHead), isFirst: isFirst)
        Attention.join(shares.values, into: dValue.rows(segment).head(keyHead), isFirst: isFirst)
      }
    }
  }
}
