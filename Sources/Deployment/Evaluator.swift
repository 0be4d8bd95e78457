import Data
import Formats
import FoundationEssentials
import Glibc
import Kernels
import Memory
import Tokenization
import Transformer

/// How well a model does on some data.
public struct EvaluationResult: Sendable {
  /// Mean cross-entropy per labelled token.
  public let loss: Double
  public var perplexity: Double { exp(loss) }
  /// Labelled tokens.
  public let tokens: Int
  /// Share of the answers that greedy generation gave to the letter, white space around them aside.
  public var exactMatch: Double?
  public var questions: Int?

  public var json: JSONValue {
    var object = JSONObject([
      ("loss", .number(loss)), ("perplexity", .number(perplexity)), ("tokens", .integer(tokens)),
    ])
    if let exactMatch, let questions {
      object["exact_match"] = .number(exactMatch)
      object["questions"] = .integer(questions)
    }
    return .object(object)
  }
}

/// Measures loss and exact matches.
public struct Evaluator {
  let loaded: LoadedModel
  let batchSize: Int

  public init(_ loaded: LoadedModel, batchSize: Int = 4) {
    self.loaded = loaded
    self.batchSize = batchSize
  }

  /// Places of a row with the prompt in front: rows that are filled up have none behind those of the model either.
  private func longestRow(_ maximumLength: Int) -> Int {
    min(maximumLength, loaded.maximumPositions) + loaded.promptPlaces.count
  }

  /// Mean loss over the labelled tokens of `data`.
  ///
  /// - Parameter progress: gets batches that are done, and all
  public func loss(
    _ data: TrainingData, maximumLength: Int, progress: (Int, Int) -> Void = { _, _ in }
  ) throws -> EvaluationResult {
    let prompt = loaded.promptPlaces
    let plan = try BatchPlan(
      data, maximumLength: longestRow(maximumLength), seed: 0, shuffles: false, prompt: prompt)
    let made = try loaded.makeWorkspace(
      tokens: batchSize * plan.rowLength, positions: plan.rowLength, headRows: 64, purpose: .evaluation)
    var sum = 0.0
    var count = 0
    let batches = plan.all(microBatchSize: batchSize)
    for (index, batch) in batches.enumerated() {
      defer { progress(index + 1, batches.count) }
      guard batch.labelledTokenCount > 0 else { continue }
      sum += try loaded.model.loss([batch.microBatch], workspace: made.workspace, pass: made.pass)
      count += batch.labelledTokenCount
    }
    return EvaluationResult(loss: sum / Double(max(count, 1)), tokens: count)
  }

  /// Answers every question and counts those that agree with the known answer.
  ///
  /// - Parameters:
  ///   - maximumTokens: tokens of an answer, or as many as the model has room for behind the question; a question that
  ///     leaves none is not answered
  ///   - observe: gets question, wanted and given answer
  public func exactMatch(
    _ questions: [PromptAnswer], maximumTokens: Int, observe: (PromptAnswer, String) -> Void = { _, _ in }
  ) throws -> Double {
    guard let longest = questions.map(\.promptTokens.count).max() else { return 0 }
    let most = loaded.maximumPositions
    let generator = try TextGenerator(loaded, capacity: min(longest + maximumTokens, most))
    var matches = 0
    for question in questions {
      let room = min(maximumTokens, most - question.promptTokens.count)
      let answer =
        room > 0
        ? try generator.generate(prompt: question.promptTokens, maximumTokens: room, sampling: SamplingOptions())
          .text.trimmed : ""
      if room > 0, answer == question.answer.trimmed { matches += 1 }
      observe(question, answer)
    }
    return Double(matches) / Double(questions.count)
  }

  /// Whether a file is what `dumpLogits` writes, and may be replaced by it.
  public static func areLogits(_ path: String) -> Bool {
    guard let file = try? SafetensorsFile(path: path) else { return false }
    return file.tensor("logits") != nil || file.tensor("hidden_states") != nil
  }

  /// Writes the logits after every token of `data` as one F32 tensor `logits`, `[tokens, vocabulary]`, or for a model that
  /// names no tokens `hidden_states`, `[tokens, hidden]`: for comparisons.
  public func dumpLogits(_ data: TrainingData, maximumLength: Int, to path: String) throws {
    let description = loaded.model.description
    let namesTokens = description.head.weight != nil
    let columns = namesTokens ? description.vocabularySize : description.hiddenSize
    let count = data.samples.reduce(0) { $0 + $1.tokens.count }
    let prompt = loaded.promptPlaces
    let longest = longestRow(maximumLength)
    let made = try loaded.makeWorkspace(tokens: longest, positions: longest, headRows: 64, purpose: .evaluation)
    let writer = try SafetensorsWriter(path: path, headerByteCount: 1024)
    try writer.begin(
      .init(name: namesTokens ? "logits" : "hidden_states", elementType: .f32, shape: [count, columns]))
    for sample in data.samples {
      let batch = Batch(rows: [[sample]], rowLength: prompt.count + sample.tokens.count, prompt: prompt)
      guard namesTokens else {
        let states = try loaded.model.hiddenStates(batch.microBatch, workspace: made.workspace, pass: made.pass)
        for row in prompt.count..<states.rows { try states.row(row).withBytes { try writer.append($0) } }
        continue
      }
      try loaded.model.logits(batch.microBatch, workspace: made.workspace, pass: made.pass) { rows, logits in
        for row in 0..<rows.count where rows.lowerBound + row >= prompt.count {
          try logits.row(row).withBytes { try writer.append($0) }
        }
      }
    }
    try writer.finish()
  }
}

extension Batch {
  /// What the model takes.
  var microBatch: MicroBatch {
    MicroBatch(
      tokens: tokens, labels: labels, layout: SequenceLayout(rowLength: rowLength, segments: segments),
      typeIDs: typeIDs, targets: targets)
  }
}
