import Formats
import Foundation
import Testing
import Training

struct RunForecastTests {
  private func run(_ values: [String: [String]]) throws -> TrainingRun {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    var given: [String: [String]] = ["max-length": ["128"], "threads": ["1"], "output": ["/nowhere"]]
    given.merge(values) { $1 }
    return try TrainingRun(
      options: try TrainingOptions(given), modelDirectory: root.appendingPathComponent("Models/tiny-llama").path,
      files: [root.appendingPathComponent("Models/home-control/held-out.jsonl").path], keepsData: false,
      observer: Silence())
  }

  @Test func stepsAreThoseOfTheRun() throws {
    let run = try run(["epochs": ["2"], "micro-batch-size": ["2"]])
    let forecast = run.forecast()
    #expect(forecast.steps == run.stepCount && forecast.steps == 2 * forecast.stepsPerEpoch)
    #expect(forecast.tokensPerStep > 0 && forecast.tokensPerStep <= 256 && forecast.secondsPerStep > 0)
  }

  /// ceil(epochs x steps of one), as transformers' Trainer reckons `max_steps`.
  @Test func aPartOfAnEpochIsThatPartOfItsSteps() throws {
    for (epochs, perEpoch, steps) in [(0.5, 10, 5), (2.5, 3, 8), (0.1, 10, 1), (0.01, 10, 1), (3, 7, 21)] {
      #expect(OptimizationOptions.steps(epochs: epochs, perEpoch: perEpoch) == steps)
    }
    let run = try run(["epochs": ["0.5"], "micro-batch-size": ["2"]])
    #expect(run.stepCount == (run.forecast().stepsPerEpoch + 1) / 2)
  }

  @Test func samplesThatDoNotSeeEachOtherCostLessThanARow() throws {
    let run = try run([:])
    let perToken = run.forecast().secondsPerStep / Double(run.plan.rowsPerStep * run.plan.rowLength)
    #expect(perToken < 1 / run.plan.predictedTokensPerSecond)
  }

  @Test func triedStepsSayHowFarThatIsOff() throws {
    let excess = try run(["max-steps": ["2"]]).measuredExcess(steps: 2)
    #expect(excess > 0 && excess.isFinite)
  }
}

private final class Silence: TrainingObserver {
  func note(_ line: String) {}
  func reading(_ done: Int, of all: Int) {}
  func stepped(_ report: StepReport, of steps: Int, machine: MachineState) {}
  func evaluating(_ done: Int, of all: Int) {}
  func evaluated(step: Int, figures: JSONObject, isBest: Bool) {}
}
