import Architectures
import Data
import Formats
import Metrics
import Planning
import Randomness
import Tokenization
import Transformer
import Tuning
import WeightStore

/// What a run learns of labelled data: the model with its head, and samples.
struct LabelledRun {
  let store: WeightStore
  let labelling: Labelling
  let train: TrainingData
  let held: TrainingData?
  /// What is known now, for people.
  let notes: [String]

  /// `nil` where the data is text to go on with.
  ///
  /// - Parameters:
  ///   - virtualTokens: positions that a method takes in front of every text
  ///   - isKept: whether large data may be kept beside the output, tokenised
  ///   - note: gets lines for people
  ///   - progress: gets bytes that are read, and all: once to see what the labels are, once to make samples
  init?(
    options: TrainingOptions, virtualTokens: Int, modelDirectory: String, files: [String], isKept: Bool,
    note: @escaping (String) -> Void,
    progress: @escaping (Int, Int) -> Void
  ) throws {
    let base = try WeightStore.open(modelDirectory)
    let adapter = try options.method.initialAdapter.flatMap {
      try AdapterFolder.labelling(of: $0, base: base.description)
    }
    let own = adapter ?? base.description.labelling
    // An encoder can do nothing else, and what is wrong with the rows is told where they are read.
    let isText = files.first.map { $0.lowercased().hasSuffix(".txt") } ?? true
    let mustBe = base.description.isEncoder && options.task.task == nil && !isText
    guard mustBe || options.task.isLabelled(files, known: own) else {
      if base.description.isEncoder {
        throw WeightStore.Invalid(
          directory: modelDirectory,
          reason: "\(base.description.family.architecture) does not go on with texts; it needs labelled data, or --task"
        )
      }
      return nil
    }
    if isKept, options.output.force { SampleCache.removeAll(in: options.output.folder) }
    let reading = try LabelledReading(
      options: options, virtualTokens: virtualTokens, modelDirectory: modelDirectory, description: base.description,
      isKept: isKept, note: note, progress: progress)
    // A run that goes on finds what its labels are with its samples.
    let task = options.task
    let wishes: [(String, String)] = [
      ("task", task.task?.rawValue ?? ""), ("problem", task.problem?.rawValue ?? ""),
      ("names", task.labels?.joined(separator: "\n") ?? ""), ("fixed", "\(adapter != nil)"),
    ]
    let all = try reading.data(files, purpose: "train", settings: wishes + (own?.settings ?? [])) {
      if $0.isInside {
        note("warning: most entities begin with I- (IOB1); they are counted in strict BIO, where each begins with B-")
      }
      return try Self.labelling(options, own: own, isFixed: adapter != nil, survey: $0)
    }
    guard let labelling = all.labelling else {
      throw WeightStore.Invalid(directory: modelDirectory, reason: "the data that is kept does not say its labels")
    }
    self.labelling = labelling
    let store = try WeightStore.open(modelDirectory, labelling: labelling)
    self.store = store
    if !options.data.evaluationFiles.isEmpty {
      held = try reading.data(
        options.data.evaluationFiles, purpose: "eval", settings: labelling.settings, known: labelling
      ) { _ in labelling }
      train = all
    } else if options.data.evaluationShare > 0, all.samples.count > 1 {
      let parts = try all.split(options.data.evaluationShare, seed: options.optimization.seed)
      (train, held) = (parts.train, parts.evaluation)
    } else {
      (train, held) = (all, nil)
    }
    var lines = ["task: " + labelling.text]
    if labelling.problem == .singleLabel, labelling.labels.count == 1 {
      lines.append("warning: all samples have the label \(labelling.labels[0]); there is nothing to tell apart")
    }
    let head = store.description.head.labels
    let new = head?.layers.map(\.linear).filter { !store.holds($0.weight) } ?? []
    if adapter == nil, !new.isEmpty {
      lines.append("new head: \(new.map(\.path).joined(separator: ", ")), trained whole")
    }
    notes = lines
  }

  /// What an adapter was made with counts; a checkpoint's labels count unless others are named or they have no names.
  private static func labelling(
    _ options: TrainingOptions, own: Labelling?, isFixed: Bool, survey: LabelSurvey
  ) throws -> Labelling {
    if let own, isFixed { return own }
    let task = options.task
    let isSame = task.task.map { $0 == own?.task } ?? true && task.problem.map { $0 == own?.problem } ?? true
    let names = task.labels ?? task.columns.labelNames
    if let own, names == nil, isSame, !own.hasDefaultNames {
      try survey.checkNames(knownBy: own)
      return own
    }
    let found = try LabellingFinder(task: task.task, problem: task.problem, names: names).labelling(of: survey)
    if let own, found.hasDefaultNames, found.task == own.task, found.labels.count <= own.labels.count,
      names == nil, isSame
    {
      return own
    }
    return found
  }
}

