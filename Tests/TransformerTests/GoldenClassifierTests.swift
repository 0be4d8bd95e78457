import Architectures
import Formats
import Foundation
import Kernels
import Testing
import Transformer

/// Models with labels against PyTorch in float64: encoders of every family and a decoder, with LoRA and heads that are
/// trained whole.
struct GoldenClassifierTests {
  static let models: [(name: String, labelsTokens: Bool, isEncoder: Bool)] = [
    ("bert", false, true), ("distilbert", true, true), ("roberta", false, true), ("xlm-roberta", true, true),
    ("qwen3-labels", false, false),
  ]

  private func rows(_ index: Int) throws -> PackedRows {
    try .goldenLabels(labelsTokens: Self.models[index].labelsTokens, isEncoder: Self.models[index].isEncoder)
  }

  @Test(arguments: models.indices) func whatIsSaidOfLabelsIsThatOfTransformers(index: Int) throws {
    let folder = "\(golden)/\(Self.models[index].name)"
    let expected = try SafetensorsFile(path: "\(folder)/expected")
    let bench = try Bench(folder, adapter: "\(folder)/adapter", tokens: 36, rowLength: 18)
    var found: [Float] = []
    _ = try bench.model.loss([try rows(index).microBatch], workspace: bench.workspace, pass: bench.pass) { logits in
      found += (0..<logits.rows).flatMap { logits.row($0).values }
    }
    let wanted = try #require(expected.tensor("logits")).floats()
    try #require(found.count == wanted.count && !wanted.isEmpty)
    let worst = zip(found, wanted).map { abs($0 - $1) }.max() ?? 0
    #expect(worst < 2e-5, "largest difference \(worst)")
  }

  @Test(arguments: models.indices) func gradientsOfAdapterAndHeadAreThoseOfAutograd(index: Int) throws {
    let folder = "\(golden)/\(Self.models[index].name)"
    let expected = try SafetensorsFile(path: "\(folder)/expected")
    let bench = try Bench(folder, adapter: "\(folder)/adapter", tokens: 36, rowLength: 18)
    let loss = try bench.lossAndGradient(try rows(index))
    let wanted = Double(try #require(expected.tensor("loss")).floats()[0])
    #expect(abs(loss - wanted) < 1e-5, "loss \(loss) against \(wanted)")
    let gradients = bench.gradients
    #expect(Set(gradients.keys) == Set(expected.tensorNames).subtracting(["loss", "logits"]))
    for (name, gradient) in gradients {
      let error = relativeError(gradient, try #require(expected.tensor(name)).floats())
      #expect(error < 2e-5, "\(name): relative error \(error)")
    }
  }
}
