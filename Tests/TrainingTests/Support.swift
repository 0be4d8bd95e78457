import Formats
import Foundation
import Training

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

/// The trained tiny checkpoint.
let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path

/// Keeps what a run says.
final class Listener: TrainingObserver {
  private(set) var notes: [String] = []
  private(set) var steps = 0

  func note(_ line: String) { notes.append(line) }
  func stepped(_ report: StepReport, of steps: Int, machine: MachineState) { self.steps += 1 }
  private(set) var evaluations: [(step: Int, isBest: Bool)] = []
  func reading(_ done: Int, of all: Int) {}
  func evaluating(_ done: Int, of all: Int) {}
  func evaluated(step: Int, figures: JSONObject, isBest: Bool) { evaluations.append((step, isBest)) }
}

/// A folder that is gone afterwards.
func withFolder(_ body: (String) throws -> Void) throws {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("run-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  try body(folder.path)
}

/// A run on the tiny model, read and planned; `values` are options over small defaults, `data` is a file of home-control.
func prepare(
  _ output: String, _ values: [String: [String]], model: String = tinyLlama, data: String = "held-out.jsonl",
  observer: any TrainingObserver = Listener()
) throws -> TrainingRun {
  var all: [String: [String]] = [
    "max-length": ["64"], "micro-batch-size": ["1"], "threads": ["1"], "output": [output], "learning-rate": ["1e-3"],
    // No checkpoint because time has passed: on a machine that does much else, or that was put to sleep, it may have.
    "save-minutes": ["0"],
  ]
  all.merge(values) { $1 }
  return try TrainingRun(
    options: try TrainingOptions(all), modelDirectory: model,
    files: [root.appendingPathComponent("Models/home-control/\(data)").path], observer: observer)
}

/// The same, trained to its end, whatever signal the process of the tests gets meanwhile.
/// - Returns: its summary.
@discardableResult
func train(
  _ output: String, _ values: [String: [String]], observer: any TrainingObserver = Listener()
) throws -> JSONValue {
  try prepare(output, values, observer: observer).run { nil }.summary
}

/// The lines of a file of JSON lines.
func lines(_ path: String) throws -> [JSONValue] {
  try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map {
    try JSONValue.parse(String($0), file: path)
  }
}
