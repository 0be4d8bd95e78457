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
  ///   - isKept: whether large data may be kept beside the output, tokenised
  ///   - note: gets lines for people
  ///   - progress: gets bytes that are read, and all: once to see what the labels are, once to make samples
  init?(
    options: TrainingOptions, modelDirectory: String, files: [String], isKept: Bool, note: @escaping (String) -> Void,
    progress: @escaping (Int, Int) -> Void
  ) throws {
    let base = try WeightStore.open(modelDirectory)
    let adapter = try options.method.initialAdapter.flatMap {
      try AdapterFolder.labelling(of: $0, base: base.description)
    }
    let own = adapter ?? base.description.labelling
    guard options.task.isLabelled(files, known: own) else {
      if base.description.isEncoder {
        throw WeightStore.Invalid(
          directory: modelDirectory,
          reason: "\(base.description.family.architecture) does not go on with texts; it needs labelled data, or --task"
        )
      }
      return nil
    }
    func source(_ files: [String]) throws -> LabelledFiles {
      let source = try LabelledFiles(
        files, columns: options.task.columns, skipBadLines: options.data.skipBadLines)
      source.progress = progress
      return source
    }
    let rows = try source(files)
    let survey = try rows.survey()
    let labelling = try Self.labelling(options, own: own, isFixed: adapter != nil, survey: survey)
    self.labelling = labelling
    let store = try WeightStore.open(modelDirectory, labelling: labelling)
    self.store = store
    let tokenizer = try Tokenizer.load(directory: modelDirectory)
    if isKept, options.output.force { SampleCache.removeAll(in: options.output.folder) }
    func data(_ rows: LabelledFiles, _ survey: LabelSurvey, _ files: [String], purpose: String) throws -> TrainingData {
      let samples = LabelledSamples(
        tokenizer: tokenizer, labelling: labelling, description: store.description,
        maximumLength: options.data.maximumLength, survey: survey)
      // Of what comes from standard input nothing is known before it is read.
      guard isKept, options.output.gradientFile == nil, !files.contains("-"), SampleCache.isWorthwhile(files) else {
        return try samples.data(rows)
      }
      let settings = try RunData.settings(
        modelDirectory: modelDirectory, maximumLength: options.data.maximumLength, options: options)
      let cache = try SampleCache(
        folder: options.output.folder, purpose: purpose,
        settings: settings + options.task.columns.settings + labelling.settings + samples.settings, files: files)
      return try cache.data(note: note) { try samples.data(rows, into: $0) }
    }
    let all = try data(rows, survey, files, purpose: "train")
    if !options.data.evaluationFiles.isEmpty {
      let files = options.data.evaluationFiles
      let other = try source(files)
      let survey = labelling.problem == .multiLabel ? try other.survey() : LabelSurvey()
      (train, held) = (all, try data(other, survey, files, purpose: "eval"))
    } else if options.data.evaluationShare > 0, all.samples.count > 1 {
      let parts = try all.split(options.data.evaluationShare, seed: options.optimization.seed)
      (train, held) = (parts.train, parts.evaluation)
    } else {
      (train, held) = (all, nil)
    }
    var lines = ["task: " + labelling.text]
    let head = store.description.head.labels
    if adapter == nil, let head, !store.holds(head.layers[0].linear.weight) {
      lines.append("new head: \(head.layers.map(\.linear.path).joined(separator: ", ")), trained whole")
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
    if let own, task.labels == nil, isSame, !own.hasDefaultNames { return own }
    let found = try LabellingFinder(task: task.task, problem: task.problem, names: task.labels).labelling(of: survey)
    if let own, found.hasDefaultNames, found.task == own.task, found.labels.count <= own.labels.count,
      task.labels == nil, isSame
    {
      return own
    }
    return found
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
