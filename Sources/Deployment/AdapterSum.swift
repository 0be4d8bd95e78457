import Formats
import Kernels
import Memory
import Quantization
import Transformer
import Tuning

/// Weights with an adapter merged into them, in fp32 row by row.
final class AdapterSum {
  private let merges: [String: WeightMerge]
  /// Rows in place of those of the model, by the tensor's name.
  private let rows: [String: RowMerge]
  private let unties: Bool
  private let trainables: Trainables
  /// Owns the parameters.
  private let arena: Arena

  /// - Parameters:
  ///   - directory: PEFT folder, or a GGUF LoRA
  ///   - model: its base
  /// - Throws: `MergeError` for a method that cannot become part of the weights
  init(adapter directory: String, of model: LanguageModel) throws {
    let (arena, method) = try AdapterImporter.withFolder(directory, for: model.description) {
      try AdapterFolder.open($0, for: model)
    }
    guard let method = method as? any MergeableMethod else {
      throw MergeError(
        description: "\(directory): this method adds something beside the weights and cannot become part of them; "
          + "use the adapter with --adapter")
    }
    merges = Dictionary(uniqueKeysWithValues: method.merges().map { ($0.location.name, $0.merge) })
    rows = Dictionary(uniqueKeysWithValues: method.rowMerges.map { ($0.tensor, $0) })
    unties = method.unties
    self.arena = arena
    trainables = method.trainables
  }

  /// The model with the head that was trained beside the adapter, if one was.
  func withHead(_ source: ModelSource) throws -> ModelSource {
    if unties { return try source.untied() }
    guard case .object(var json)? = trainables.headConfiguration else { return source }
    json["quantization_config"] = nil
    return source.replacing(trainables.headValues, configuration: .object(json))
  }

  /// The weight or bias with the adapter merged into it, if it has one.
  func apply(to tensor: SourceTensor) -> SourceTensor {
    if let own = rows[tensor.name] {
      let columns = tensor.columns
      return tensor.changing { rows, values in
        for (place, row) in rows.enumerated() {
          guard let new = own.row(row) else { continue }
          for column in 0..<columns { values[place * columns + column] = new[column] }
        }
      }
    }
    if tensor.name.hasSuffix(".weight"), let merge = merges[String(tensor.name.dropLast(".weight".count))] {
      let columns = tensor.columns
      return tensor.changing { rows, values in
        for (place, row) in rows.enumerated() {
          merge.row(row, UnsafeMutableBufferPointer(rebasing: values[place * columns..<(place + 1) * columns]))
        }
      }
    }
    guard tensor.name.hasSuffix(".bias") else { return tensor }
    switch merges[String(tensor.name.dropLast(".bias".count))]?.bias {
    case .scaled(let factors)?:
      return tensor.changing { _, values in for index in 0..<values.count { values[index] *= factors[index] } }
    case .replaced(let new)?:
      return tensor.changing { _, values in for index in 0..<values.count { values[index] = new[index] } }
    case .kept?, nil: return tensor
    }
  }
}
