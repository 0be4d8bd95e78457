import Formats
import Foundation
import Testing

/// Every kind of model against PyTorch in float64. fp32 sums of some hundred terms are off by some 1e-6; the limits
/// leave room for other orders of summation.
struct GoldenModelTests {
  @Test(arguments: variants) func logitsAreThoseOfTransformers(_ variant: String) throws {
    let expected = try SafetensorsFile(path: "\(golden)/\(variant)/expected")
    let rows = try PackedRows.golden()
    let bench = try Bench(
      "\(golden)/\(variant)", adapter: "\(golden)/\(variant)/adapter", tokens: 36, rowLength: 18)
    let logits = try bench.logits(rows)
    let found = rows.places.flatMap { $0.flatMap { logits[$0] } }
    let wanted = try #require(expected.tensor("logits")).floats()
    try #require(found.count == wanted.count)
    let worst = zip(found, wanted).map { abs($0 - $1) }.max() ?? 0
    #expect(worst < 2e-5, "largest difference \(worst)")
  }

  @Test(arguments: variants) func lossAndLoRAGradientsAreThoseOfAutograd(_ variant: String) throws {
    let expected = try SafetensorsFile(path: "\(golden)/\(variant)/expected")
    let bench = try Bench(
      "\(golden)/\(variant)", adapter: "\(golden)/\(variant)/adapter", tokens: 36, rowLength: 18)
    let loss = try bench.lossAndGradient(try PackedRows.golden())
    let wanted = try #require(expected.tensor("loss")).floats()[0]
    #expect(abs(loss - Double(wanted)) < 1e-5, "loss \(loss) against \(wanted)")
    let gradients = bench.gradients
    #expect(Set(gradients.keys) == Set(expected.tensorNames).subtracting(["loss", "logits"]))
    for (name, gradient) in gradients {
      let wanted = try #require(expected.tensor(name)).floats()
      let error = relativeError(gradient, wanted)
      #expect(error < 2e-5, "\(name): relative error \(error)")
    }
  }

  /// The products in 8 bits: what 1/127 of the largest of a block leaves of a model of random weights, which has no
  /// redundancy that rounding could hide in.
  @Test(arguments: variants) func int8GradientsPointWherePyTorchsDo(_ variant: String) throws {
    let expected = try SafetensorsFile(path: "\(golden)/\(variant)/expected")
    let bench = try Bench(
      "\(golden)/\(variant)", adapter: "\(golden)/\(variant)/adapter", precision: .int8, tokens: 36, rowLength: 18)
    let loss = try bench.lossAndGradient(try PackedRows.golden())
    let wanted = Double(try #require(expected.tensor("loss")).floats()[0])
    #expect(abs(loss / wanted - 1) < 0.01, "loss \(loss) against \(wanted)")
    let gradients = bench.gradients
    for (name, gradient) in gradients {
      let angle = cosine(gradient, try #require(expected.tensor(name)).floats())
      #expect(angle > 0.98, "\(name): cosine \(angle)")
    }
  }
}
