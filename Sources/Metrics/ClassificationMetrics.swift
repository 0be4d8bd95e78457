/// How well labels are found, one to each text.
public struct ClassificationMetrics: Sendable {
  public let accuracy: Double
  public let table: ScoreTable
  /// How often label i was called j, `[i][j]`.
  public let confusion: [[Int]]

  /// - Parameters:
  ///   - truth: ids of labels
  ///   - said: likewise
  ///   - names: of all labels, by id
  public init(truth: [Int], said: [Int], names: [String]) {
    precondition(truth.count == said.count, "an answer to each text")
    var confusion = [[Int]](repeating: [Int](repeating: 0, count: names.count), count: names.count)
    for (wanted, given) in zip(truth, said) { confusion[wanted][given] += 1 }
    let hits = names.indices.reduce(0) { $0 + confusion[$1][$1] }
    accuracy = truth.isEmpty ? 0 : Double(hits) / Double(truth.count)
    table = ScoreTable(
      names.indices.map { id in
        let said = names.indices.reduce(0) { $0 + confusion[$1][id] }
        return (names[id], LabelCounts(hits: confusion[id][id], said: said, wanted: confusion[id].reduce(0, +)))
      })
    self.confusion = confusion
  }
}

/// How well labels are found that may hold together.
public struct MultiLabelMetrics: Sendable {
  /// Share of the texts whose labels are all right.
  public let accuracy: Double
  public let table: ScoreTable

  /// - Parameters:
  ///   - truth: whether each label holds, `[texts][labels]`
  ///   - said: likewise
  public init(truth: [[Bool]], said: [[Bool]], names: [String]) {
    precondition(truth.count == said.count, "an answer to each text")
    var counts = [LabelCounts](repeating: LabelCounts(), count: names.count)
    var hits = 0
    for (wanted, given) in zip(truth, said) {
      if wanted == given { hits += 1 }
      for id in names.indices {
        counts[id] =
          counts[id]
          + LabelCounts(hits: wanted[id] && given[id] ? 1 : 0, said: given[id] ? 1 : 0, wanted: wanted[id] ? 1 : 0)
      }
    }
    accuracy = truth.isEmpty ? 0 : Double(hits) / Double(truth.count)
    table = ScoreTable(zip(names, counts).map { ($0, $1) })
  }
}
