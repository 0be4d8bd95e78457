import Formats
import Foundation
import Options
import Testing
import Training

/// The root of nothing would be a rate without end, so many waves one that is no number, and no end lies above the peak.
@Test(arguments: [
  ("inverse_sqrt", "timescale=0"), ("cosine_with_restarts", "num_cycles=1e308"),
  ("cosine_with_min_lr", "min_lr_rate=2"), ("warmup_stable_decay", "min_lr_ratio=1.5"),
])
func shapesWithoutARateAreRefused(kind: String, shape: String) {
  let values = ["lr-scheduler": [kind], "lr-scheduler-kwargs": [shape]]
  #expect(throws: OptionError.self) { try TrainingOptions(values) }
}

/// Rates of transformers' `get_scheduler`, made by `Tools/golden/schedules.py`: 20 steps with a peak of 2e-4.
@Test func schedulesAreThoseOfTransformers() throws {
  let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/Golden/schedules.json"
  let rows = try #require(JSONValue.parse(contentsOf: path).arrayValue)
  #expect(rows.count == 24)
  for row in rows {
    let kind = try #require(row["kind"]?.stringValue)
    let shape = try #require(row["kwargs"]?.stringValue)
    let warmup = try #require(row["warmup"]?.intValue)
    var values = ["lr-scheduler": [kind], "learning-rate": ["2e-4"], "warmup-steps": ["\(warmup)"]]
    if !shape.isEmpty { values["lr-scheduler-kwargs"] = [shape] }
    let schedule = try TrainingOptions(values).optimization.learningRates(steps: 20)
    let expected = try #require(row["rates"]?.arrayValue).compactMap(\.doubleValue)
    try #require(expected.count == 22)
    for (step, rate) in expected.enumerated() {
      #expect(abs(schedule.rate(at: step) - rate) < 1e-15, "\(kind) \(shape), warm-up \(warmup), step \(step)")
    }
  }
}
