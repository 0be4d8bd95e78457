import Formats
import Memory

/// What is worth saying of a run in a few words.
struct RunFacts {
  let run: RunRecord

  /// A figure with its name and what it is to be seen beside.
  struct Figure {
    let label: String
    let value: String
    var beside = ""
  }

  // MARK: What it is

  /// `LoRA, rank 8, alpha 16`.
  var method: String? {
    guard let adapter = run.adapter else { return run.option("method") }
    return AdapterFacts(adapter).text
  }

  /// The last part of the base model's path or name.
  var base: String? {
    (run.adapter?["base_model_name_or_path"]?.stringValue ?? run.option("model")).map(Self.lastPart)
  }

  /// Files of the data, without the folders that they lie in.
  var data: [String] {
    (run.record?["options"]?["data"]?.arrayValue ?? []).compactMap(\.stringValue).map(Self.lastPart)
  }

  static func lastPart(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }

  /// Whether the run is over.
  var state: String {
    if let completed = run.summary?["completed"]?.boolValue {
      let isOlder = (run.summary?["steps"]?.intValue ?? 0) < run.stepCount
      if isOlder { return "not finished" }
      return completed ? "finished" : "stopped early"
    }
    return "not finished"
  }

  var program: String? { run.record?["identity"]?["program"]?.stringValue }

  // MARK: How it went

  var figures: [Figure] {
    [loss, evaluation] + accuracies + [steps, time, speed, memory, storage, heat, energy].compactMap { $0 }
  }

  private var loss: Figure {
    let first = run.steps.first?["loss"]?.doubleValue
    return Figure(
      label: "Loss, last steps", value: run.lastLoss.map(HTMLText.short) ?? "-",
      beside: first.map { "first step \(HTMLText.short($0))" } ?? "")
  }

  private var evaluation: Figure {
    guard let best = run.bestEvaluation, let loss = best["eval_loss"]?.doubleValue else {
      return Figure(label: "Best evaluation loss", value: "-", beside: "not evaluated")
    }
    let before = run.evaluations.first.flatMap { $0["step"]?.intValue == 0 ? $0["eval_loss"]?.doubleValue : nil }
    let step = HTMLText.decimal(best["step"]?.doubleValue ?? 0, 0)
    return Figure(
      label: "Best evaluation loss", value: HTMLText.short(loss),
      beside: "step \(step)" + (before.map { ", at the start \(HTMLText.short($0))" } ?? ""))
  }

  /// The first two figures that say how good the model is.
  private var accuracies: [Figure] {
    guard let last = run.evaluations.last else { return [] }
    let wanted = ["eval_accuracy", "eval_f1", "eval_exact_match", "eval_pearson", "eval_mse", "eval_perplexity"]
    return wanted.filter { last[$0]?.doubleValue != nil }.prefix(2).map { key in
      let first = run.evaluations.count > 1 ? run.evaluations[0][key]?.doubleValue : nil
      let word = ReportCharts.words(key)
      return Figure(
        label: word.prefix(1).uppercased() + word.dropFirst(),
        value: last[key]?.doubleValue.map(HTMLText.short) ?? "-",
        beside: first.map { "at first \(HTMLText.short($0))" } ?? "")
    }
  }

  private var steps: Figure {
    Figure(label: "Steps", value: HTMLText.decimal(Double(run.stepCount), 0), beside: state)
  }

  private var time: Figure? {
    let seconds = run.series("seconds")
    guard !seconds.isEmpty else { return nil }
    return Figure(
      label: "Time in steps", value: HTMLText.duration(seconds.reduce(0) { $0 + max(0, $1.value) }))
  }

  private var speed: Figure? {
    let sorted = run.series("tokens_per_second").map(\.value).sorted()
    guard !sorted.isEmpty else { return nil }
    let planned = run.summary?["predicted_tokens_per_second"]?.doubleValue
    return Figure(
      label: "Tokens per second", value: HTMLText.decimal(sorted[sorted.count / 2], 0),
      beside: planned.map { "planned \(HTMLText.decimal($0, 0))" } ?? "")
  }

  private var memory: Figure? {
    let seen = run.series("rss_bytes").map { HTMLText.bytes($0.value) }.max()
    guard let peak = run.summary?["measured_peak_bytes"]?.intValue ?? seen else { return nil }
    let budget = run.summary?["plan"]?["budget_bytes"]?.intValue
    return Figure(
      label: "Memory, peak", value: ByteCount.text(peak),
      beside: budget.map { "budget \(ByteCount.text($0))" } ?? "no budget")
  }

  private var storage: Figure? {
    let read = run.series("storage_bytes_read")
    guard !read.isEmpty else { return nil }
    let written = run.series("storage_bytes_written").reduce(0) { $0 + $1.value }
    return Figure(
      label: "Read in steps", value: ByteCount.text(HTMLText.bytes(read.reduce(0) { $0 + $1.value })),
      beside: written > 0 ? "written \(ByteCount.text(HTMLText.bytes(written)))" : "from storage, not from the cache")
  }

