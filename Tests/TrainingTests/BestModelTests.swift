import Formats
import Foundation
import Options
import Testing
import Training

/// Figures of evaluations, and what transformers' `Trainer` with `EarlyStoppingCallback` makes of the same losses.
struct BestModelTests {
  private func options(_ values: [String: [String]]) throws -> TrainingOptions {
    try TrainingOptions(values.merging(["eval-split": ["0.2"]]) { mine, _ in mine })
  }

  @Test func theLossIsBetterWhenSmallerAndOtherFiguresWhenGreater() throws {
    #expect(try !options([:]).evaluation.greaterIsBetter)
    #expect(try options(["metric-for-best-model": ["f1"]]).evaluation.greaterIsBetter)
    #expect(try options(["metric-for-best-model": ["f1"]]).evaluation.metric == "eval_f1")
    #expect(try options(["metric-for-best-model": ["eval_loss"]]).evaluation.metric == "eval_loss")
    #expect(try !options(["metric-for-best-model": ["f1"], "greater-is-better": ["false"]]).evaluation.greaterIsBetter)
  }

  @Test func whatNeedsSeveralEvaluationsGetsOneAnEpoch() throws {
    #expect(try options([:]).evaluation.strategy == .no)
    #expect(try options(["eval-steps": ["5"]]).evaluation.strategy == .steps)
    #expect(try options(["load-best-model-at-end": []]).evaluation.strategy == .epoch)
    #expect(throws: OptionError.self) { try options(["early-stopping-patience": ["1"], "eval-strategy": ["no"]]) }
    #expect(throws: OptionError.self) { try TrainingOptions(["load-best-model-at-end": []]) }
  }

  /// A rate that makes the loss grow after a while.
  private static let growing: [String: [String]] = [
    "learning-rate": ["5e-2"], "max-steps": ["40"], "eval-steps": ["2"], "eval-split": ["0.3"],
    "lr-scheduler": ["constant"], "load-best-model-at-end": [],
  ]

  @Test func theAdapterIsThatOfTheBestEvaluation() throws {
    try withFolder { folder in
      // The greatest loss shall be the best: it is not the last one, whatever the processor rounds.
      let falling = ["greater-is-better": ["true"], "learning-rate": ["1e-3"]]
      let summary = try train(folder, Self.growing.merging(falling) { $1 })
      let best = try #require(summary["best_step"]?.intValue)
      let evaluations = try lines("\(folder)/metrics.jsonl").filter { $0["eval_loss"] != nil }
      #expect(evaluations.first?["step"]?.intValue == 0, "before the first step as well")
      let greatest = try #require(
        evaluations.dropFirst().max { ($0["eval_loss"]?.doubleValue ?? 0) < ($1["eval_loss"]?.doubleValue ?? 0) })
      #expect(greatest["step"]?.intValue == best)
      try #require(best < 40, "else the test shows nothing")
      let weights = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/adapter_model.safetensors"))
      let kept = try Data(
        contentsOf: URL(fileURLWithPath: "\(folder)/checkpoint-\(best)/adapter_model.safetensors"))
      let last = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/checkpoint-40/adapter_model.safetensors"))
      #expect(weights == kept && weights != last)
    }
  }

  @Test func aRunWithoutHopeEndsAndKnowsItAfterAResume() throws {
    try withFolder { folder in
      let values = Self.growing.merging(["early-stopping-patience": ["3"], "max-steps": ["400"]]) { $1 }
      let listener = Listener()
      let summary = try train(folder, values, observer: listener)
      let steps = try #require(summary["steps"]?.intValue)
      let best = try #require(summary["best_step"]?.intValue)
      #expect(steps == best + 6 && steps < 400)
      #expect(listener.notes.contains { $0.contains("ended after step \(steps) of 400") })
      let again = try train(folder, values.merging(["resume": []]) { $1 })
      #expect(again["steps"]?.intValue == steps)
    }
  }

  @Test func aFigureThatIsNoNumberIsNoBetterThanAnother() throws {
    let values = ["metric-for-best-model": ["pearson"], "early-stopping-patience": ["2"]]
    var best = BestModel(try options(values).evaluation)
    for (step, figure) in [(1, JSONValue.null), (2, .number(0.5)), (3, .null)] {
      let isBest = try best.take(step: step, figures: JSONObject([("eval_pearson", figure)]))
      #expect(isBest == (step == 2))
    }
    #expect(best.step == 2 && !best.isExhausted)
    try best.take(step: 4, figures: JSONObject([("eval_pearson", .number(.nan))]))
    #expect(best.isExhausted)
    #expect(throws: OptionError.self) { try best.take(step: 5, figures: JSONObject([("eval_loss", .number(1))])) }
  }

  /// Of one row no correlation exists; a run that looks for one goes on, also after a resume.
  @Test func aRunGoesOnWithoutACorrelation() throws {
    try withFolder { folder in
      let rows = (0..<8).map { "{\"text\": \"light \($0)\", \"label\": 0.\($0)}\n" }
      try rows.joined().write(toFile: "\(folder)/train.jsonl", atomically: true, encoding: .utf8)
      try rows[0].write(toFile: "\(folder)/one.jsonl", atomically: true, encoding: .utf8)
      var values: [String: [String]] = [
        "max-length": ["64"], "threads": ["1"], "output": ["\(folder)/adapter"], "save-minutes": ["0"],
        "eval-data": ["\(folder)/one.jsonl"], "metric-for-best-model": ["pearson"], "load-best-model-at-end": [],
        "eval-steps": ["1"], "max-steps": ["2"],
      ]
      func run() throws -> JSONValue {
        try TrainingRun(
          options: try TrainingOptions(values), modelDirectory: tinyLlama, files: ["\(folder)/train.jsonl"],
          observer: Listener()
        ).run().summary
      }
      _ = try run()
      (values["resume"], values["max-steps"]) = ([], ["3"])
      let summary = try run()
      #expect(summary["steps"]?.intValue == 3 && summary["best_step"] == .null)
    }
  }

  @Test func aSampleAloneIsNotEvaluatedOnAndThatIsTold() throws {
    try withFolder { folder in
      try "the lights in the kitchen".write(toFile: "\(folder)/one.txt", atomically: true, encoding: .utf8)
      let listener = Listener()
      _ = try TrainingRun(
        options: try options(["threads": ["1"], "output": ["\(folder)/adapter"], "load-best-model-at-end": []]),
        modelDirectory: tinyLlama, files: ["\(folder)/one.txt"], observer: listener)
      #expect(listener.notes.contains { $0.contains("there is no evaluation") })
    }
  }

  @Test func resumeAloneGoesOnWithTheOptionsOfTheRun() throws {
    try withFolder { folder in
      let values: [String: [String]] = ["max-steps": ["4"], "rank": ["4"], "seed": ["7"]]
      try train(folder, values)
      let given = TrainingOptions.resuming(folder, ["epochs": ["2"]])
      #expect(given["rank"] == ["4"] && given["seed"] == ["7"])
      #expect(given["max-steps"] == nil, "epochs that are given now count")
      #expect(given["model"] == [tinyLlama])
      #expect(given["data"]?.first?.hasPrefix("/") == true)
    }
  }
}