/// Reads labelled files into samples, or finds them kept.
private struct LabelledReading {
  private let options: TrainingOptions
  private let description: ModelDescription
  private let tokenizer: Tokenizer
  private let maximumLength: Int
  private let isKept: Bool
  /// What samples depend on beside the files and the labels.
  private let settings: [(String, String)]
  private let note: (String) -> Void
  private let progress: (Int, Int) -> Void

  init(
    options: TrainingOptions, virtualTokens: Int, modelDirectory: String, description: ModelDescription, isKept: Bool,
    note: @escaping (String) -> Void, progress: @escaping (Int, Int) -> Void
  ) throws {
    self.options = options
    self.description = description
    tokenizer = try Tokenizer.load(directory: modelDirectory)
    maximumLength = max(1, min(options.data.maximumLength, description.maximumPositions - virtualTokens))
    self.isKept = isKept && options.output.gradientFile == nil
    settings =
      try RunData.settings(
        modelDirectory: modelDirectory, maximumLength: maximumLength, options: options)
      + options.task.columns.settings
    self.note = note
    self.progress = progress
  }

  /// - Parameters:
  ///   - settings: what the labels depend on beside the files
  ///   - known: what the labels are, if that does not depend on these rows
  ///   - labelling: what the labels are, by those of all rows; asked when the data is not there yet
  func data(
    _ files: [String], purpose: String, settings: [(String, String)], known: Labelling? = nil,
    labelling: (LabelSurvey) throws -> Labelling
  ) throws -> TrainingData {
    func read(_ place: SamplePlace) throws -> TrainingData {
      let rows = try LabelledFiles(files, columns: options.task.columns, skipBadLines: options.data.skipBadLines)
      rows.progress = progress
      // Lists of zeros and ones are told from lists of ids by all rows.
      let survey = known.map { $0.problem != .multiLabel } ?? false ? nil : try rows.survey()
      let labelling = try known ?? labelling(survey ?? LabelSurvey())
      let samples = LabelledSamples(
        tokenizer: tokenizer, labelling: labelling, description: description,
        maximumLength: maximumLength, survey: survey)
      var data = try samples.data(rows, into: place)
      data.labelling = labelling
      return data
    }
    // Of what comes from standard input nothing is known before it is read.
    guard isKept, !files.contains("-"), SampleCache.isWorthwhile(files) else {
      return try read(.unnamed(directory: TrainingData.temporary))
    }
    let cache = try SampleCache(
      folder: options.output.folder, purpose: purpose, settings: self.settings + settings, files: files)
    return try cache.data(note: note, read: read)
  }
}

extension LabelledColumns {
  /// What rows depend on.
  fileprivate var settings: [(String, String)] {
    [
      ("columns", names?.joined(separator: "\n") ?? ""), ("text", text ?? ""), ("pair", pair ?? ""),
      ("label", label ?? ""),
    ]
  }
}

extension Labelling {
  /// What samples depend on.
  fileprivate var settings: [(String, String)] {
    [("task", task.rawValue), ("problem", problem.rawValue), ("labels", labels.joined(separator: "\n"))]
  }

  /// In a few words.
  public var text: String {
    let shown = labels.prefix(8).joined(separator: ", ") + (labels.count > 8 ? ", ..." : "")
    let kind = task == .sequenceClassification ? "\(task.rawValue), \(problem.rawValue)" : task.rawValue
    return "\(kind), \(labels.count) \(labels.count == 1 ? "label" : "labels"): \(shown)"
  }
}

extension TrainingSession {
  /// Mean loss per label over `batches`, and the figures of what the model says; dropout is off.
  ///
  /// - Parameter progress: gets the number of batches that are done
  public func report(
    _ batches: some RandomAccessCollection<Batch>, labelling: Labelling, progress: (Int) -> Void = { _ in }
  ) throws -> (loss: Double, report: LabelReport) {
    var report = LabelReport(labelling)
    var (sum, weight) = (0.0, 0.0)
    parametersChanged()
    for (index, batch) in batches.enumerated() {
      var logits: [[Float]] = []
      sum += try loss(batch) { rows in for row in 0..<rows.rows { logits.append(rows.row(row).values) } }
      weight += self.weight(batch)
      report.add(batch, logits: logits)
      progress(index + 1)
    }
    return (weight > 0 ? sum / weight : sum, report)
  }
}
