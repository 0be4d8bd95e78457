import Architectures
import Data
import Deployment
import Formats
import Options
import Transformer
import Tuning

/// Options of the commands that use a model without training it.
enum ModelOptions {
  static let declarations: [OptionDeclaration] = [
    .init(
      "model", "DIR", aliases: ["model-name-or-path"],
      "store or model folder (default: that of the adapter, or the only one here)"),
    adapter,
    .init("precision", "KIND", default: "int8", "int8, or f32 for the reference"),
    .init("threads", "N", "worker threads (default: one per processor)"),
  ]

  /// One adapter, or the weighted sum of several.
  static let adapter = OptionDeclaration(
    "adapter", "DIR[:WEIGHT]...", isList: true,
    "adapter folder, or a GGUF LoRA; several LoRA adapters are summed, also under a bottleneck and one adapter of another method "
      + "(default without --model: adapter, if it is here)"
  )

  /// Runs `body` with the one folder that stands for the adapters that were given.
  static func withAdapter<Result>(_ arguments: Arguments, _ body: (String?) throws -> Result) throws -> Result {
    let words = arguments.values.list("adapter")
    let adapters = words.map(WeightedAdapter.init)
    for adapter in adapters { try MissingPath.checkAdapter(adapter.directory) }
    guard let first = adapters.first, adapters.count > 1 || first.weight != 1 else { return try body(words.first) }
    return try OutputFolder.withTemporary { folder in
      let areLowRank = try AdapterFolder.areLowRank(adapters.map(\.directory))
      if areLowRank, adapters.count == 1 || adapters.last?.weight != 1 || AdapterCombination.canSum(adapters) {
        // Beside each other the factors are the exact sum.
        try AdapterCombination(kind: .cat).combine(adapters, to: folder)
      } else {
        try AdapterUnion.link(adapters, in: folder)
      }
      return try body(folder)
    }
  }

  /// - Parameter needsTokenizer: `false` where texts may come as ids
  static func load(_ arguments: Arguments, needsTokenizer: Bool = true) throws -> LoadedModel {
    let name = try arguments.required("precision")
    guard let precision = Precision(rawValue: name) else {
      throw UsageError(description: "--precision \(name): expected int8 or f32")
    }
    return try withAdapter(arguments) { given in
      let (model, adapter) = try ModelFinder.find(model: arguments.text("model"), adapter: given)
      return try LoadedModel(
        directory: model, adapter: adapter, precision: precision, threads: try arguments.threads(),
        needsTokenizer: needsTokenizer)
    }
  }

  static func data(
    _ files: [String], _ loaded: LoadedModel, maximumLength: Int, trainOnPrompt: Bool = false,
    skipBadLines: Bool = false
  ) throws -> TrainingData {
    let length = min(maximumLength, loaded.maximumPositions)
    let data = try DataReader(
      tokenizer: loaded.tokenizerSource, maximumLength: length, trainOnPrompt: trainOnPrompt,
      skipBadLines: skipBadLines,
      vocabularySize: loaded.model.description.vocabularySize, keepsQuestions: true
    ).read(files)
    if data.skippedLines > 0 { Console.error("\(data.skippedLines) bad lines skipped") }
    if let useless = data.uselessNote { Console.error(useless) }
    if data.truncatedCount > 0 { Console.error("\(data.truncatedCount) samples cut at \(length) tokens") }
    return data
  }

  /// Rows for a model that says labels.
  static func labelledData(
    _ files: [String], _ loaded: LoadedModel, _ labelling: Labelling, maximumLength: Int,
    columns: LabelledColumns = LabelledColumns(), skipBadLines: Bool = false
  ) throws -> TrainingData {
    let length = min(maximumLength, loaded.maximumPositions)
    let rows = try LabelledFiles(files, columns: columns, skipBadLines: skipBadLines)
    let data = try LabelledSamples(
      tokenizer: loaded.tokenizer, labelling: labelling, description: loaded.model.description,
      maximumLength: length, survey: labelling.problem == .multiLabel ? try rows.survey() : nil
    ).data(rows)
    if data.skippedLines > 0 { Console.error("\(data.skippedLines) bad lines skipped") }
    if data.truncatedCount > 0 { Console.error("\(data.truncatedCount) samples cut at \(length) tokens") }
    return data
  }
}
