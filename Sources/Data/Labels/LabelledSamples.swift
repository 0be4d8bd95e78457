import Architectures
import Tokenization

/// Makes samples of labelled rows.
///
/// A text's label stands at the token that the model reads it from: the first one of an encoder, the last one otherwise. A
/// word's label stands at its first piece; the other pieces carry none.
public struct LabelledSamples {
  let tokenizer: Tokenizer
  let labelling: Labelling
  let maximumLength: Int
  let readsFirstToken: Bool
  /// Rows of the model's table of types; 0 without one.
  let typeCount: Int
  private let ids: [String: Int]
  /// Whether numbers name labels, and are no ids of them.
  private let areNumbersNames: Bool
  private let indicatorWidth: Int?

  /// - Parameter survey: of the rows, by which lists of zeros and ones are told from lists of ids
  public init(
    tokenizer: Tokenizer, labelling: Labelling, description: ModelDescription, maximumLength: Int,
    survey: LabelSurvey? = nil
  ) {
    self.tokenizer = tokenizer
    self.labelling = labelling
    self.maximumLength = min(maximumLength, description.maximumPositions)
    readsFirstToken = description.isEncoder
    typeCount = description.embedding.tokenTypes?.shape[0] ?? 0
    ids = Dictionary(labelling.labels.enumerated().map { ($1, $0) }) { first, _ in first }
    areNumbersNames = labelling.labels.allSatisfy { Int($0) != nil }
    indicatorWidth = labelling.problem == .multiLabel ? survey?.indicatorWidth : nil
  }

  /// The tokens of a row within the maximum length, special tokens kept; of a pair the longer text is cut.
  public func encoding(_ row: LabelledRow) -> (tokens: TextEncoding, isCut: Bool) {
    let whole =
      switch row.content {
      case .text(let text, let pair): tokenizer.encoding(text, pair: pair)
      case .words(let words): tokenizer.encoding(words: words)
      }
    guard whole.count > maximumLength else { return (whole, false) }
    var counts = [0, 0]
    for case let text? in whole.textIndices { counts[text] += 1 }
    let room = maximumLength - (whole.count - counts[0] - counts[1])
    return (whole.keeping(Self.kept(of: (counts[0], counts[1]), in: max(room, 0))), true)
  }

  /// Tokens that stay of either text of a pair that has more than `room`, as Hugging Face's tokenizers cut it
  /// (`longest_first`): the longer text until both are as long, then both; an odd token stays with the longer one.
  package static func kept(of counts: (first: Int, second: Int), in room: Int) -> [Int] {
    let short = min(counts.first, counts.second, room / 2)
    return counts.first > counts.second ? [room - short, short] : [short, room - short]
  }

  /// - Throws: `DataError` where a label is unknown or their number is wrong
  public func sample(_ row: LabelledRow) throws -> (sample: Sample, isCut: Bool) {
    let (tokens, isCut) = encoding(row)
    guard tokens.count > 0 else { throw row.failure("no token") }
    var sample = Sample(tokens: tokens.ids, labels: [Int32](repeating: Label.ignored, count: tokens.count))
    sample.labelsFollow = false
    if typeCount > 1, tokens.typeIDs.contains(where: { $0 != 0 }) {
      sample.typeIDs = tokens.typeIDs.map { min($0, Int32(typeCount - 1)) }
    }
    guard let label = row.label else { throw row.failure("no label; --label-column names the column that has it") }
    if labelling.task == .tokenClassification {
      try place(label, of: row, tokens, in: &sample)
      return (sample, isCut)
    }
    let place = readsFirstToken ? 0 : tokens.count - 1
    switch labelling.problem {
    case .singleLabel: sample.labels[place] = Int32(try id(label, row))
    case .multiLabel:
      sample.labels[place] = 0
      sample.targets = try indicators(label, row)
    case .regression:
      sample.labels[place] = 0
      sample.targets = try label.parts.map { part in
        guard case .number(let value) = part, value.isFinite else {
          throw row.failure("label \(part.text) is no number")
        }
        return Float(value)
      }
      guard sample.targets.count == labelling.labels.count else {
        throw row.failure("\(sample.targets.count) numbers, expected \(labelling.labels.count)")
      }
    }
    return (sample, isCut)
  }

  private func place(_ label: RowLabel, of row: LabelledRow, _ tokens: TextEncoding, in sample: inout Sample) throws {
    guard case .words(let words) = row.content, case .list(let tags) = label else {
      throw row.failure("expected a list of words and a tag for each")
    }
    guard tags.count == words.count else { throw row.failure("\(tags.count) tags for \(words.count) words") }
    let ids = try tags.map { try id($0, row) }
    var last: Int?
    for (token, word) in tokens.wordIndices.enumerated() {
      if let word, word != last { sample.labels[token] = Int32(ids[word]) }
      last = word
    }
  }

  private func id(_ label: RowLabel, _ row: LabelledRow) throws -> Int {
    if case .word(let word) = label, let id = ids[word] { return id }
    if case .number = label {
      // A number may be a name: "0" and "1" of a table.
      if let id = ids[label.text] { return id }
      if !areNumbersNames, let id = label.id, id < labelling.labels.count { return id }
    }
    let known = labelling.labels.prefix(8).joined(separator: ", ") + (labelling.labels.count > 8 ? ", ..." : "")
    throw row.failure("label \(label.text) is none of the \(labelling.labels.count) that the model knows: \(known)")
  }

  private func indicators(_ label: RowLabel, _ row: LabelledRow) throws -> [Float] {
    if let indicatorWidth, indicatorWidth == labelling.labels.count, case .list(let parts) = label {
      return parts.map { $0.id == 1 ? 1 : 0 }
    }
    var result = [Float](repeating: 0, count: labelling.labels.count)
    for part in label.chosen { result[try id(part, row)] = 1 }
    return result
  }

  /// All rows of files as samples.
  ///
  /// - Parameter place: for samples that memory does not take
  /// - Throws: `DataError` where a row cannot be used, unless such rows are skipped
  public func data(
    _ files: LabelledFiles, into place: SamplePlace = .unnamed(directory: TrainingData.temporary)
  ) throws -> TrainingData {
    var data = TrainingData(place)
    var useless = 0
    let skipped = try files.forEachRow { row in
      do {
        let (sample, isCut) = try sample(row)
        if isCut { data.truncatedCount += 1 }
        if sample.labels.contains(where: { $0 != Label.ignored }) { data.hasLabel = true }
        try data.samples.append(sample)
      } catch let error as DataError {
        guard files.skipsBadRows else { throw error }
        useless += 1
      }
    }
    data.skippedLines = skipped + useless
    try data.samples.seal()
    guard data.hasLabel else { throw DataError.empty(files: files.names, skippedLines: data.skippedLines) }
    return data
  }
}

extension LabelledRows {
  /// Whether a file has labels, as far as its kind, its columns and its first row show; otherwise it is text to go on with.
  /// A row whose label is null shows nothing: the next one does.
  public static func areLabelled(_ file: String, columns: LabelledColumns) -> Bool {
    if file == "-" { return false }
    if hasLabels(file, columns: columns) { return true }
    guard [".jsonl", ".json"].contains(where: { file.lowercased().hasSuffix($0) }) else { return false }
    guard let rows = try? LabelledRows(file, columns: columns) else { return false }
    while let row = try? rows.nextRow() {
      if row.label != nil { return true }
      if !row.isLabelNull { return false }
    }
    return false
  }
}
