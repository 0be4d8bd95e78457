import Architectures
import Formats
import Metrics
import Testing

struct MetricsTests {
  /// Sums are in other orders.
  private static let tolerance = 1e-9

  private func cases(_ name: String) throws -> [JSONValue] {
    let path = "\(#filePath.dropLast("MetricsTests.swift".count))Golden/figures.json"
    return try #require(try JSONValue.parse(contentsOf: path)[name]?.arrayValue)
  }

  private func integers(_ json: JSONValue?) -> [Int] { json?.arrayValue?.compactMap(\.intValue) ?? [] }
  private func numbers(_ json: JSONValue?) -> [Double] { json?.arrayValue?.compactMap(\.doubleValue) ?? [] }
  private func texts(_ json: JSONValue?) -> [[String]] {
    json?.arrayValue?.map { $0.arrayValue?.compactMap(\.stringValue) ?? [] } ?? []
  }

  private func expect(_ score: LabelScore, _ wanted: JSONValue?, _ about: Comment) {
    let wanted = numbers(wanted)
    #expect(wanted.count == 3, about)
    for (ours, theirs) in zip([score.precision, score.recall, score.f1], wanted) {
      #expect(abs(ours - theirs) <= Self.tolerance, about)
    }
  }

  private func expect(_ table: ScoreTable, _ json: JSONValue) {
    expect(table.micro, json["micro"], "micro")
    expect(table.macro, json["macro"], "macro")
    expect(table.weighted, json["weighted"], "weighted")
  }

  /// Values that something holds, all told.
  private func size(_ value: Any) -> Int { Mirror(reflecting: value).children.reduce(1) { $0 + size($1.value) } }

  /// An evaluation of a million words fits the budget that one of ten does.
  @Test(arguments: [ModelTask.tokenClassification, .sequenceClassification])
  func aReportCountsAndKeepsNoText(task: ModelTask) {
    for (problem, names) in [
      (ProblemType.singleLabel, ["O", "B-x", "I-x"]), (.singleLabel, ["a", "b", "c"]), (.multiLabel, ["a", "b", "c"]),
    ] where task == .sequenceClassification || problem == .singleLabel {
      var report = LabelReport(Labelling(task: task, problem: problem, labels: names))
      var sizes: [Int] = []
      for count in 1...100 {
        report.add(labels: [1], targets: [0, 1, 0], logits: [[0, 1, 0]])
        if count == 1 || count == 100 { sizes.append(size(report)) }
      }
      #expect(sizes[0] == sizes[1], "\(names)")
      #expect(report.json["accuracy"]?.doubleValue == 1)
    }
  }

  /// It would be larger than all else: of 1,500 labels 20 MB, and much more as JSON.
  @Test func confusionsOfManyLabelsAreNotCounted() {
    func report(_ count: Int) -> JSONObject {
      let names = (0..<count).map { "label \($0)" }
      var report = LabelReport(Labelling(task: .sequenceClassification, problem: .singleLabel, labels: names))
      report.add(labels: [1], targets: [], logits: [names.indices.map { $0 == 1 ? 1 : 0 }])
      return report.json
    }
    #expect(report(256)["confusion_matrix"] != nil && report(257)["confusion_matrix"] == nil)
    #expect(report(257)["accuracy"]?.doubleValue == 1)
  }

  @Test func figuresOfOneLabelAreScikitLearns() throws {
    for json in try cases("single") {
      let names = (0..<(json["labels"]?.intValue ?? 0)).map(String.init)
      let metrics = ClassificationMetrics(
        truth: integers(json["truth"]), said: integers(json["said"]), names: names)
      #expect(abs(metrics.accuracy - (json["accuracy"]?.doubleValue ?? -1)) <= Self.tolerance)
      #expect(metrics.confusion == json["confusion"]?.arrayValue?.map { integers($0) })
      expect(metrics.table, json)
      #expect(metrics.table.names.count == json["each"]?.objectValue?.entries.count)
      for (name, score) in zip(metrics.table.names, metrics.table.scores) {
        expect(score, json["each"]?[name], "label \(name)")
      }
    }
  }

