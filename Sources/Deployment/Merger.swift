import Formats
import FoundationEssentials
import Glibc
import Kernels
import Memory
import Transformer
import Tuning
import WeightStore

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
  ///   - check: looks at the finished folder before it gets its name, and may throw
  ///   - progress: weights done and in all; what it throws ends the run
  public func merge(
    modelDirectory: String, adapter directory: String, to output: String, check: (String) throws -> Void = { _ in },
    progress: @escaping (Int, Int) throws -> Void
  ) throws -> QuantizationReport {
    let store = try WeightStore.open(modelDirectory)
    let model = try LanguageModel(store: store)
    let configuration = try LowRankConfiguration.load(from: directory)
    let (arena, set) = try Arena.filled {
      try LowRankMethod(configuration: configuration, model: model, trainingTokens: 0, arena: $0)
    }
    defer { withExtendedLifetime(arena) {} }
    try set.load(from: directory)
    let byName = Dictionary(uniqueKeysWithValues: set.adapters.map { ("\($0.location.name).weight", $0) })
    return try quantizer.write(
      try ModelSource.open(store: store), to: output,
      transform: { tensor in
        guard let adapter = byName[tensor.name] else { return tensor }
        return tensor.adding(adapter)
      }, check: check, progress: progress)
  }
}

extension SourceTensor {
  /// The tensor with the adapter's share added.
  fileprivate func adding(_ adapter: LowRankAdapter) -> SourceTensor {
    let delta = AdapterDelta(adapter)
    let columns = columns
    return changing { rows, values in
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
