import Foundation
import Options
import Search
import Testing
import Training

@Suite(.serialized) struct SearchRunTests {
  @Test func everyTrialIsTheRunOfTrainWithItsSettings() throws {
    try withFolder { folder in
      let values = ["learning-rate": ["1e-3,1e-2"], "rank": ["2,4"], "dropout": ["0.1"]]
      let table = try search("\(folder)/s", values)
      #expect(table.rows.count == 4)
      for row in table.rows {
        try trainAlone(row, values, in: "\(folder)/alone-\(row.trial)")
        let name = "adapter_model.safetensors"
        #expect(
          try bytes("\(folder)/s/trial-00\(row.trial)/\(name)") == bytes("\(folder)/alone-\(row.trial)/\(name)"))
      }
    }
  }

  @Test func aTrialThatRestedAtRungsIsTheRunOfTrainToo() throws {
    try withFolder { folder in
      let values = ["strategy": ["halving"], "dropout": ["0.1"]]
      let table = try search("\(folder)/s", values)
      let best = try #require(table.best)
      #expect(table.rows.count == 9)
      #expect(best.steps == best.allSteps && best.rung == 2)
      #expect(table.rows.filter { $0.steps < $0.allSteps }.count == 8)
      try trainAlone(best, values.filter { $0.key != "strategy" }, in: "\(folder)/alone")
      let name = "adapter_model.safetensors"
      #expect(try bytes("\(folder)/s/trial-00\(best.trial)/\(name)") == bytes("\(folder)/alone/\(name)"))
    }
  }

  @Test func whatAnEarlierProcessFoundIsNotTriedAgain() throws {
    try withFolder { folder in
      let values = ["rank": ["2,4"], "learning-rate": ["1e-3"]]
      let number: (Double) -> String = { "\($0)" }
      let first = Watcher()
      let table = try search("\(folder)/s", values, observer: first)
      let again = Watcher()
      #expect(try search("\(folder)/s", values, observer: again).text(number: number) == table.text(number: number))
      #expect(first.records.count == 2 && again.records.isEmpty)
      #expect(throws: SearchMismatch.self) { try search("\(folder)/s", ["rank": ["2,8"], "learning-rate": ["1e-3"]]) }
      let anew = Watcher()
      _ = try search("\(folder)/s", values.merging(["force": []]) { $1 }, observer: anew)
      #expect(anew.records.count == 2)
      try "{".write(toFile: "\(folder)/s/ledger.json", atomically: true, encoding: .utf8)
      #expect(throws: SearchMismatch.self) { try search("\(folder)/s", values) }
    }
  }

  @Test func noSearchWritesIntoAModelsFolder() throws {
    try withFolder { folder in
      try "".write(toFile: "\(folder)/model.safetensors", atomically: true, encoding: .utf8)
      for flags in [[:], ["force": [String]()]] {
        #expect(throws: OutputInUse.self) {
          try search(folder, ["rank": ["2,4"]].merging(flags) { $1 })
        }
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["model.safetensors"])
    }
  }

  /// Of one row no correlation exists.
  @Test func aTrialWithoutTheFigureFailsAndNotTheSearch() throws {
    try withFolder { folder in
      let rows = (0..<6).map { "{\"text\": \"light \($0)\", \"label\": 0.\($0)}\n" }
      try rows.joined().write(toFile: "\(folder)/train.jsonl", atomically: true, encoding: .utf8)
      try rows[0].write(toFile: "\(folder)/one.jsonl", atomically: true, encoding: .utf8)
      let values: [String: [String]] = [
        "rank": ["2,4"], "learning-rate": ["1e-3"], "eval-data": ["\(folder)/one.jsonl"], "max-steps": ["1"],
        "metric-for-best-model": ["pearson"],
      ]
      let run = try SearchRun(
        given: smallSearch("\(folder)/s", values), modelDirectory: tinyLlama, files: ["\(folder)/train.jsonl"],
        observer: Watcher())
      let table = try run.run().table
      #expect(table.rows.map(\.failure) == [String](repeating: "eval_pearson is no number here", count: 2))
      #expect(table.best == nil)
    }
  }

  @Test func theBestSettingsCanBeTrainedWith() throws {
    try withFolder { folder in
      _ = try search("\(folder)/s", ["rank": ["2,4"], "learning-rate": ["1e-3"], "use-rslora": []])
      let text = try String(contentsOfFile: "\(folder)/s/best.json", encoding: .utf8)
      #expect(text.contains("\"use-rslora\": true") && text.contains("\"rank\""))
      #expect(!text.contains("epochs") && !text.contains("data-share") && !text.contains("output"))
    }
  }

  @Test func wrongSettingsAreToldBeforeAnythingRuns() throws {
    try withFolder { folder in
      #expect(throws: OptionError.self) { try search("\(folder)/s", ["rank": ["2,x"]]) }
      #expect(throws: OptionError.self) { try search("\(folder)/s", ["rank": ["2"], "learning-rate": ["1"]]) }
      #expect(!FileManager.default.fileExists(atPath: "\(folder)/s"))
    }
  }

  @Test func settingsThatTheModelDoesNotTakeFailAlone() throws {
    try withFolder { folder in
      let values = [
        "strategy": ["tpe"], "trials": ["6"], "method": ["lora,prefix_tuning"], "num-virtual-tokens": ["4096"],
        "rank": ["2"], "learning-rate": ["1e-3"],
      ]
      let watcher = Watcher()
      let table = try search("\(folder)/s", values, observer: watcher)
      let failed = watcher.records.filter { $0.metric == nil }
      #expect(watcher.records.count == 6 && !failed.isEmpty && failed.count < 6)
      #expect(failed.allSatisfy { $0.failure?.contains("--num-virtual-tokens") ?? false })
      #expect(table.best?.metric != nil)
    }
  }

  /// Whatever it leaves out.
  @Test(arguments: ["random", "tpe"]) func everyTrialOfAutoPEFTsSpaceIsTheRunOfTrain(_ strategy: String) throws {
    try withFolder { folder in
      let values = [
        "space": ["autopeft"], "strategy": [strategy], "trials": ["5"], "rank": [], "learning-rate": ["1e-3"],
        "num-virtual-tokens": ["0,2"],
      ].filter { !$0.value.isEmpty }
      func given(_ output: String) -> [String: [String]] {
        smallSearch(output, values).filter { $0.key != "rank" }
      }
      let found = try SearchRun(
        given: given("\(folder)/s"), modelDirectory: tinyLlama, files: [homeControl], observer: Watcher())
      let table = try found.run().table
      #expect(table.rows.count == 5 && !table.front.isEmpty)
      for row in table.rows where row.metric != nil {
        var options = row.settings.options(over: found.base)
        options["output"] = ["\(folder)/alone-\(row.trial)"]
        _ = try TrainingRun(
          options: try TrainingOptions(options), modelDirectory: tinyLlama, files: [homeControl], observer: Silence()
        ).run()
        let trial = "\(folder)/s/trial-00\(row.trial)"
        let names = try FileManager.default.contentsOfDirectory(atPath: trial).filter { $0.hasSuffix(".safetensors") }
        #expect(!names.isEmpty)
        for name in names { #expect(try bytes("\(trial)/\(name)") == bytes("\(folder)/alone-\(row.trial)/\(name)")) }
      }
      #expect(table.rows.count { $0.metric != nil } > 2)
    }
  }

  @Test func dataIsKnownByWhatIsInIt() throws {
    try withFolder { folder in
      let text = try String(contentsOfFile: homeControl, encoding: .utf8)
      let (here, there) = ("\(folder)/a.jsonl", "\(folder)/b.jsonl")
      for path in [here, there] { try text.write(toFile: path, atomically: true, encoding: .utf8) }
      func records(_ file: String) throws -> Int {
        let watcher = Watcher()
        _ = try SearchRun(
          given: smallSearch("\(folder)/s", ["rank": ["2"], "learning-rate": ["1e-3,1e-2"]]), modelDirectory: tinyLlama,
          files: [file], observer: watcher
        ).run()
        return watcher.records.count
      }
      #expect(try records(here) == 2)
      #expect(try records(there) == 0)
      try text.replacingOccurrences(of: "kitchen", with: "chicken").write(
        toFile: here, atomically: true, encoding: .utf8)
      #expect(throws: SearchMismatch.self) { try records(here) }
    }
  }

  @Test func theFrontHoldsWhatNoOtherBeatsTwice() throws {
    func record(_ trial: Int, _ metric: Double?, _ parameters: Int) -> TrialRecord {
      TrialRecord(
        trial: trial, rung: 0, settings: Settings([]), steps: 1, allSteps: 1, metric: metric, failure: nil,
        trainableParameters: parameters, predictedPeakBytes: 0, seconds: 0)
    }
    let records = [record(0, 1, 10), record(1, 2, 5), record(2, 2, 10), record(3, nil, 1)]
    let table = SearchTable(records: records, metric: "eval_loss", greaterIsBetter: false)
    #expect(table.front == [0, 1])
    #expect(table.best?.trial == 0)
    #expect(SearchTable(records: records, metric: "eval_f1", greaterIsBetter: true).best?.trial == 1)
  }
}
