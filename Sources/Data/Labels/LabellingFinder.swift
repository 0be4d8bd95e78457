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
  public func labelling(of rows: [LabelledRow]) throws -> Labelling { try labelling(of: LabelSurvey(rows)) }

  /// - Throws: `DataError` where rows have no labels, or such as do not go together
  public func labelling(of survey: LabelSurvey) throws -> Labelling {
    guard let first = survey.first else { throw DataError.empty(files: []) }
    let areWords = if case .words = first.content { true } else { false }
    let task = task ?? (areWords ? .tokenClassification : .sequenceClassification)
    if let row = survey.unlabelled { throw row.failure("no label; --label-column names the column that has it") }
    func checkBlanks() throws { if let row = survey.blank { throw row.failure("the label is empty") } }
    if task == .tokenClassification {
      try checkBlanks()
      return Labelling(
        task: task,
        labels: try names
          ?? Self.names(survey.parts, first: first, skipsUnlabelled: survey.skipsUnlabelled, isTagging: true))
    }
    let problem = problem ?? (survey.hasLists ? .multiLabel : survey.hasFractions ? .regression : .singleLabel)
    if problem == .regression {
      let count = first.label?.parts.count ?? 1
      let names = names ?? (0..<count).map(Labelling.defaultName)
      guard names.count == count else {
        throw first.failure("\(count) numbers, but \(names.count) names of them")
      }
      return Labelling(task: task, problem: problem, labels: names)
    }
    if problem == .singleLabel { try checkBlanks() }
    var found = problem == .multiLabel ? survey.chosen : survey.whole
    // Lists of zeros and ones say of each label whether it holds.
    if problem == .multiLabel, let width = survey.indicatorWidth {
      found = LabelNames()
      for id in 0..<width { found.add(.number(Double(id)), of: first) }
    }
    return Labelling(
      task: task, problem: problem,
      labels: try names
        ?? Self.names(found, first: first, skipsUnlabelled: survey.skipsUnlabelled, isTagging: false))
  }

  private static func names(
    _ found: LabelNames, first: LabelledRow, skipsUnlabelled: Bool, isTagging: Bool
  ) throws -> [String] {
    switch found.misfit {
    case nil: break
    case (.list, let row)?: throw row.failure("a label is a list; give --problem-type multi_label_classification")
    case (let label, let row)?:
      throw row.failure("label \(label.text) is no number of a label; give --problem-type regression")
    }
    // Beside ids -1 says that there is none, as in SNLI and in what GLUE keeps back.
    if let row = found.without, !skipsUnlabelled || !found.numbers.contains(0) {
      throw row.failure(
        "label -1 is no number of a label; give --problem-type regression, or --labels=-1,... where it is a name")
    }
    if found.words.isEmpty {
      guard let greatest = found.numbers.max() else { throw first.failure("no row has a label") }
      // Numbers from 0 on are ids; others, such as one to five stars, are names.
      if found.numbers.contains(0) { return (0...greatest).map(Labelling.defaultName) }
      return found.numbers.sorted().map { "\($0)" }
    }
    let words = found.words
    if let number = found.numbers.max() {
      throw first.failure("some labels are words and some numbers, such as \(number) and \(words.min() ?? "")")
    }
    guard !found.isFull else {
      throw first.failure("more than \(Labelling.most) different labels; give --problem-type regression for numbers")
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
