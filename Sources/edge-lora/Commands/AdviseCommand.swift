import Advice
import Options
import Training

/// Shows how far an advisor is, on a terminal.
private final class AdviceConsole: AdviceObserver {
  func note(_ line: String) { Console.error(line) }
  func progress(_ done: Int, of all: Int, _ text: String) { Console.progress(done: done, of: all, text) }
}

let adviseCommand = Command(
  name: "advise", summary: "rank methods of training for a model, its data and a budget", positional: [],
  options: AdviceOptions.declarations
) { arguments in
  let given = arguments.values.given
  let model = try given["model"]?.last.map(ModelFinder.checked) ?? ModelFinder.onlyModelHere()
  let files = given["data"] ?? []
  guard !files.isEmpty else { throw UsageError(description: "--data is needed: the samples to learn from") }
  StopRequest.endAtOnce()
  let advice = try Advisor(given: given, modelDirectory: model, files: files, observer: AdviceConsole()).advise()
  Console.print(arguments.flag("json") ? advice.json.serialized(pretty: true) : advice.text)
  return ExitCode.success
}
