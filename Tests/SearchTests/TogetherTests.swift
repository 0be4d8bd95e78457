import Formats
import Foundation
import Glibc
import Options
import Search
import Testing
import Training

/// Asks a search to stop when so many steps of trials are done.
private final class Stopper: SearchObserver {
  private final class Trial: TrainingObserver {
    private let stepped: () -> Void

    init(_ stepped: @escaping () -> Void) { self.stepped = stepped }

    func note(_ line: String) {}
    func reading(_ done: Int, of all: Int) {}
    func stepped(_ report: StepReport, of steps: Int, machine: MachineState) { stepped() }
    func evaluating(_ done: Int, of all: Int) {}
    func evaluated(step: Int, figures: JSONObject, isBest: Bool) {}
  }

  private var stepsLeft: Int
  var signalNumber: Int32? { stepsLeft <= 0 ? SIGTERM : nil }

  init(after steps: Int) { stepsLeft = steps }

  func note(_ line: String) {}
  func ended(_ record: TrialRecord) {}
  func began(_ job: Job, of trials: Int, settings: Settings) -> any TrainingObserver {
    Trial { [self] in stepsLeft -= 1 }
  }
}

@Suite(.serialized) struct TogetherTests {
  private let adapter = "adapter_model.safetensors"
  /// Weights pass through, though there is room for them.
  private let streaming = ["resident-layers": ["0"], "dropout": ["0.1"]]

  private func text(_ table: SearchTable) -> String { table.text { "\($0)" } }

  private func streamed(_ folder: String) throws -> Int {
    try #require(try JSONValue.parse(contentsOf: "\(folder)/summary.json")["weight_bytes_streamed"]?.intValue)
  }

  @Test func trialsTogetherAreTheRunsOfTrainAndReadTheWeightsOnce() throws {
    try withFolder { folder in
      let values = streaming.merging(["learning-rate": ["1e-3,1e-2"], "rank": ["2,4"]]) { $1 }
      let watcher = Watcher()
      let table = try search("\(folder)/s", values.merging(["together": ["4"]]) { $1 }, observer: watcher)
      #expect(watcher.notes.contains { $0.hasPrefix("4 trials go through the weights together") })
      #expect(table.rows.count == 4)
      var (together, alone) = (0, 0)
      for row in table.rows {
        let (ours, theirs) = ("\(folder)/s/trial-00\(row.trial)", "\(folder)/alone-\(row.trial)")
        try trainAlone(row, values.merging(["no-eval-on-start": []]) { $1 }, in: theirs)
        #expect(try bytes("\(ours)/\(adapter)") == bytes("\(theirs)/\(adapter)"))
        together += try streamed(ours)
        alone += try streamed(theirs)
      }
      #expect(together > 0 && 4 * together == alone)
    }
  }

  @Test func aSearchHasTheSameTableHoweverManyGoTogether() throws {
    try withFolder { folder in
      for strategy in ["grid", "random", "halving", "asha"] {
        let values = streaming.merging(["strategy": [strategy], "together": ["1"]]) { $1 }
        let one = try search("\(folder)/\(strategy)-1", values)
        let some = try search("\(folder)/\(strategy)-4", values.merging(["together": ["4"]]) { $1 })
        #expect(text(some) == text(one))
        #expect(one.rows.count == 9)
      }
    }
  }

  @Test func whereNothingPassesThroughTrialsGoAlone() throws {
    try withFolder { folder in
      let watcher = Watcher()
      _ = try search("\(folder)/s", ["rank": ["2"]], observer: watcher)
      #expect(watcher.records.count == 3 && !watcher.notes.contains { $0.contains("together") })
    }
  }

  @Test func aTrialThatDiesLeavesTheOthersAlone() throws {
    try withFolder { folder in
      let values = streaming.merging([
        "learning-rate": ["1e-3"], "rank": ["2"], "method": ["bottleneck"], "scaling": ["1,0,2"],
      ]) { $1 }
      let one = try search("\(folder)/one", values.merging(["together": ["1"]]) { $1 })
      let all = try search("\(folder)/all", values.merging(["together": ["3"]]) { $1 })
      #expect(one.rows.contains { $0.metric == nil } && one.rows.contains { $0.metric != nil })
      #expect(text(all) == text(one))
    }
  }

  @Test func aSearchThatCannotGoOnEndsForAll() throws {
    try withFolder { folder in
      let values = streaming.merging(["rank": ["2"], "together": ["3"], "metric-for-best-model": ["eval_luck"]]) { $1 }
      #expect(throws: MissingFigure.self) { try search("\(folder)/s", values) }
    }
  }

  @Test func aStoppedCompanyGoesOnWhereItWas() throws {
    try withFolder { folder in
      let values = streaming.merging(["strategy": ["halving"], "together": ["4"]]) { $1 }
      let whole = try search("\(folder)/whole", values)
      var stops = 0
      for steps in [1, 5, 9, Int.max] {
        let stopper = Stopper(after: steps)
        let run = try SearchRun(
          given: smallSearch("\(folder)/s", values), modelDirectory: tinyLlama, files: [homeControl], observer: stopper)
        let (table, signal) = try run.run { stopper.signalNumber }
        if signal != nil {
          stops += 1
          #expect(signal == SIGTERM)
        } else {
          #expect(text(table) == text(whole))
        }
      }
      #expect(stops == 3)
      for row in whole.rows where row.steps == row.allSteps {
        let name = "trial-00\(row.trial)/\(adapter)"
        #expect(try bytes("\(folder)/s/\(name)") == bytes("\(folder)/whole/\(name)"))
      }
    }
  }
}
