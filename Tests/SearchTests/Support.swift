import Formats
import Foundation
import Options
import Search
import Training

let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()
let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path
let homeControl = root.appendingPathComponent("Models/home-control/held-out.jsonl").path
let goldenSamples = root.appendingPathComponent("Tests/SearchTests/Golden/tpe.json").path

/// A folder that is gone afterwards.
func withFolder(_ body: (String) throws -> Void) throws {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("search-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  try body(folder.path)
}

/// Hears nothing of a trial.
final class Silence: TrainingObserver {
  func note(_ line: String) {}
  func reading(_ done: Int, of all: Int) {}
  func stepped(_ report: StepReport, of steps: Int, machine: MachineState) {}
  func evaluating(_ done: Int, of all: Int) {}
  func evaluated(step: Int, figures: JSONObject, isBest: Bool) {}
}

/// Keeps what a search found.
final class Watcher: SearchObserver {
  private(set) var records: [TrialRecord] = []
  private(set) var notes: [String] = []
  func note(_ line: String) { notes.append(line) }
  func began(_ job: Job, of trials: Int, settings: Settings) -> any TrainingObserver { Silence() }
  func ended(_ record: TrialRecord) { records.append(record) }
}

/// Options of a small search over the tiny model.
func smallSearch(_ output: String, _ values: [String: [String]]) -> [String: [String]] {
  var all: [String: [String]] = [
    "max-length": ["64"], "micro-batch-size": ["2"], "threads": ["1"], "output": [output],
    "learning-rate": ["1e-4,1e-3,1e-2"], "rank": ["2,4,8"], "data-share": ["0.2"],
  ]
  all.merge(values) { $1 }
  return all
}

func search(
  _ output: String, _ values: [String: [String]], observer: any SearchObserver = Watcher()
) throws -> SearchTable {
  try SearchRun(
    given: smallSearch(output, values), modelDirectory: tinyLlama, files: [homeControl], observer: observer
  ).run().table
}

func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }

/// Trains alone with the settings of a trial.
func trainAlone(_ record: TrialRecord, _ values: [String: [String]], in folder: String) throws {
  let (_, base) = try Space.split(SearchOptions.trialOptions(smallSearch("", values)), file: nil)
  var given = record.settings.options(over: base)
  given["output"] = [folder]
  let run = try TrainingRun(
    options: try TrainingOptions(given), modelDirectory: tinyLlama, files: [homeControl], observer: Silence())
  _ = try run.run()
}
