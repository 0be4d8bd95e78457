import Formats

/// What a row of a file calls a text's labels, before anyone knows what they mean.
public enum RowLabel: Sendable, Equatable {
  case word(String)
  case number(Double)
  case list([RowLabel])

  init?(_ json: JSONValue) {
    switch json {
    case .string(let text): self = .word(text)
    case .bool(let flag): self = .word(flag ? "true" : "false")
    case .array(let list):
      let parts = list.compactMap { RowLabel($0) }
      guard parts.count == list.count else { return nil }
      self = .list(parts)
    default:
      guard let number = json.doubleValue else { return nil }
      self = .number(number)
    }
  }

  /// The number, if it is whole and no less than 0.
  var id: Int? {
    guard case .number(let value) = self, value >= 0, value < 1e9, value == value.rounded() else { return nil }
    return Int(value)
  }

  var text: String {
    switch self {
    case .word(let word): word
    case .number(let value): value == value.rounded() && abs(value) < 1e15 ? "\(Int(value))" : "\(value)"
    case .list(let parts): "[\(parts.map(\.text).joined(separator: ", "))]"
    }
  }

  var parts: [RowLabel] { if case .list(let parts) = self { parts } else { [self] } }
}

/// A text, a pair of texts or a list of words, with labels if the file has them.
public struct LabelledRow: Sendable {
  public enum Content: Sendable {
    case text(String, pair: String?)
    case words([String])
  }

  public let content: Content
  public let label: RowLabel?
  /// Whether there is a place for the label, and nothing in it.
  let isLabelNull: Bool
  /// Where it stands.
  public let file: String
  public let line: Int

  public init(_ content: Content, label: RowLabel? = nil, file: String, line: Int) {
    self.init(content, label: label, isLabelNull: false, file: file, line: line)
  }

  init(_ content: Content, label: RowLabel?, isLabelNull: Bool, file: String, line: Int) {
    self.content = content
    self.label = label
    self.isLabelNull = isLabelNull
    self.file = file
    self.line = line
  }
}

/// Which columns of a file are text and label.
public struct LabelledColumns: Sendable {
  /// Names of the columns of a table without a header.
  public var names: [String]?
  public var text: String?
  public var pair: String?
  /// One column, or several with commas between them, each of which says whether one label holds.
  public var label: String?

  public init(names: [String]? = nil, text: String? = nil, pair: String? = nil, label: String? = nil) {
    self.names = names
    self.text = text
    self.pair = pair
    self.label = label
  }

  static let texts = ["text", "sentence", "sentence1", "premise", "question1"]
  static let pairs = ["text_pair", "sentence2", "hypothesis", "question2"]
  static let words = ["tokens", "words"]
  static let labels = ["label", "labels", "ner_tags", "tags", "class", "intent"]

  /// Names of several label columns, which are the names of the labels.
  public var labelNames: [String]? {
    let names = label.map { $0.split(separator: ",").map { String($0).trimmed } } ?? []
    return names.count > 1 ? names : nil
  }

  /// The columns of the text and of a second one. A question beside a sentence is the first of two (QNLI).
  func texts(in keys: [String]) -> (text: String?, pair: String?) {
    let text = find(self.text, Self.texts, in: keys)
    if self.text == nil, pair == nil, text == "sentence", keys.contains("question") { return ("question", text) }
    return (text, find(pair, Self.pairs, in: keys))
  }

  func find(_ wanted: String?, _ usual: [String], in keys: [String]) -> String? {
    if let wanted { return keys.contains(wanted) ? wanted : nil }
    return usual.first { keys.contains($0) }
  }
}
