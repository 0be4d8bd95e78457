import Formats
import Options
import Quantization
import Reporting
import Transformer

/// A merge that costs too much.
public struct MergeError: Error, CustomStringConvertible {
  public let description: String
  public init(description: String) { self.description = description }
}

/// Adds an adapter to its base and stores the sum: `W + scaling B A`, in fp32 row by row, quantised once.
public struct Merger {
  private let quantizer: Quantizer

  public init(quantizer: Quantizer) { self.quantizer = quantizer }

  /// - Parameters:
  ///   - directory: PEFT folder, or a GGUF LoRA
  ///   - check: looks at the finished folder before it gets its name, and may throw
  ///   - progress: weights done and in all; what it throws ends the run
  public func merge(
    modelDirectory: String, adapter directory: String, to output: String, check: (String) throws -> Void = { _ in },
    progress: @escaping (Int, Int) throws -> Void
  ) throws -> QuantizationReport {
    let store = try LoadedModel.open(modelDirectory, adapter: directory)
    let model = try LanguageModel(store: store)
    let sum = try AdapterSum(adapter: directory, of: model)
    let card = try AdapterImporter.withFolder(directory, for: store.description) {
      try ModelCard(
        .merged(format: quantizer.format.name), adapter: $0, baseDirectory: modelDirectory, runFolder: $0,
        program: Program.version)
    }
    return try quantizer.write(
      try sum.withHead(try ModelSource.open(store: store)), to: output, inputs: [directory],
      transform: { sum.apply(to: $0) },
      check: { folder in
        try card.write(to: folder, unlessForeignIn: output)
        try check(folder)
      }, progress: progress)
  }
}
