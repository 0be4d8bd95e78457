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
  /// - Parameter virtualTokens: positions that a method takes in front of every text
  init?(options: TrainingOptions, virtualTokens: Int, modelDirectory: String, files: [String]) throws {
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
    let columns = options.task.columns
    let (rows, skipped) = try LabelledRows.read(files, columns: columns, skipBadLines: options.data.skipBadLines)
    let labelling = try Self.labelling(options, own: own, isFixed: adapter != nil, rows: rows)
    self.labelling = labelling
    let store = try WeightStore.open(modelDirectory, labelling: labelling)
    self.store = store
    let tokenizer = try Tokenizer.load(directory: modelDirectory)
    func data(_ rows: [LabelledRow], skipped: Int = 0) throws -> TrainingData {
      try LabelledSamples(
        tokenizer: tokenizer, labelling: labelling, description: store.description,
        maximumLength: max(
          1, min(options.data.maximumLength, store.description.maximumPositions - virtualTokens)), rows: rows
      ).data(rows, skipBadLines: options.data.skipBadLines, skippedLines: skipped)
    }
    let all = try data(rows, skipped: skipped)
    if !options.data.evaluationFiles.isEmpty {
      let other = try LabelledRows.read(
        options.data.evaluationFiles, columns: columns, skipBadLines: options.data.skipBadLines)
      (train, held) = (all, try data(other.rows))
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
    _ options: TrainingOptions, own: Labelling?, isFixed: Bool, rows: [LabelledRow]
  ) throws -> Labelling {
    if let own, isFixed { return own }
    let task = options.task
    let isSame = task.task.map { $0 == own?.task } ?? true && task.problem.map { $0 == own?.problem } ?? true
    if let own, task.labels == nil, isSame, !own.hasDefaultNames { return own }
    let found = try LabellingFinder(task: task.task, problem: task.problem, names: task.labels).labelling(of: rows)
    if let own, found.hasDefaultNames, found.task == own.task, found.labels.count <= own.labels.count,
      task.labels == nil, isSame
    {
      return own
    }
    return found
  }
}

extension Labelling {
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
