import Data
import Deployment
import Options
import Transformer

/// Options of the commands that use a model without training it.
enum ModelOptions {
  static let declarations: [OptionDeclaration] = [
    .init(
      "model", "DIR", aliases: ["model-name-or-path"],
      "store or model folder (default: that of the adapter, or the only one here)"),
    .init("adapter", "DIR", "adapter folder, or a GGUF LoRA (default without --model: adapter, if it is here)"),
    .init("precision", "KIND", default: "int8", "int8, or f32 for the reference"),
    .init("threads", "N", "worker threads (default: one per processor)"),
  ]

  static func load(_ arguments: Arguments) throws -> LoadedModel {
    let name = try arguments.required("precision")
    guard let precision = Precision(rawValue: name) else {
      throw UsageError(description: "--precision \(name): expected int8 or f32")
    }
    let (model, adapter) = try ModelFinder.find(model: arguments.text("model"), adapter: arguments.text("adapter"))
    return try LoadedModel(
      directory: model, adapter: adapter, precision: precision, threads: try arguments.threads())
  }

  static func data(
    _ files: [String], _ loaded: LoadedModel, maximumLength: Int, trainOnPrompt: Bool = false,
    skipBadLines: Bool = false
  ) throws -> TrainingData {
    let length = min(maximumLength, loaded.maximumPositions)
    let data = try DataReader(
      tokenizer: TokenizerSource(loaded.tokenizer), maximumLength: length, trainOnPrompt: trainOnPrompt,
      skipBadLines: skipBadLines,
      vocabularySize: loaded.model.description.vocabularySize, keepsQuestions: true
    ).read(files)
    if data.skippedLines > 0 { Console.error("\(data.skippedLines) bad lines skipped") }
    if let useless = data.uselessNote { Console.error(useless) }
    if data.truncatedCount > 0 { Console.error("\(data.truncatedCount) samples cut at \(length) tokens") }
    return data
  }
}
