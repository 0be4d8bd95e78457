import Architectures

/// Finds what labelled rows are about: the task, the kind of the labels, and their names.
public struct LabellingFinder: Sendable {
  public var task: ModelTask?
  public var problem: ProblemType?
  /// Names by id, where the user gives them.
  public var names: [String]?

  public init(task: ModelTask? = nil, problem: ProblemType? = nil, names: [String]? = nil) {
    self.task = task
    self.problem = problem
    self.names = names
  }

  /// - Throws: `DataError` where rows have no labels, or such as do not go together
  public func labelling(of rows: [LabelledRow]) throws -> Labelling {
    guard let first = rows.first else { throw DataError.empty(files: []) }
    let areWords = if case .words = first.content { true } else { false }
    let task = task ?? (areWords ? .tokenClassification : .sequenceClassification)
    for row in rows where row.label == nil { throw row.failure("no label") }
    let labels = rows.compactMap(\.label)
    if task == .tokenClassification {
      let parts = labels.flatMap(\.parts)
      return Labelling(task: task, labels: try names ?? Self.names(parts, rows: rows, isTagging: true))
    }
    let problem = problem ?? Self.problem(labels)
    if problem == .regression {
      let count = labels.first?.parts.count ?? 1
      let names = names ?? (0..<count).map(Labelling.defaultName)
      guard names.count == count else {
        throw first.failure("\(count) numbers, but \(names.count) names of them")
      }
      return Labelling(task: task, problem: problem, labels: names)
    }
    var parts = labels.flatMap { problem == .multiLabel ? $0.chosen : [$0] }
    // Lists of zeros and ones say of each label whether it holds.
    if problem == .multiLabel, let width = Self.indicatorWidth(labels) {
      parts = [.number(Double(width - 1))]
    }
    return Labelling(
      task: task, problem: problem, labels: try names ?? Self.names(parts, rows: rows, isTagging: false))
  }

  private static func problem(_ labels: [RowLabel]) -> ProblemType {
    if labels.contains(where: { if case .list = $0 { true } else { false } }) { return .multiLabel }
    let isNumber = labels.contains { if case .number(let value) = $0 { value != value.rounded() } else { false } }
    return isNumber ? .regression : .singleLabel
  }

  /// How many labels lists of zeros and ones speak of, if all labels are such lists of equal length.
  static func indicatorWidth(_ labels: [RowLabel]) -> Int? {
    guard let width = labels.first?.parts.count, width > 1 else { return nil }
    let areIndicators = labels.allSatisfy { label in
      guard case .list(let parts) = label, parts.count == width else { return false }
      return parts.allSatisfy { $0.id == 0 || $0.id == 1 }
    }
    return areIndicators ? width : nil
  }

  private static func names(_ labels: [RowLabel], rows: [LabelledRow], isTagging: Bool) throws -> [String] {
    var words: Set<String> = []
    var most = -1
    for label in labels {
      switch label {
      case .word(let word): words.insert(word)
      case .number:
        guard let id = label.id, id < Labelling.most else {
          throw rows[0].failure("label \(label.text) is no number of a label; give --problem-type regression")
        }
        most = max(most, id)
      case .list: throw rows[0].failure("a label is a list; give --problem-type multi_label_classification")
      }
    }
    if words.isEmpty {
      guard most >= 0 else { throw rows[0].failure("no row has a label") }
      return (0...most).map(Labelling.defaultName)
    }
    guard most < 0 else {
      throw rows[0].failure("some labels are words and some numbers, such as \(most) and \(words.sorted()[0])")
    }
    guard words.count <= Labelling.most else {
      throw rows[0].failure("\(words.count) different labels; give --problem-type regression for numbers")
    }
    // What is outside of all entities comes first, as in most published models.
    return words.sorted { ($0 != "O" || !isTagging ? 1 : 0, $0) < ($1 != "O" || !isTagging ? 1 : 0, $1) }
  }
}

extension RowLabel {
  /// The labels that hold: of a list its parts, of a table's field what stands between `|` or commas.
  var chosen: [RowLabel] {
    switch self {
    case .list(let parts): parts
    case .number: [self]
    case .word(let text):
      text.split { $0 == "|" || $0 == "," }.map {
        RowLabel(field: $0.trimmingPrefix(while: \.isWhitespace).description)
      }
    }
  }
}

extension LabelledRow {
  func failure(_ reason: String) -> DataError { .badLine(file: file, line: line, reason: reason) }
}
