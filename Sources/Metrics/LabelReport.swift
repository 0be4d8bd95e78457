import Architectures
import Formats
import Glibc

/// Collects what a model says of labelled texts or tokens, and makes the figures that people report.
public struct LabelReport: Sendable {
  public let labelling: Labelling
  private var truth: [Int] = []
  private var said: [Int] = []
  private var sentences: [(truth: [String], said: [String])] = []
  private var wanted: [[Float]] = []
  private var given: [[Float]] = []

  public init(_ labelling: Labelling) { self.labelling = labelling }

  /// The likeliest label.
  public static func best(_ logits: [Float]) -> Int {
    logits.indices.max { (logits[$0], $1) < (logits[$1], $0) } ?? 0
  }

  /// Probability of each label, or the numbers themselves.
  public static func scores(_ logits: [Float], _ problem: ProblemType) -> [Double] {
    switch problem {
    case .regression: return logits.map(Double.init)
    case .multiLabel: return logits.map { 1 / (1 + exp(-Double($0))) }
    case .singleLabel:
      let most = Double(logits.max() ?? 0)
      let exponentials = logits.map { exp(Double($0) - most) }
      let sum = exponentials.reduce(0, +)
      return exponentials.map { $0 / sum }
    }
  }

  /// Takes a text, or a sentence of tokens.
  ///
  /// - Parameters:
  ///   - labels: ids, for one of several labels
  ///   - targets: numbers, for the other problems
  ///   - logits: of each token with a label
  public mutating func add(labels: [Int32], targets: [Float], logits: [[Float]]) {
    if labelling.task == .tokenClassification {
      let ids = logits.map(Self.best)
      sentences.append((labels.map { labelling.labels[Int($0)] }, ids.map { labelling.labels[$0] }))
      truth += labels.map { Int($0) }
      said += ids
    } else if labelling.problem == .singleLabel {
      truth += labels.map { Int($0) }
      said += logits.map(Self.best)
    } else {
      wanted.append(targets)
      given += logits
    }
  }

  /// Whether tags tell where entities begin.
  private var hasEntities: Bool { labelling.labels.contains { $0.hasPrefix("B-") } }

  /// The figures by the names that `--metric-for-best-model` knows, and those of each label.
  public var json: JSONObject {
    switch labelling.problem {
    case .singleLabel where labelling.task == .tokenClassification && hasEntities:
      let metrics = EntityMetrics(
        truth: sentences.map(\.truth), said: sentences.map(\.said), scheme: TagScheme(tags: labelling.labels))
      return Self.figures(metrics.table, main: metrics.table.micro, accuracy: metrics.accuracy)
    case .singleLabel:
      let metrics = ClassificationMetrics(truth: truth, said: said, names: labelling.labels)
      var json = Self.figures(metrics.table, main: metrics.table.macro, accuracy: metrics.accuracy)
      json["confusion_matrix"] = .array(metrics.confusion.map { .array($0.map { .integer($0) }) })
      return json
    case .multiLabel:
      let metrics = MultiLabelMetrics(
        truth: wanted.map { $0.map { $0 > 0.5 } }, said: given.map { $0.map { $0 > 0 } }, names: labelling.labels)
      return Self.figures(metrics.table, main: metrics.table.micro, accuracy: metrics.accuracy)
    case .regression:
      let parts = labelling.labels.indices.map { id in
        RegressionMetrics(truth: wanted.map { Double($0[id]) }, said: given.map { Double($0[id]) })
      }
      func mean(_ part: (RegressionMetrics) -> Double) -> JSONValue {
        let value = parts.reduce(0.0) { $0 + part($1) } / Double(parts.count)
        return value.isFinite ? .number(value) : .null
      }
      return JSONObject([
        ("mse", mean(\.meanSquaredError)), ("pearson", mean(\.pearson)), ("spearman", mean(\.spearman)),
      ])
    }
  }

  /// - Parameter main: what the plain names mean: of entities and of labels that may hold together all counts, else the
  ///   mean over labels
  private static func figures(_ table: ScoreTable, main: LabelScore, accuracy: Double) -> JSONObject {
    func object(_ score: LabelScore) -> JSONValue {
      .object(
        JSONObject([
          ("precision", .number(score.precision)), ("recall", .number(score.recall)), ("f1", .number(score.f1)),
          ("support", .integer(score.support)),
        ]))
    }
    return JSONObject([
      ("accuracy", .number(accuracy)), ("precision", .number(main.precision)), ("recall", .number(main.recall)),
      ("f1", .number(main.f1)), ("micro", object(table.micro)), ("macro", object(table.macro)),
      ("weighted", object(table.weighted)),
      ("labels", .object(JSONObject(zip(table.names, table.scores).map { ($0, object($1)) }))),
    ])
  }
}
