import Architectures

/// What the labels of rows are, row by row: all that `LabellingFinder` decides by, in memory that does not grow with the rows.
public struct LabelSurvey: Sendable {
  /// Rows that were seen.
  public private(set) var rowCount = 0
  private(set) var first: LabelledRow?
  /// The first row that has no label.
  private(set) var unlabelled: LabelledRow?
  /// The first row with a label or a tag that is an empty text.
  private(set) var blank: LabelledRow?
  /// Entities that begin with `B-`, and those that begin with `I-`, as in IOB1.
  private(set) var beginnings = (marked: 0, unmarked: 0)
  /// Whether any label is a list, or a number that is not whole.
  private(set) var hasLists = false
  private(set) var hasFractions = false
  /// The labels as they stand, what lists of them hold, and those that hold where a field may name several.
  private(set) var whole = LabelNames()
  private(set) var parts = LabelNames()
  private(set) var chosen = LabelNames()
  /// How many labels all lists of zeros and ones speak of until now; `nil` once a label is no such list.
  private var width: Int?

  /// Whether rows without a label, or with an empty one, are to be passed over.
  private(set) var skipsUnlabelled = false

  public init(skipsUnlabelled: Bool = false) { self.skipsUnlabelled = skipsUnlabelled }

  package init(_ rows: some Sequence<LabelledRow>) { for row in rows { add(row) } }

  /// How many labels lists of zeros and ones speak of, if all labels are such lists of equal length.
  var indicatorWidth: Int? { width }

  public mutating func add(_ row: LabelledRow) {
    rowCount += 1
    if first == nil { first = row }
    guard let label = row.label else {
      if unlabelled == nil, !skipsUnlabelled { unlabelled = row }
      return
    }
    if label.parts.contains(.word("")) {
      if skipsUnlabelled { return }
      if blank == nil { blank = row }
    }
    if case .words = row.content { countBeginnings(label.parts) }
    let isFirst = whole.isEmpty
    if case .list = label { hasLists = true }
    if case .number(let value) = label, value != value.rounded() { hasFractions = true }
    let areNew = whole.add(label, of: row)
    for part in label.parts { parts.add(part, of: row) }
    if areNew { for part in label.chosen { chosen.add(part, of: row) } }
    if isFirst {
      width = Self.indicators(label)
    } else if width != nil, Self.indicators(label) != width {
      width = nil
    }
  }

  /// Refuses words of which a model knows none: it is to learn another task.
  /// - Throws: `DataError` with what to do
  public func checkNames(knownBy labelling: Labelling) throws {
    let isTagging = labelling.task == .tokenClassification
    let words = (isTagging ? parts : labelling.problem == .multiLabel ? chosen : whole).words
    guard let first, !words.isEmpty, words.isDisjoint(with: labelling.labels) else { return }
    let found = words.sorted()
    func some(_ names: [String], _ separator: String = ", ") -> String {
      (names.prefix(8) + (names.count > 8 ? ["..."] : [])).joined(separator: separator)
    }
    throw first.failure(
      "none of the labels \(some(found)) is one that the model knows: \(some(labelling.labels)); "
        + "--labels \(some(found, ",")) makes it learn these")
  }

  /// Whether entities mostly begin with `I-`: strict BIO, in which they are counted, does not see those.
  public var isInside: Bool { beginnings.unmarked > beginnings.marked }

  private mutating func countBeginnings(_ tags: [RowLabel]) {
    var open: Substring?
    for tag in tags {
      guard case .word(let text) = tag, let kind = text.first, kind == "B" || kind == "I", text.dropFirst().first == "-"
      else {
        open = nil
        continue
      }
      let type = text.dropFirst(2)
      if kind == "B" {
        beginnings.marked += 1
      } else if type != open {
        beginnings.unmarked += 1
      }
      open = type
    }
  }

  /// The length of a list of more than one zero or one.
  private static func indicators(_ label: RowLabel) -> Int? {
    guard case .list(let parts) = label, parts.count > 1, parts.allSatisfy({ $0.id == 0 || $0.id == 1 }) else {
      return nil
    }
    return parts.count
  }
}

/// Different labels: words, and numbers.
struct LabelNames: Sendable {
  private(set) var words: Set<String> = []
  private(set) var numbers: Set<Int> = []
  /// The first that is neither a word nor the number of a label.
  private(set) var misfit: (label: RowLabel, row: LabelledRow)?
  /// The first row with -1, which many data sets have where there is no label.
  private(set) var without: LabelledRow?
  private(set) var isEmpty = true

  /// More than a model may have are not kept.
  var isFull: Bool { words.count > Labelling.most }

  /// - Returns: `false` for a word that was there before
  @discardableResult
  mutating func add(_ label: RowLabel, of row: LabelledRow) -> Bool {
    isEmpty = false
    switch label {
    case .word(let word): return isFull || words.insert(word).inserted
    case .number:
      if let id = label.id, id < Labelling.most {
        numbers.insert(id)
      } else if label == .number(-1) {
        without = without ?? row
      } else if misfit == nil {
        misfit = (label, row)
      }
    case .list: if misfit == nil { misfit = (label, row) }
    }
    return true
  }
}