  private var heat: Figure? {
    guard let most = run.series("temperature_celsius").map(\.value).max() else { return nil }
    let throttled = run.series("throttled")
    let share = throttled.isEmpty ? 0 : throttled.reduce(0) { $0 + $1.value } / Double(throttled.count)
    return Figure(
      label: "Temperature, highest", value: "\(HTMLText.decimal(most, 1)) °C",
      beside: throttled.isEmpty ? "" : "held back in \(HTMLText.decimal(share * 100, 0)) % of the steps")
  }

  private var energy: Figure? {
    guard let joules = EnergyFigures(run: run).total, joules > 0 else { return nil }
    return Figure(label: "Energy", value: HTMLText.energy(joules))
  }
}

extension RunRecord {
  /// The value of an option that the run was given or, where it is one that counts for its bits, had.
  func option(_ name: String) -> String? {
    if let given = options.first(where: { $0.name == name })?.value { return given }
    guard let value = record?["identity"]?[name]?.stringValue, !value.isEmpty else { return nil }
    // Numbers are kept as fractions.
    return value.hasSuffix(".0") && Double(value) != nil ? String(value.dropLast(2)) : value
  }
}

/// What the configuration of an adapter says.
struct AdapterFacts {
  private let json: JSONValue

  init(_ json: JSONValue) { self.json = json }

  /// PEFT's type, or AdapterHub's word.
  var type: String? {
    json["peft_type"]?.stringValue ?? (isAdapterHub ? "BOTTLENECK" : json["architecture"]?.stringValue?.uppercased())
  }

  /// Whether the folder is in the layout of AdapterHub's `adapters`.
  var isAdapterHub: Bool { json["peft_type"] == nil && json["config"] != nil }

  /// Whether it is two: a bottleneck of AdapterHub's and one of PEFT's, each of which knows its half of the folder.
  private var isJoined: Bool { json["peft_type"] != nil && json["config"]?.objectValue != nil }

  /// Whether there is a parallel bottleneck beside a serial one.
  private var hasSecond: Bool { json["parallel_adapter"]?.objectValue != nil }

  /// Whether no other program loads the whole of the folder.
  var hasFilesOfItsOwn: Bool { isJoined || hasSecond || type == "MIXTURE" }

  /// What the method is called.
  var name: String? {
    let bottlenecks = hasSecond ? "serial and parallel bottleneck adapters" : "bottleneck adapters"
    if isJoined { return plainName.map { "\(bottlenecks) and \($0)" } }
    return hasSecond ? bottlenecks : plainName
  }

  private var plainName: String? {
    switch type {
    case "LORA": (json["use_dora"]?.boolValue ?? false) ? "DoRA" : "LoRA"
    case "IA3": "(IA)³"
    case "PREFIX_TUNING": "prefix tuning"
    case "PROMPT_TUNING": "prompt tuning"
    case "P_TUNING": "P-tuning"
    case "BOTTLENECK": "bottleneck adapters"
    case "MIXTURE": "a mixture of LoRA adapters"
    default: type
    }
  }

  /// Hyper-parameters and their values, those that say most.
  var parameters: [(name: String, value: String)] {
    let keys = [
      "r", "lora_alpha", "lora_dropout", "use_rslora", "num_virtual_tokens", "target_modules", "feedforward_modules",
      "modules_to_save",
    ]
    var found = keys.compactMap { key in json[key].flatMap { Self.text($0) }.map { (name: key, value: $0) } }
    for key in ["reduction_factor", "non_linearity", "mh_adapter", "output_adapter"] {
      if let text = json["config"]?[key].flatMap({ Self.text($0) }) { found.append((key, text)) }
    }
    if let text = json["parallel_adapter"]?["config"]?["reduction_factor"].flatMap({ Self.text($0) }) {
      found.append(("reduction_factor of the parallel ones", text))
    }
    return found
  }

  private static func text(_ value: JSONValue) -> String? {
    switch value {
    case .null, .bool(false), .object: nil
    case .bool(true): "true"
    case .integer(let number): String(number)
    case .number(let number): number == number.rounded() && abs(number) < 1e9 ? String(Int(number)) : "\(number)"
    case .string(let text), .longInteger(let text): text
    case .array(let values): values.isEmpty ? nil : values.compactMap { text($0) }.joined(separator: ", ")
    }
  }

  var text: String? {
    guard let name else { return nil }
    let words = ["r": "rank", "lora_alpha": "alpha", "num_virtual_tokens": "virtual tokens"]
    let parts = parameters.compactMap { parameter in words[parameter.name].map { "\($0) \(parameter.value)" } }
    return ([name] + parts).joined(separator: ", ")
  }
}
