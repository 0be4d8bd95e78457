import Formats
import FoundationEssentials
import Memory
import Options
import Search
import Training

/// Shows a search: a line for each result, and on a terminal the bar of the trial that runs.
private final class SearchConsole: SearchObserver {
  private let metric: (Double) -> String

  init() { metric = { Console.decimal($0, 4) } }

  func note(_ line: String) { Console.error(line) }

  func began(_ job: Job, of trials: Int, settings: Settings) -> any TrainingObserver {
    TrialConsole(title: "trial \(job.trial + 1) of \(trials)")
  }

  func ended(_ record: TrialRecord) {
    let figure = record.metric.map(metric) ?? "failed: \(record.failure ?? "")"
    Console.error(
      "trial \(record.trial)  \(record.settings.text)  \(record.steps)/\(record.allSteps) steps  \(figure)  "
        + Console.duration(record.seconds))
  }
}

/// Shows of a trial what matters in a search: its bar, and warnings.
private final class TrialConsole: TrainingObserver {
  private let title: String

  init(title: String) { self.title = title }

  func note(_ line: String) { if line.hasPrefix("warning") { Console.error(line) } }
  func reading(_ done: Int, of all: Int) {}
  func stepped(_ report: StepReport, of steps: Int, machine: MachineState) {
    Console.progress(done: report.step, of: steps, "\(title)  loss \(Console.decimal(report.loss, 4))")
  }
  func evaluating(_ done: Int, of all: Int) { Console.progress(done: done, of: all, "\(title)  evaluation") }
  func evaluated(step: Int, figures: JSONObject, isBest: Bool) {}
}

let searchCommand = Command(
  name: "search", summary: "try settings of training and find the best ones", positional: [],
  options: SearchOptions.declarations
) { arguments in
  let given = arguments.values.given
  let model = try given["model"]?.last.map(ModelFinder.checked) ?? ModelFinder.onlyModelHere()
  let files = given["data"] ?? []
  guard !files.isEmpty else { throw UsageError(description: "--data is needed: the samples to learn from") }
  let search = try SearchRun(given: given, modelDirectory: model, files: files, observer: SearchConsole())
  Console.error("searching \(search.spaceText): \(search.trialCount) settings")
  let (table, signal) = try search.run()
  if let signal {
    Console.error("stopped; the same command goes on from there")
    return 128 + signal
  }
  let folder = given["output"]?.last ?? "search"
  if arguments.flag("json") {
    Console.print(table.json.serialized(pretty: true))
  } else {
    Console.print(table.text { Console.decimal($0, 6) })
  }
  guard let best = table.best else {
    Console.error("error: no trial has a result; \(folder)/ledger.json says why each failed")
    return ExitCode.failure
  }
  guard try SearchOptions(given).trainBest else {
    let best = ShellWord.quoted("\(folder)/best.json")
    Console.error("train with it: edge-lora train --settings \(best) --output DIR")
    return ExitCode.success
  }
  return try trainBest(search.bestOptions(best), into: "\(folder)/best", isQuiet: arguments.flag("json"))
}

/// Trains with the best settings, and goes on with that where it was stopped.
private func trainBest(_ given: [String: [String]], into folder: String, isQuiet: Bool) throws -> Int32 {
  var given = given
  given["output"] = [folder]
  let isDone = RunRecord.isFinished(folder)
  if isDone { return ExitCode.success }
  given["resume"] = FileManager.default.fileExists(atPath: folder) ? [] : nil
  let run = try TrainingSetup.run(try TrainingOptions(given), keepsData: true)
  let outcome = try run.run()
  Console.finishLine()
  if !isQuiet, let last = outcome.summary["last_loss"]?.doubleValue {
    Console.print("best settings, all data: last loss \(Console.decimal(last, 4)); the adapter is in \(folder)")
  }
  return outcome.signalNumber.map { 128 + $0 } ?? ExitCode.success
}

private enum RunRecord {
  /// Whether the summary of a run says that it is complete.
  static func isFinished(_ folder: String) -> Bool {
    let path = "\(folder)/summary.json"
    guard FileManager.default.fileExists(atPath: path), let json = try? JSONValue.parse(contentsOf: path) else {
      return false
    }
    return json["completed"]?.boolValue ?? false
  }
}
