import Data
import Deployment
import Formats
import FoundationEssentials
import Glibc
import Memory
import Options
import Training
import Transformer

let evaluateCommand = Command(
  name: "evaluate", summary: "measure loss, perplexity and exact matches", positional: [],
  options: ModelOptions.declarations + [
    .init("data", "FILE...", isList: true, "data as for train"),
    .init("max-length", "N", default: "512", "tokens of a row"),
    .init("exact-match", nil, "answer the questions of prompt/answer data and compare"),
    .init("max-new-tokens", "N", default: "128", "tokens of an answer at most"),
    .init("show", nil, "the same, and print each question with its wanted and given answer"),
    .init("train-on-prompt", nil, "count the loss of prompts too"),
    .init("skip-bad-lines", nil, "count lines that cannot be used and go on"),
    .init("dump-logits", "FILE", "write the logits of every token, for comparisons"),
    .init("json", nil, "print JSON"),
  ] + TaskOptions.columnDeclarations
) { arguments in
  let loaded = try ModelOptions.load(arguments, needsTokenizer: false)
  let files = arguments.values.list("data")
  guard !files.isEmpty else { throw UsageError(description: "--data is needed") }
  let length = try arguments.number("max-length", in: 8...131_072)
  if loaded.model.description.labelling != nil { return try evaluateLabels(loaded, files, length, arguments) }
  // Of an encoder without labels there is nothing but what its last layer makes.
  if loaded.model.description.isEncoder, arguments.text("dump-logits") == nil { _ = try loaded.labelling() }
  let data = try ModelOptions.data(
    files, loaded, maximumLength: length, trainOnPrompt: arguments.flag("train-on-prompt"),
    skipBadLines: arguments.flag("skip-bad-lines"))
  let evaluator = Evaluator(loaded)
  if let path = arguments.text("dump-logits") {
    let output = try logitsOutput(path)
    try evaluator.dumpLogits(data, maximumLength: length, to: output.temporaryPath)
    try output.commit()
  }
  if loaded.model.description.isEncoder { return ExitCode.success }
  var result = try evaluator.loss(data, maximumLength: length) {
    Console.progress(done: $0, of: $1, "batches for the loss")
  }
  if arguments.flag("exact-match") || arguments.flag("show") {
    guard !data.questions.isEmpty else {
      throw UsageError(description: "--exact-match needs prompts with answers in \(files.joined(separator: ", "))")
    }
    let silent = data.questions.count { $0.promptTokens.count >= loaded.maximumPositions }
    if silent > 0 {
      Console.error(
        "\(silent) questions count as wrong: they leave no room for an answer in the \(loaded.maximumPositions) tokens "
          + "that the model was made for")
    }
    var done = 0
    result.exactMatch = try evaluator.exactMatch(
      data.questions, maximumTokens: try arguments.number("max-new-tokens", in: 1...100_000)
    ) { question, answer in
      done += 1
      Console.progress(done: done, of: data.questions.count, "questions")
      if arguments.flag("show") {
        let lines = "prompt: \(question.prompt)\nwanted: \(question.answer)\ngiven:  \(answer)\n"
        // JSON stays alone on standard output.
        arguments.flag("json") ? Console.error(lines) : Console.print(lines)
      }
    }
    result.questions = data.questions.count
  }
  if arguments.flag("json") {
    Console.print(result.json.serialized(pretty: true))
  } else {
    Console.print(
      "loss \(Console.decimal(result.loss, 4))  perplexity \(Console.decimal(result.perplexity, 2))  \(result.tokens) tokens"
    )
    if let match = result.exactMatch, let questions = result.questions {
      Console.print("exact match \(Console.decimal(match * 100, 1)) % of \(questions)")
    }
  }
  return ExitCode.success
}

/// The figures of a model that says labels.
private func evaluateLabels(
  _ loaded: LoadedModel, _ files: [String], _ length: Int, _ arguments: Arguments
) throws -> Int32 {
  let labelling = try loaded.labelling()
  for name in ["exact-match", "show", "train-on-prompt"] where arguments.flag(name) {
    throw UsageError(description: "--\(name): the model says labels, and has neither prompts nor answers")
  }
  let data = try ModelOptions.labelledData(
    files, loaded, labelling, maximumLength: length, columns: TaskOptions.columns(arguments.values),
    skipBadLines: arguments.flag("skip-bad-lines"))
  let evaluator = Evaluator(loaded)
  if let path = arguments.text("dump-logits") {
    let output = try logitsOutput(path)
    try evaluator.dumpLabelLogits(data, labelling: labelling, to: output.temporaryPath)
    try output.commit()
  }
  let (loss, report) = try evaluator.report(data, labelling: labelling)
  let figures = report.json
  if arguments.flag("json") {
    var object = JSONObject([("loss", .number(loss)), ("samples", .integer(data.samples.count))])
    for (name, value) in figures.entries { object[name] = value }
    Console.print(JSONValue.object(object).serialized(pretty: true))
    return ExitCode.success
  }
  let parts = figures.entries.compactMap { name, value in value.doubleValue.map { "\(name) \(Console.decimal($0, 4))" }
  }
  Console.print("loss \(Console.decimal(loss, 4))  \(data.samples.count) samples")
  if !parts.isEmpty { Console.print(parts.joined(separator: "  ")) }
  for (name, score) in figures["labels"]?.objectValue?.entries ?? [] {
    let cells = ["precision", "recall", "f1"].map { "\($0) \(Console.decimal(score[$0]?.doubleValue ?? 0, 4))" }
    Console.print("  \(name)  \(cells.joined(separator: "  "))  of \(score["support"]?.intValue ?? 0)")
  }
  return ExitCode.success
}

/// - Throws: `FileError` where something else than logits would be replaced
private func logitsOutput(_ path: String) throws -> AtomicOutput {
  guard Evaluator.areLogits(path) || !FileManager.default.fileExists(atPath: path) else {
    throw FileError.notReplaceable(file: path, reason: "it holds no logits")
  }
  return try AtomicOutput(path: path, force: true)
}
