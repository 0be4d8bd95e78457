import Formats
import FoundationEssentials
import Glibc
import Memory
import Options
import Planning
import Training
import Tuning

/// What `train` and `plan` share: options from the settings file, the model and the data.
enum TrainingSetup {
  static let settingsName = "edge-lora.json"
  /// Options in a file of any name, such as the `best.json` of a search.
  static let settingsOption = OptionDeclaration(
    "settings", "FILE", "options in a JSON file, such as a search's best.json; flags count before them")

  /// Options from flags and, behind them, from the run that is resumed and from `edge-lora.json`.
  static func options(_ arguments: Arguments) throws -> TrainingOptions {
    var arguments = arguments
    let here = FileManager.default.fileExists(atPath: settingsName) ? try readSettings(settingsName) : [:]
    let named = try arguments.text(settingsOption.name).map { try readSettings($0) } ?? [:]
    let settings = here.merging(named) { $1 }
    if arguments.flag("resume"), let folder = arguments.text("output").map({ settings["output"]?.last ?? $0 }) {
      let given = arguments.values.isGiven("output") ? arguments.text("output") ?? folder : folder
      arguments.addDefaults(TrainingOptions.resuming(given, arguments.values.given))
    }
    arguments.addDefaults(settings)
    return try TrainingOptions(arguments.values.given.filter { $0.key != settingsOption.name })
  }

  private static func readSettings(_ settingsName: String) throws -> [String: [String]] {
    let json = try JSONValue.parse(contentsOf: settingsName)
    guard let object = json.objectValue else {
      throw UsageError(description: "\(settingsName): expected an object of options")
    }
    var values: [String: [String]] = [:]
    for (key, value) in object.entries {
      let name = String(key.map { $0 == "_" ? "-" : $0 })
      guard let option = TrainingOptions.declarations.first(where: { $0.isCalled(name) }) else {
        throw UsageError(
          description: "\(settingsName): unknown option \(key)"
            + Arguments.suggestion(name, TrainingOptions.declarations))
      }
      guard let given = Self.values(of: value, for: option) else {
        throw UsageError(
          description: "\(settingsName): \(key) does not take \(value.serialized()); expected "
            + (option.placeholder.map { option.isList ? "\($0) as a text or a list" : $0 } ?? "true or false"))
      }
      if let given, values.updateValue(given, forKey: option.name) != nil {
        throw UsageError(description: "\(settingsName): \(key) gives --\(option.name), which another key gives as well")
      }
    }
    return values
  }

  /// A setting as the words of a flag; the inner `nil` leaves the option alone, the outer one is a wrong value.
  private static func values(of value: JSONValue, for option: OptionDeclaration) -> [String]?? {
    switch value {
    case .null: return .some(nil)
    case .bool(let isOn): return option.placeholder == nil ? .some(isOn ? [] : nil) : nil
    case _ where option.placeholder == nil: return nil
    case .string(let text): return [text]
    case .integer, .longInteger, .number: return [value.intValue.map { String($0) } ?? value.serialized()]
    case .array(let list):
      let texts = list.compactMap(\.stringValue)
      guard texts.count == list.count, !texts.isEmpty else { return nil }
      if option.isList { return texts }
      // PEFT writes target modules as a list.
      return option.name == "target-modules" ? [texts.joined(separator: ",")] : nil
    case .object(let object):
      // Patterns and a scheduler's shape are objects in the files of PEFT and transformers.
      guard option.placeholder?.hasPrefix("NAME=") == true, !object.entries.isEmpty else { return nil }
      let parts = object.entries.map { name, value in
        name.contains(",") || value.doubleValue == nil ? nil : "\(name)=\(value.serialized())"
      }
      let texts = parts.compactMap { $0 }
      return texts.count == parts.count ? [texts.joined(separator: ",")] : nil
    }
  }

  /// The model that is named, or the only one here.
  static func model(_ options: TrainingOptions) throws -> String {
    if let model = options.model { return try ModelFinder.checked(model) }
    do { return try ModelFinder.onlyModelHere() } catch let error as UsageError {
      throw UsageError(description: noRun(options) + error.description)
    }
  }

  /// The data that is named, or `train.jsonl` or `train.txt`.
  static func data(_ options: TrainingOptions) throws -> [String] {
    if !options.data.files.isEmpty { return options.data.files }
    let found = ["train.jsonl", "train.txt"].filter { FileManager.default.fileExists(atPath: $0) }
    guard found.count == 1 else {
      throw UsageError(
        description: noRun(options)
          + (found.isEmpty
            ? "no train.jsonl or train.txt here; name the data with --data"
            : "both train.jsonl and train.txt are here; name one with --data"))
    }
    return found
  }

