/// How well labels are found, one to each text.
public struct ClassificationMetrics: Sendable {
  public let accuracy: Double
  public let table: ScoreTable
  /// How often label i was called j, `[i][j]`; `nil` where there are more labels than a table of them is of use.
  public let confusion: [[Int]]?

  /// The most labels whose confusions are counted.
  private static let mostConfused = 256

  /// What has been counted of some texts.
  struct Tally: Sendable {
    fileprivate var counts: [LabelCounts]
    fileprivate var confusion: [[Int]]?

    init(labelCount: Int) {
      counts = [LabelCounts](repeating: LabelCounts(), count: labelCount)
      let row = [Int](repeating: 0, count: labelCount)
      confusion = labelCount <= mostConfused ? [[Int]](repeating: row, count: labelCount) : nil
    }

    /// Takes a text: the id of its label, and of the one that was said.
    mutating func add(wanted: Int, given: Int) {
      counts[wanted].wanted += 1
      counts[given].said += 1
      if wanted == given { counts[wanted].hits += 1 }
      confusion?[wanted][given] += 1
    }
  }

  /// - Parameters:
  ///   - truth: ids of labels
  ///   - said: likewise
  ///   - names: of all labels, by id
  public init(truth: [Int], said: [Int], names: [String]) {
    precondition(truth.count == said.count, "an answer to each text")
    var tally = Tally(labelCount: names.count)
    for (wanted, given) in zip(truth, said) { tally.add(wanted: wanted, given: given) }
    self.init(tally, names: names)
  }

  init(_ tally: Tally, names: [String]) {
    let all = tally.counts.reduce(LabelCounts()) { $0 + $1 }
    accuracy = all.wanted == 0 ? 0 : Double(all.hits) / Double(all.wanted)
    table = ScoreTable(zip(names, tally.counts).map { ($0, $1) })
    confusion = tally.confusion
  }
}

/// How well labels are found that may hold together.
public struct MultiLabelMetrics: Sendable {
  /// Share of the texts whose labels are all right.
  public let accuracy: Double
  public let table: ScoreTable

  /// What has been counted of some texts.
  struct Tally: Sendable {
    fileprivate var counts: [LabelCounts]
    fileprivate var hits = 0
    fileprivate var texts = 0

    init(labelCount: Int) { counts = [LabelCounts](repeating: LabelCounts(), count: labelCount) }

    /// Takes a text: whether each label holds, and whether it was said to.
    mutating func add(wanted: [Bool], given: [Bool]) {
      texts += 1
      if wanted == given { hits += 1 }
      for id in counts.indices {
        counts[id] =
          counts[id]
          + LabelCounts(hits: wanted[id] && given[id] ? 1 : 0, said: given[id] ? 1 : 0, wanted: wanted[id] ? 1 : 0)
      }
    }
  }

  /// - Parameters:
  ///   - truth: whether each label holds, `[texts][labels]`
  ///   - said: likewise
  public init(truth: [[Bool]], said: [[Bool]], names: [String]) {
    precondition(truth.count == said.count, "an answer to each text")
    var tally = Tally(labelCount: names.count)
    for (wanted, given) in zip(truth, said) { tally.add(wanted: wanted, given: given) }
    self.init(tally, names: names)
  }

  init(_ tally: Tally, names: [String]) {
    accuracy = tally.texts == 0 ? 0 : Double(tally.hits) / Double(tally.texts)
    table = ScoreTable(zip(names, tally.counts).map { ($0, $1) }, keepsAbsent: true)
  }
}