  @Test func figuresOfSeveralLabelsAreScikitLearns() throws {
    for json in try cases("several") {
      func rows(_ key: String) -> [[Bool]] { json[key]?.arrayValue?.map { integers($0).map { $0 == 1 } } ?? [] }
      let names = (0..<(json["labels"]?.intValue ?? 0)).map(String.init)
      let metrics = MultiLabelMetrics(truth: rows("truth"), said: rows("said"), names: names)
      #expect(abs(metrics.accuracy - (json["accuracy"]?.doubleValue ?? -1)) <= Self.tolerance)
      expect(metrics.table, json)
    }
  }

  @Test func figuresOfEntitiesAreSeqevalsInStrictMode() throws {
    for json in try cases("entities") {
      expect(EntityMetrics(truth: texts(json["truth"]), said: texts(json["said"])).table, json)
    }
  }

  @Test func figuresOfNumbersAreScipys() throws {
    for json in try cases("numbers") {
      let metrics = RegressionMetrics(truth: numbers(json["truth"]), said: numbers(json["said"]))
      #expect(abs(metrics.meanSquaredError - (json["mse"]?.doubleValue ?? -1)) <= Self.tolerance)
      #expect(abs(metrics.pearson - (json["pearson"]?.doubleValue ?? -9)) <= Self.tolerance)
      #expect(abs(metrics.spearman - (json["spearman"]?.doubleValue ?? -9)) <= Self.tolerance)
    }
  }

  /// seqeval finds the same in strict mode (`Entities(tags, IOBES)`, `Entities(tags, BILOU)`).
  @Test func entitiesWithMarkedEndsNeedThem() {
    let tags = ["B-a", "I-a", "E-b", "E-a", "S-a", "B-a", "E-a", "I-a", "E-a", "B-b", "I-b", "E-b", "B-a"]
    let expected = [
      Entity(type: "a", words: 4..<5), Entity(type: "a", words: 5..<7), Entity(type: "b", words: 9..<12),
    ]
    #expect(TagScheme(tags: ["O"] + tags) != .iob2)
    #expect(Entity.all(in: tags, scheme: TagScheme(tags: tags)) == expected)
    let other = tags.map { $0.replacing("E-", with: "L-").replacing("S-", with: "U-") }
    #expect(Entity.all(in: other, scheme: TagScheme(tags: other)) == expected)
    #expect(Entity.all(in: tags).count == 4)
  }

  @Test func whatFollowsNoBeginningIsNoEntity() {
    let found = Entity.all(in: ["I-a", "B-a", "I-a", "I-b", "B-b", "B-b", "O", "I-b"])
    #expect(
      found == [
        Entity(type: "a", words: 1..<3), Entity(type: "b", words: 4..<5), Entity(type: "b", words: 5..<6),
      ])
  }

  /// `f1_score(truth, said, average="macro", zero_division=0)` of scikit-learn is 1/3.
  @Test func labelsThatNobodySaysCountInTheMeanOfSeveral() {
    let rows = [[true, false, false], [true, false, false]]
    let table = MultiLabelMetrics(truth: rows, said: rows, names: ["a", "b", "c"]).table
    #expect(table.names == ["a", "b", "c"] && table.micro.f1 == 1 && table.weighted.f1 == 1)
    #expect(abs(table.macro.f1 - 1 / 3) < Self.tolerance)
  }

  @Test func whatIsNoNumberHasNoCorrelation() {
    let metrics = RegressionMetrics(truth: [1, 2, 3], said: [.nan, .nan, 1])
    #expect(metrics.spearman.isNaN && metrics.pearson.isNaN && metrics.meanSquaredError.isNaN)
  }

  /// In IOB1 an entity begins with `B-` only behind another one of its type.
  @Test func entitiesMayBeginInside() {
    let tags = ["I-a", "I-a", "B-a", "O", "I-b", "I-a", "B-b"]
    let found = Entity.all(in: tags, beginsInside: true)
    #expect(found.map(\.words) == [0..<2, 2..<3, 4..<5, 5..<6, 6..<7])
    #expect(found.map(\.type) == ["a", "a", "b", "a", "b"])
    #expect(Entity.all(in: ["I-a", "E-a"], scheme: .iobes, beginsInside: true).isEmpty)
  }
}
