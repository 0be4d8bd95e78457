import Architectures
import Formats
import Glibc

/// Counts what a model says of labelled texts or tokens, and makes the figures that people report. Only numbers that are met are
/// kept as they are, for the order among them: what there is to evaluate on may be large.
public struct LabelReport: Sendable {
  public let labelling: Labelling
  /// Of one label to a text or a token, without entities.
  private var classes: ClassificationMetrics.Tally
  private var entities = EntityMetrics.Tally()
  private var labels: MultiLabelMetrics.Tally
  /// Of regression, text after text.
  private var wanted: [Float] = []
  private var given: [Float] = []
  private let scheme: TagScheme
  /// Whether tags tell where entities begin.
  private let hasEntities: Bool

  public init(_ labelling: Labelling) {
    self.labelling = labelling
    classes = ClassificationMetrics.Tally(labelCount: labelling.labels.count)
    labels = MultiLabelMetrics.Tally(labelCount: labelling.labels.count)
    scheme = TagScheme(tags: labelling.labels)
    hasEntities = labelling.task == .tokenClassification && labelling.labels.contains { $0.hasPrefix("B-") }
  }

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
    switch labelling.problem {
    case .singleLabel where hasEntities:
      entities.add(
        wanted: labels.map { labelling.labels[Int($0)] }, given: logits.map { labelling.labels[Self.best($0)] },
        scheme: scheme)
    case .singleLabel:
      for (label, line) in zip(labels, logits) { classes.add(wanted: Int(label), given: Self.best(line)) }
    case .multiLabel:
      for line in logits { self.labels.add(wanted: targets.map { $0 > 0.5 }, given: line.map { $0 > 0 }) }
    case .regression:
      wanted += targets
      for line in logits { given += line }
    }
  }

  /// The figures by the names that `--metric-for-best-model` knows, and those of each label.
  public var json: JSONObject {
    switch labelling.problem {
    case .singleLabel where hasEntities:
      let metrics = EntityMetrics(entities)
      return Self.figures(metrics.table, main: metrics.table.micro, accuracy: metrics.accuracy)
    case .singleLabel:
      let metrics = ClassificationMetrics(classes, names: labelling.labels)
      var json = Self.figures(metrics.table, main: metrics.table.macro, accuracy: metrics.accuracy)
      if let confusion = metrics.confusion {
        json["confusion_matrix"] = .array(confusion.map { .array($0.map { .integer($0) }) })
      }
      return json
    case .multiLabel:
      let metrics = MultiLabelMetrics(labels, names: labelling.labels)
      return Self.figures(metrics.table, main: metrics.table.micro, accuracy: metrics.accuracy)
    case .regression:
      let width = labelling.labels.count
      let parts = labelling.labels.indices.map { id in
        func column(_ values: [Float]) -> [Double] {
          stride(from: id, to: values.count, by: width).map { Double(values[$0]) }
        }
        return RegressionMetrics(truth: column(wanted), said: column(given))
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
