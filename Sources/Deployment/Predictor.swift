import Architectures
import Data
import Formats
import Kernels
import Memory
import Metrics
import Transformer
import WeightStore

/// What a model says of a text.
public enum Prediction: Sendable {
  /// The likeliest label.
  case label(String, score: Double, scores: [Double])
  /// All labels that hold, of several that may.
  case labels([String], scores: [Double])
  case numbers([Double])
  case entities([FoundEntity])
  /// The tag of every word, where tags name no entities.
  case tags([(word: Range<Int>, tag: String, score: Double)])
}

/// A stretch of a text that a model names.
public struct FoundEntity: Sendable {
  public let type: String
  public let text: String
  /// In characters (Unicode scalars) of the text.
  public let characters: Range<Int>
  /// Mean probability of its words' tags.
  public let score: Double
}

/// Asks a model with labels about texts.
public final class Predictor {
  public let labelling: Labelling
  private let loaded: LoadedModel
  private let samples: LabelledSamples
  private let made: (workspace: Workspace, pass: Pass, cache: KeyValueCache?, arena: Arena)
  private let tokenCapacity: Int
  /// Tokens of the longest text that is seen whole.
  public let maximumLength: Int
  /// Texts of all calls that were longer, and seen without their ends.
  public private(set) var cutCount = 0

  /// - Parameters:
  ///   - maximumLength: tokens of a text; what is longer is cut
  ///   - batchTokens: tokens that are computed together
  /// - Throws: where the model says nothing of texts
  public init(_ loaded: LoadedModel, maximumLength: Int = 512, batchTokens: Int = 1024) throws {
    self.loaded = loaded
    labelling = try loaded.labelling()
    let description = loaded.model.description
    self.maximumLength = min(maximumLength, loaded.maximumPositions)
    let longest = self.maximumLength + loaded.promptCount
    tokenCapacity = max(batchTokens, longest)
    samples = LabelledSamples(
      tokenizer: loaded.tokenizer, labelling: labelling, description: description, maximumLength: self.maximumLength)
    made = try loaded.makeWorkspace(
      tokens: tokenCapacity, positions: longest, headRows: 64, purpose: .evaluation)
  }

  /// Whether a row has no token that a label could be read from.
  public func seesNothing(of row: LabelledRow) -> Bool {
    labelling.task == .sequenceClassification && samples.question(row).sample.tokens.isEmpty
  }

  /// What the model says of each row, in their order. Rows of any length; nothing is padded.
  /// - Throws: `DataError` where a row has no token that a label could be read from
  public func predict(_ rows: [LabelledRow]) throws -> [Prediction] {
    let questions = rows.map { samples.question($0) }
    if labelling.task == .sequenceClassification,
      let (row, _) = zip(rows, questions).first(where: { $1.sample.tokens.isEmpty })
    {
      throw DataError.badLine(file: row.file, line: row.line, reason: "no token")
    }
    cutCount += questions.count { $0.isCut }
    var answers = [Prediction?](repeating: nil, count: rows.count)
    var batch: [Int] = []
    var count = 0
    func run() throws {
      if batch.isEmpty { return }
      let logits = try logits(batch.map { questions[$0].sample })
      for (index, logits) in zip(batch, logits) {
        guard logits.allSatisfy({ $0.allSatisfy(\.isFinite) }) else {
          throw WeightStore.Invalid.notFinite(loaded, "\(rows[index].file):\(rows[index].line)")
        }
        answers[index] = answer(rows[index], questions[index], logits)
      }
      (batch, count) = ([], 0)
    }
    for (index, question) in questions.enumerated() {
      let length = question.sample.tokens.count + loaded.promptPlaces.count
      if count + length > tokenCapacity { try run() }
      batch.append(index)
      count += length
    }
    try run()
    return answers.compactMap { $0 }
  }

  /// Of each sample those of every token with a label.
  private func logits(_ samples: [Sample]) throws -> [[[Float]]] {
    let prompt = loaded.promptPlaces
    let filled = samples.filter { !$0.tokens.isEmpty }
    if filled.isEmpty { return samples.map { _ in [] } }
    let tokens = filled.reduce(0) { $0 + prompt.count + $1.tokens.count }
    let batch = Batch(rows: [filled], rowLength: tokens, prompt: prompt)
    var all: [[Float]] = []
    _ = try loaded.model.loss([batch.microBatch], workspace: made.workspace, pass: made.pass) { rows in
      for row in 0..<rows.rows { all.append(rows.row(row).values) }
    }
    var next = 0
    return samples.map { sample in
      let count = sample.labels.count { $0 != Label.ignored }
      defer { next += count }
      return Array(all[next..<next + count])
    }
  }

  private func answer(_ row: LabelledRow, _ question: LabelledSamples.Question, _ logits: [[Float]]) -> Prediction {
    if labelling.task == .tokenClassification { return tagged(row, question, logits) }
    let first = logits.first ?? [Float](repeating: 0, count: labelling.labels.count)
    let scores = LabelReport.scores(first, labelling.problem)
    switch labelling.problem {
    case .regression: return .numbers(scores)
    case .multiLabel:
      return .labels(labelling.labels.indices.filter { first[$0] > 0 }.map { labelling.labels[$0] }, scores: scores)
    case .singleLabel:
      let best = LabelReport.best(first)
      return .label(labelling.labels[best], score: scores[best], scores: scores)
    }
  }

