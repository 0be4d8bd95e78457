import Formats
import Foundation
import Testing
import Training

/// The choices of transformers' own `Trainer`, with its `EarlyStoppingCallback`, on the same figures.
@Test func theStepsAreThoseOfTransformersTrainer() throws {
  let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Golden/early-stopping.json").path
  let cases = try #require(JSONValue.parse(contentsOf: path)["cases"]?.arrayValue)
  #expect(cases.count >= 40)
  var early = 0
  for (number, one) in cases.enumerated() {
    let metric = try #require(one["metric"]?.stringValue)
    var values: [String: [String]] = [
      "eval-split": ["0.1"], "eval-steps": ["1"], "load-best-model-at-end": [], "metric-for-best-model": [metric],
      "early-stopping-threshold": ["\(one["threshold"]?.doubleValue ?? 0)"],
    ]
    if let patience = one["patience"]?.intValue { values["early-stopping-patience"] = ["\(patience)"] }
    var best = BestModel(try TrainingOptions(values).evaluation)
    func figures(_ value: Double) -> JSONObject { JSONObject([("eval_\(metric)", .number(value))]) }
    // Before the first step a model may be better than ever after, and does not count.
    try best.take(step: 0, figures: figures(metric == "loss" ? -9 : 9))
    var step = 0
    for value in one["figures"]?.arrayValue ?? [] where !best.isExhausted {
      step += 1
      try best.take(step: step, figures: figures(try #require(value.doubleValue)))
    }
    #expect(best.step == one["best"]?.intValue, "case \(number)")
    #expect(step == one["steps"]?.intValue, "case \(number)")
    if step < 12 { early += 1 }
  }
  #expect(early > 10, "else the test shows little")
}
