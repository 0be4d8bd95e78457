extension Attention.WayBack {
  /// One task for the heads of a sample that share keys and values.
  ///
  /// - Parameters:
  ///   - samples: which of the segments
  ///   - prefixGradient: its memory of the samples is filled
  func runByGroup(samples: Range<Int>, prefixGradient: Attention.PrefixGradient?, pool: ThreadPool) {
    let perKey = shape.queriesPerKey
    pool.run(samples.count * shape.keyValueHeadCount, as: .attention) { task, worker in
      let keyHead = task % shape.keyValueHeadCount
      let number = task / shape.keyValueHeadCount
      let segment = segment(samples.lowerBound + number)
      let tiles = memory(worker, length: segment.count)
      let (dk, dv) = (dKey.rows(segment).head(keyHead), dValue.rows(segment).head(keyHead))
      let operands = operands(keyHead, segment, seen: 0..<segment.count, tiles: tiles)
      let prefixShare = prefixGradient.map { gradient in
        let sample = gradient.sample(number)
        let share = (key: sample.key.head(keyHead), value: sample.value.head(keyHead))
        VectorOperations.fill(share.key, with: 0)
        VectorOperations.fill(share.value, with: 0)
        return share
      }
      for index in keyHead * perKey..<(keyHead + 1) * perKey {
        let (keyShare, valueShare) = perKey > 1 ? (tiles.keyShare, tiles.valueShare) : (dk, dv)
        gradient(index, segment, prefix: prefixShare).run(operands, tiles: tiles, into: keyShare, valueShare)
        if perKey > 1 {
          Attention.join(keyShare, into: dk, isFirst: index == keyHead * perKey)
          Attention.join(valueShare, into: dv, isFirst: index == keyHead * perKey)
        }
      }
    }
  }

  /// Adds the samples' shares of a prefix's gradient in their order.
  func join(_ gradient: Attention.PrefixGradient, sampleCount: Int, pool: ThreadPool) {
    pool.run(shape.keyValueHeadCount, as: .attention) { keyHead, _ in
      for number in 0..<sampleCount {
        let share = gradient.sample(number)
        Attention.join(share.key.head(keyHead), into: gradient.key.head(keyHead), isFirst: false)
        Attention.join(share.value.head(keyHead), into: gradient.value.head(keyHead), isFirst: false)
      }
    }
  }
}