  private func tagged(_ row: LabelledRow, _ question: LabelledSamples.Question, _ logits: [[Float]]) -> Prediction {
    let text = Array(question.text.unicodeScalars)
    let words = question.words
    let best = logits.map(LabelReport.best)
    let scores = zip(logits, best).map { LabelReport.scores($0, .singleLabel)[$1] }
    let tags = best.map { labelling.labels[$0] }
    guard labelling.labels.contains(where: { $0.hasPrefix("B-") }) else {
      return .tags(zip(words, zip(tags, scores)).map { ($0, $1.0, $1.1) })
    }
    return .entities(
      Entity.all(in: tags, scheme: TagScheme(tags: labelling.labels), beginsInside: true).map { entity in
        let characters = words[entity.words.lowerBound].lowerBound..<words[entity.words.upperBound - 1].upperBound
        var found = String.UnicodeScalarView()
        found.append(contentsOf: text[characters])
        return FoundEntity(
          type: entity.type, text: String(found), characters: characters,
          score: scores[entity.words].reduce(0, +) / Double(entity.words.count))
      })
  }
}

extension WeightStore.Invalid {
  /// - Parameter place: of what the model says
  fileprivate static func notFinite(_ loaded: LoadedModel, _ place: String) -> Self {
    let directory = loaded.model.store.directory
    return Self(
      directory: directory,
      reason:
        "what the model says of \(place) is not finite\n       `edge-lora verify` of the model and of its adapter "
        + "finds damaged weights")
  }
}

extension Predictor {
  /// A prediction as a line of JSON.
  public func json(_ prediction: Prediction) -> JSONValue {
    func scores(_ values: [Double]) -> JSONValue {
      .object(JSONObject(zip(labelling.labels, values).map { ($0, .number($1)) }))
    }
    switch prediction {
    case .label(let label, let score, let all):
      return .object(JSONObject([("label", .string(label)), ("score", .number(score)), ("scores", scores(all))]))
    case .labels(let labels, let all):
      return .object(JSONObject([("labels", .array(labels.map { .string($0) })), ("scores", scores(all))]))
    case .numbers(let values):
      if values.count == 1 { return .object(JSONObject([("value", .number(values[0]))])) }
      return .object(JSONObject([("values", scores(values))]))
    case .entities(let entities):
      return .object(
        JSONObject([
          (
            "entities",
            .array(
              entities.map {
                .object(
                  JSONObject([
                    ("type", .string($0.type)), ("text", .string($0.text)),
                    ("start", .integer($0.characters.lowerBound)), ("end", .integer($0.characters.upperBound)),
                    ("score", .number($0.score)),
                  ]))
              })
          )
        ]))
    case .tags(let tags):
      return .object(
        JSONObject([
          (
            "tags",
            .array(
              tags.map {
                .object(
                  JSONObject([
                    ("start", .integer($0.word.lowerBound)), ("end", .integer($0.word.upperBound)),
                    ("tag", .string($0.tag)), ("score", .number($0.score)),
                  ]))
              })
          )
        ]))
    }
  }
}

extension Evaluator {
  /// Writes what a head with labels says as one F32 tensor `logits`, `[tokens with a label, labels]`, sample by sample: for
  /// comparisons.
  public func dumpLabelLogits(_ data: TrainingData, labelling: Labelling, to path: String) throws {
    let prompt = loaded.promptPlaces
    let longest = prompt.count + (data.samples.map(\.tokens.count).max() ?? 1)
    let count = data.samples.reduce(0) { $0 + $1.labels.count { $0 != Label.ignored } }
    let made = try loaded.makeWorkspace(tokens: longest, positions: longest, headRows: 64, purpose: .evaluation)
    let writer = try SafetensorsWriter(path: path, headerByteCount: 1024)
    try writer.begin(.init(name: "logits", elementType: .f32, shape: [count, labelling.labels.count]))
    for sample in data.samples {
      let batch = Batch(rows: [[sample]], rowLength: prompt.count + sample.tokens.count, prompt: prompt)
      var rows: [[Float]] = []
      _ = try loaded.model.loss([batch.microBatch], workspace: made.workspace, pass: made.pass) { logits in
        for row in 0..<logits.rows { rows.append(logits.row(row).values) }
      }
      for row in rows { try row.withUnsafeBytes { try writer.append($0) } }
    }
    try writer.finish()
  }

  /// Mean loss per label, and the figures of what the model says of labelled data.
  public func report(_ data: TrainingData, labelling: Labelling) throws -> (loss: Double, report: LabelReport) {
    let plan = try BatchPlan(
      data, maximumLength: 0, seed: 0, shuffles: false, samplesPerStep: 1, prompt: loaded.promptPlaces)
    let made = try loaded.makeWorkspace(
      tokens: batchSize * plan.rowLength, positions: plan.rowLength, headRows: 64, purpose: .evaluation)
    var report = LabelReport(labelling)
    var (sum, count) = (0.0, 0)
    for batch in plan.all(microBatchSize: batchSize) {
      var logits: [[Float]] = []
      sum += try loaded.model.loss([batch.microBatch], workspace: made.workspace, pass: made.pass) { rows in
        for row in 0..<rows.rows { logits.append(rows.row(row).values) }
      }
      count += batch.labelledTokenCount
      report.add(batch, logits: logits)
    }
    guard sum.isFinite else { throw WeightStore.Invalid.notFinite(loaded, "the data") }
    return (sum / Double(max(count, 1)), report)
  }
}
