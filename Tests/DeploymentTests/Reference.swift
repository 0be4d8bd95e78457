import Architectures
import Formats
import Foundation
import Kernels
import Memory
import Testing
import Transformer
import WeightStore

/// What a model makes of the golden samples, in floats.
enum Reference {
  /// Mean loss per label.
  static func loss(_ store: WeightStore) throws -> Double {
    try ReferenceProduct.prepare()
    let model = try LanguageModel(store: store)
    let json = try JSONValue.parse(contentsOf: golden("samples.json"))
    func lists(_ key: String) -> [[Int32]] {
      (json[key]?.arrayValue ?? []).map { ($0.arrayValue ?? []).compactMap { $0.intValue.map { Int32($0) } } }
    }
    let samples = Array(zip(lists("tokens"), lists("labels")))
    try #require(samples.count == 3)
    let longest = samples.map(\.0.count).max() ?? 0
    let (arena, made) = try Arena.filled { arena in
      let engine = ComputeEngine(
        precision: .f32, pool: ThreadPool(threadCount: 1),
        demands: model.demands(tokens: longest, headRows: 16, gradients: false), arena: arena)
      let workspace = Workspace(
        model: model, keptColumns: { _ in 0 }, tokenCapacity: longest, positionCount: longest, headRows: 16,
        purpose: .evaluation, precision: .f32, threadCount: 1, arena: arena)
      return (engine, workspace)
    }
    return try withExtendedLifetime(arena) {
      made.1.prepare()
      var sum = 0.0
      var count = 0
      for (tokens, labels) in samples {
        let next = labels.dropFirst() + [Label.ignored]
        count += next.count { $0 != Label.ignored }
        let batch = MicroBatch(
          tokens: tokens, labels: Array(next),
          layout: SequenceLayout(rowLength: tokens.count, segments: [0, tokens.count]))
        sum += try model.loss([batch], workspace: made.1, pass: Pass(engine: made.0))
      }
      return sum / Double(count)
    }
  }
}
