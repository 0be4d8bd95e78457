import Architectures
import Data
import Formats
import Tokenization
import Training

/// Looks at data as a run would read it, but without cutting anything.
struct DataInspector {
  let options: TrainingOptions
  let modelDirectory: String
  let files: [String]
  let description: ModelDescription
  let labelling: Labelling?

  /// Files beyond this are looked at without keeping their texts.
  private static let mostBytesOfTexts = 64 << 20
  /// Tokens of answers that count as long ones.
  private static let longAnswer = 64
  /// A share of answers that end as sentences do, above which those that do not look cut off.
  private static let mostlyClosed = 0.8

  func report() throws -> DataReport { try labelling.map(labelled) ?? texts() }

  // MARK: Labels

  private func labelled(_ labelling: Labelling) throws -> DataReport {
    let rows = try LabelledFiles(
      files, columns: options.task.columns, skipBadLines: options.data.skipBadLines)
    let data = try LabelledSamples(
      tokenizer: try Tokenizer.load(directory: modelDirectory), labelling: labelling, description: description,
      maximumLength: .max, survey: try rows.survey()
    ).data(rows)
    let areWords = labelling.task == .tokenClassification
    var report = DataReport(
      kind: areWords ? .words : .texts,
      task: areWords ? labelling.task.rawValue : "\(labelling.task.rawValue), \(labelling.problem.rawValue)",
      maximumLength: min(options.data.maximumLength, description.maximumPositions))
    report.take(lengths: data.samples.indices.map { data.samples.length($0) })
    report.skippedLines = data.skippedLines
    var (scripts, pairs) = (ScriptCounter(), Pairs())
    _ = try rows.forEachRow { row in
      let text =
        switch row.content {
        case .text(let text, let pair): text + (pair.map { "\u{1F}\($0)" } ?? "")
        case .words(let words): words.joined(separator: "\u{1F}")
        }
      scripts.add(text)
      pairs.add(text, row.label.map { "\($0)" } ?? "")
    }
    report.scripts = scripts.shares
    (report.duplicates, report.contradictions) = (pairs.duplicates, pairs.contradictions)
    report.labels = counts(of: data.samples, labelling)
    return report
  }

  private func counts(of samples: SampleList, _ labelling: Labelling) -> [(name: String, count: Int)] {
    guard labelling.problem != .regression else { return [] }
    var counts = [Int](repeating: 0, count: labelling.labels.count)
    for sample in samples {
      if sample.targets.isEmpty {
        for label in sample.labels where counts.indices.contains(Int(label)) { counts[Int(label)] += 1 }
      } else {
        for (label, target) in sample.targets.enumerated() where target > 0.5 && label < counts.count {
          counts[label] += 1
        }
      }
    }
    return zip(labelling.labels, counts).map { (name: $0, count: $1) }.sorted {
      ($1.count, $0.name) < ($0.count, $1.name)
    }
  }

  // MARK: Texts to go on with

  private func texts() throws -> DataReport {
    let source = TokenizerSource(directory: modelDirectory)
    let bytes = try files.reduce(0) { sum, file in sum + (file == "-" ? 0 : try Self.byteCount(file)) }
    // A plain text has no samples of its own: it is cut into rows.
    let isPlain = files.allSatisfy { $0.lowercased().hasSuffix(".txt") }
    let limit = min(options.data.maximumLength, description.maximumPositions)
    let data = try DataReader(
      tokenizer: source, maximumLength: isPlain ? limit : max(limit, Self.longestThatIsRead),
      trainOnPrompt: options.data.trainOnPrompt, skipBadLines: options.data.skipBadLines,
      vocabularySize: description.vocabularySize, keepsQuestions: bytes < Self.mostBytesOfTexts
    ).read(files)
    var lengths: [Int] = []
    var answers: [Int] = []
    var (pairs, beyond) = (Pairs(), 0)
    for sample in data.samples {
      lengths.append(sample.tokens.count)
      let learnt = sample.labels.reduce(0) { $1 == Label.ignored ? $0 : $0 + 1 }
      answers.append(learnt)
      let first = sample.labels.firstIndex { $0 != Label.ignored } ?? 0
      if first >= limit { beyond += 1 }
      pairs.add(sample.tokens.prefix(first), sample.tokens.dropFirst(first), hasQuestion: first > 0)
    }
    let sorted = answers.sorted()
    let isShort = !isPlain && !sorted.isEmpty && sorted[sorted.count / 2] <= Self.longAnswer
    var report = DataReport(kind: isShort ? .answers : .reasoning, task: "causal_lm", maximumLength: limit)
    report.take(lengths: lengths)
    report.uselessSamples = data.uselessCount + beyond
    report.skippedLines = data.skippedLines
    // Rows of a plain text are no samples that could be alike.
    if !isPlain { (report.duplicates, report.contradictions) = (pairs.duplicates, pairs.contradictions) }
    var scripts = ScriptCounter()
    if !data.questions.isEmpty {
      for question in data.questions {
        scripts.add(question.prompt)
        scripts.add(question.answer)
      }
      report.openAnswers = Self.openAnswers(data.questions.map(\.answer))
    } else if TokenizerFolder.hasTokenizer(modelDirectory) {
      let tokenizer = try Tokenizer.load(directory: modelDirectory)
      for sample in data.samples.prefix(1000) { scripts.add(tokenizer.decode(sample.tokens, skipSpecialTokens: true)) }
    }
    report.scripts = scripts.shares
    return report
  }

  private static let longestThatIsRead = 131_072

  private static func byteCount(_ file: String) throws -> Int {
    let mapped = try MappedFile(path: file)
    return mapped.bytes.count
  }

  /// Answers that end with a letter or a comma, where nearly all end otherwise.
  static func openAnswers(_ answers: [String]) -> Int {
    let ends = answers.compactMap { answer in
      answer.unicodeScalars.last { !$0.properties.isWhitespace }
    }
    let open = ends.reduce(0) { $1.properties.isAlphabetic || $1 == "," ? $0 + 1 : $0 }
    return Double(ends.count - open) >= mostlyClosed * Double(max(ends.count, 1)) ? open : 0
  }
}

/// Counts what occurs again, and questions that have several answers, by hashes alone.
struct Pairs {
  private var seen: Set<Int> = []
  /// The first answer of each question, and how many samples have it.
  private var answers: [Int: Int] = [:]
  private(set) var duplicates = 0
  private(set) var contradictions = 0

  mutating func add(_ question: some Hashable, _ answer: some Hashable, hasQuestion: Bool = true) {
    var both = Hasher()
    both.combine(question)
    both.combine(answer)
    let whole = both.finalize()
    if !seen.insert(whole).inserted {
      duplicates += 1
      return
    }
    guard hasQuestion else { return }
    let key = question.hashValue
    if let first = answers[key], first != whole { contradictions += 1 } else { answers[key] = whole }
  }
}