  /// Why `--resume` has brought neither model nor data.
  private static func noRun(_ options: TrainingOptions) -> String {
    let folder = options.output.folder
    let isThere = FileManager.default.fileExists(atPath: "\(folder)/run.json")
    return options.output.resume && !isThere ? "\(folder) holds no run to go on from; " : ""
  }

  /// What was made, and the command that uses it.
  static func tellNext(_ options: TrainingOptions, model: String, isLabelled: Bool) {
    let folder = options.output.folder
    for name in ["adapter_model.safetensors", "adapter.safetensors", "parallel_adapter.safetensors"] {
      let path = "\(folder)/\(name)"
      var status = stat()
      guard stat(path, &status) == 0 else { continue }
      Console.print("wrote \(path), \(ByteCount.text(Int(status.st_size)))")
    }
    let command = isLabelled ? "predict --text" : "generate --prompt"
    // What was trained belongs on top of those that took part.
    let below = options.method.frozen.map { $0.weight == 1 ? $0.directory : "\($0.directory):\($0.weight)" }
    let adapters = (below + [folder]).map(ShellWord.quoted).joined(separator: " ")
    Console.print("try it: edge-lora \(command) ... --model \(ShellWord.quoted(model)) --adapter \(adapters)")
  }

  /// - Parameter keepsData: whether large data is kept beside the output, tokenised
  static func run(_ options: TrainingOptions, keepsData: Bool) throws -> TrainingRun {
    let model = try model(options)
    // Until there is something to save.
    StopRequest.endAtOnce()
    return try TrainingRun(
      options: options, modelDirectory: model, files: try data(options), keepsData: keepsData,
      observer: TrainingConsole(logSteps: options.output.logSteps))
  }
}

let trainCommand = Command(
  name: "train", summary: "train an adapter on a frozen store, LoRA or another kind", positional: [],
  options: TrainingOptions.declarations + [TrainingSetup.settingsOption]
) { arguments in
  let options = try TrainingSetup.options(arguments)
  try options.output.check()
  let run = try TrainingSetup.run(options, keepsData: true)
  Console.error(run.plan.table)
  let outcome = try run.run()
  Console.finishLine()
  if options.output.json {
    Console.print(outcome.summary.serialized(pretty: true))
  } else if let last = outcome.summary["last_loss"]?.doubleValue {
    let peak = outcome.summary["measured_peak_bytes"]?.intValue ?? 0
    Console.print(
      "last loss \(Console.decimal(last, 4)), "
        + "\(Int(outcome.summary["tokens_per_second"]?.doubleValue ?? 0)) tokens/s "
        + "(plan \(Int(run.plan.predictedTokensPerSecond))), peak \(ByteCount.text(peak)) "
        + "(plan \(ByteCount.text(run.plan.predictedPeakBytes)))")
    if let chart = LossChart(metrics: "\(options.output.folder)/metrics.jsonl") {
      Console.print(chart.text)
      let mean = chart.lastMean
      Console.print("mean loss of the last \(mean.steps) steps: \(Console.decimal(mean.loss, 4))")
    }
    if outcome.signalNumber == nil {
      TrainingSetup.tellNext(options, model: run.modelDirectory, isLabelled: run.isLabelled)
    }
  } else {
    Console.print(outcome.summary.serialized())
  }
  return outcome.signalNumber.map { 128 + $0 } ?? ExitCode.success
}

let planCommand = Command(
  name: "plan", summary: "show what training would use, without training", positional: [],
  options: TrainingOptions.declarations + [TrainingSetup.settingsOption]
) { arguments in
  let options = try TrainingSetup.options(arguments)
  let run = try TrainingSetup.run(options, keepsData: false)
  let others = try run.plansByBudget()
  let seconds = Double(run.stepCount * run.plan.rowsPerStep * run.plan.rowLength) / run.plan.predictedTokensPerSecond
  if options.output.json {
    guard case .object(var object) = run.plan.json else { return ExitCode.failure }
    object["steps"] = .integer(run.stepCount)
    object["predicted_seconds"] = .number(seconds)
    object["budgets"] = .array(others.map(\.json))
    Console.print(JSONValue.object(object).serialized(pretty: true))
    return ExitCode.success
  }
  Console.print(run.plan.table)
  Console.print("\(run.stepCount) steps: about \(Console.duration(seconds))\n\nother budgets:")
  Console.print(TrainingPlan.comparison(others))
  return ExitCode.success
}
