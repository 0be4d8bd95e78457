import Formats
import Kernels
import Memory
import Transformer
import Tuning
import WeightStore

/// Weights with an adapter's share added: `W + scaling B A`, in fp32 row by row.
final class AdapterSum {
  private let adapters: [String: LowRankAdapter]
  private let trainables: Trainables
  /// Owns the parameters.
  private let arena: Arena

  /// - Parameters:
  ///   - directory: PEFT folder
  ///   - model: its base
  init(adapter directory: String, of model: LanguageModel) throws {
    let configuration = try LowRankConfiguration.load(from: directory)
    let (arena, set) = try Arena.filled {
      try LowRankMethod(configuration: configuration, model: model, trainingTokens: 0, arena: $0)
    }
    try set.load(from: directory)
    self.arena = arena
    trainables = set.trainables
    adapters = Dictionary(uniqueKeysWithValues: set.adapters.map { ("\($0.location.name).weight", $0) })
  }

  /// The model with the head that was trained beside the adapter, if one was.
  func withHead(_ source: ModelSource) -> ModelSource {
    guard case .object(var json)? = trainables.headConfiguration else { return source }
    json["quantization_config"] = nil
    return source.replacing(trainables.headValues, configuration: .object(json))
  }

  /// The weight with the adapter's share, if it has one.
  func apply(to tensor: SourceTensor) -> SourceTensor {
    guard let adapter = adapters[tensor.name] else { return tensor }
    let delta = AdapterDelta(adapter)
    let columns = tensor.columns
    return tensor.changing { rows, values in
      for (place, row) in rows.enumerated() {
        delta.add(
          row: row, to: UnsafeMutableBufferPointer(rebasing: values[place * columns..<(place + 1) * columns]))
      }
    }
  }
}

/// The parameters of one adapter as plain arrays.
private struct AdapterDelta: Sendable {
  private let a: [[Float]]  // [rank][in]
  private let bTransposed: [[Float]]  // [rank][out]
  private let scaling: Float

  init(_ adapter: LowRankAdapter) {
    a = (0..<adapter.rank).map { adapter.a.row($0).values }
    bTransposed = (0..<adapter.rank).map { adapter.bTransposed.row($0).values }
    scaling = adapter.scaling
  }

  /// `values += scaling * B[row] A`
  func add(row: Int, to values: UnsafeMutableBufferPointer<Float>) {
    for rank in 0..<a.count {
      let factor = scaling * bTransposed[rank][row]
      a[rank].withUnsafeBufferPointer { line in
        for column in 0..<values.count { values[column] += factor * line[column] }
      }
    }
  }
}
