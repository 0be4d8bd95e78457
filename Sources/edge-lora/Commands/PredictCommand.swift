import Data
import Deployment
import Formats
import FoundationEssentials
import Glibc
import Training

let predictCommand = Command(
  name: "predict", summary: "say labels, numbers or entities of texts, as JSON lines", positional: [],
  options: ModelOptions.declarations + [
    .init(
      "data", "FILE...", isList: true,
      "texts: JSON lines, CSV, TSV, CoNLL or .txt files, - for lines from standard input, of JSON or text"),
    .init("text", "TEXT", "one text"),
    .init("output", "FILE", aliases: ["o"], "file for the answers (default: standard output; also -o)"),
    .init("max-length", "N", default: "512", "tokens of a text; what is longer is cut"),
    .init("batch-size", "N", default: "32", "texts that are computed together; 1 answers each as it comes"),
    .init("skip-bad-lines", nil, "count lines that cannot be used and go on: they have no answer"),
    .init("force", nil, "replace an output that exists"),
  ] + TaskOptions.columnDeclarations
) { arguments in
  let files = arguments.values.list("data")
  let text = arguments.text("text")
  guard (text == nil) != files.isEmpty else { throw UsageError(description: "either --data or --text is needed") }
  let predictor = try Predictor(
    try ModelOptions.load(arguments), maximumLength: try arguments.number("max-length", in: 8...131_072))
  let size = try arguments.number("batch-size", in: 1...65_536)
  let output = try arguments.text("output").map {
    try AtomicOutput(path: $0, force: arguments.flag("force"), inputs: files)
  }
  let file = try output.map { output in
    guard let file = fopen(output.temporaryPath, "w") else {
      throw FileError.cannotWrite(file: output.temporaryPath, reason: .system)
    }
    return file
  }
  func answer(_ rows: [LabelledRow]) throws {
    for prediction in try predictor.predict(rows) {
      let line = predictor.json(prediction).serialized()
      guard let file else {
        Console.print(line)
        continue
      }
      guard fputs(line + "\n", file) >= 0 else {
        throw FileError.writingFailed(file: output?.temporaryPath ?? "", reason: .system)
      }
    }
  }
  if let text {
    let row = LabelledRow(.text(text, pair: nil), file: "--text", line: 1)
    guard !predictor.seesNothing(of: row) else {
      throw UsageError(description: "--text: there is no token in it, and this model puts none before a text")
    }
    try answer([row])
  }
  let columns = TaskOptions.columns(arguments.values)
  // A file of words and tags may be a .txt too.
  let isOfTexts = predictor.labelling.task == .sequenceClassification
  var skipped = 0
  for name in files {
    let reader = try LabelledRows(name, columns: columns, takesText: name == "-" || isOfTexts, readsLabels: false)
    var rows: [LabelledRow] = []
    while true {
      do {
        guard let row = try reader.nextRow() else { break }
        if arguments.flag("skip-bad-lines"), predictor.seesNothing(of: row) { skipped += 1 } else { rows.append(row) }
      } catch let error as DataError {
        guard arguments.flag("skip-bad-lines") else { throw error }
        skipped += 1
        continue
      }
      // Who asks line by line wants each answer at once.
      if rows.count == (name == "-" && isatty(0) == 1 ? 1 : size) {
        try answer(rows)
        rows = []
      }
    }
    if !rows.isEmpty { try answer(rows) }
  }
  if skipped > 0 { Console.error("\(skipped) bad lines skipped") }
  if predictor.cutCount > 0 {
    Console.error("\(predictor.cutCount) texts cut at \(predictor.maximumLength) tokens")
  }
  if let file, fclose(file) != 0 {
    throw FileError.writingFailed(file: output?.temporaryPath ?? "", reason: .system)
  }
  try output?.commit()
  return ExitCode.success
}
