import Data
import Formats
import FoundationEssentials
import Options
import Tokenization
import Transformer

/// Reads the data of a run: once for all starts, where it is large.
struct RunData {
  private let options: TrainingOptions
  private let model: LanguageModel
  private let maximumLength: Int
  private let isKept: Bool
  private let tokenizer: Tokenizer?
  private let note: (String) -> Void
  private let progress: (Int, Int) -> Void

  /// - Parameters:
  ///   - maximumLength: tokens of a sample
  ///   - isKept: whether large data may be kept beside the output, tokenised
  ///   - tokenizer: of the model, where it is read already
  ///   - note: gets lines for people
  ///   - progress: gets bytes that are read, and all
  init(
    options: TrainingOptions, model: LanguageModel, maximumLength: Int, isKept: Bool, tokenizer: Tokenizer?,
    note: @escaping (String) -> Void,
    progress: @escaping (Int, Int) -> Void
  ) {
    self.options = options
    self.model = model
    self.maximumLength = maximumLength
    self.isKept = isKept && options.output.gradientFile == nil
    self.tokenizer = tokenizer
    self.note = note
    self.progress = progress
  }

  /// Data to train on and, perhaps, to evaluate on.
  func read(_ files: [String]) throws -> (train: TrainingData, held: TrainingData?) {
    // What standard input gave to another run cannot be told from what it gives now.
    if isKept, options.output.force || files.contains("-") && !options.output.resume {
      SampleCache.removeAll(in: options.output.folder)
    }
    let all = try data(files, purpose: "train")
    if !options.data.evaluationFiles.isEmpty {
      return (all, try data(options.data.evaluationFiles, purpose: "eval"))
    }
    guard options.data.evaluationShare > 0, all.samples.count > 1 else { return (all, nil) }
    let parts = try all.split(options.data.evaluationShare, seed: options.optimization.seed)
    return (parts.train, parts.evaluation)
  }

  private func data(_ files: [String], purpose: String) throws -> TrainingData {
    var reader = DataReader(
      tokenizer: tokenizer.map(TokenizerSource.init) ?? TokenizerSource(directory: model.store.directory),
      maximumLength: maximumLength,
      trainOnPrompt: options.data.trainOnPrompt, skipBadLines: options.data.skipBadLines,
      vocabularySize: model.description.vocabularySize)
    reader.progress = progress
    guard isKept, SampleCache.isWorthwhile(files) else { return try reader.read(files) }
    let cache = try SampleCache(
      folder: options.output.folder, purpose: purpose, settings: try settings(), files: files)
    return try cache.data(note: note) { try reader.read(files, into: $0) }
  }

  /// What tokens depend on beside the files.
  private func settings() throws -> [(String, String)] {
    try Self.settings(modelDirectory: model.store.directory, maximumLength: maximumLength, options: options) + [
      ("prompts", "\(options.data.trainOnPrompt)"), ("vocabulary", "\(model.description.vocabularySize)"),
    ]
  }

  /// What tokens of any data depend on: the program, the tokenizer, the length.
  static func settings(
    modelDirectory directory: String, maximumLength: Int, options: TrainingOptions
  ) throws -> [(String, String)] {
    var hash = FNV1a()
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    for name in names.sorted() where !name.hasSuffix(".safetensors") {
      guard try PathKind("\(directory)/\(name)") != .directory else { continue }
      hash.add(name)
      try FilePieces.forEach(of: "\(directory)/\(name)") { hash.add($0) }
    }
    return [
      ("program", Program.version), ("tokenizer", hash.text), ("length", "\(maximumLength)"),
      ("skipping", "\(options.data.skipBadLines)"),
    ]
  }
}
