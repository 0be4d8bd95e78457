import Architectures
import Dispatch
import Formats
import FoundationEssentials
import Glibc
import Kernels
import Memory
import Options
import Planning
import Quantization
import Synchronization
import Training

/// `bench train`: steps on made-up tokens, with the share of time that each kind of work takes.
enum TrainingBench {
  static let options: [OptionDeclaration] =
    [
      .init("steps", "N", default: "8", "steps to measure, after one that is not"),
      .init("random", "CONFIG", "config.json of a shape to fill with made-up weights, instead of --model"),
    ] + StoreOptions.declarations(format: "nf4").filter { $0.name != "threads" }
    + TrainingOptions.declarations.filter { !notOffered.contains($0.name) && !ofLabels.contains($0.name) }

  private static let notOffered: Set<String> = [
    "data", "output", "max-steps", "epochs", "eval-data", "eval-split", "eval-steps", "eval-strategy",
    "no-eval-on-start", "load-best-model-at-end", "metric-for-best-model", "greater-is-better",
    "early-stopping-patience", "early-stopping-threshold", "save-steps", "save-minutes", "save-total-limit",
    "resume", "force", "dump-gradients", "init-adapter", "no-shuffle", "train-on-prompt", "skip-bad-lines",
    "log-every", "data-share", "sample-prompts", "sample-max-new-tokens", "report-to", "on-disk-full",
  ]

  /// The tokens are made up, and a language model learns them.
  private static let ofLabels = Set(TaskOptions.declarations.map(\.name))

  static func run(_ arguments: Arguments) throws -> Int32 {
    let scratch = FileManager.default.temporaryDirectory.path + "/edge-lora-bench-\(getpid())"
    try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: scratch) }
    let steps = try arguments.values.number("steps", in: 1...100_000)
    var values = arguments.values.given
    for name in ["steps", "random"] + StoreOptions.declarations(format: "nf4").map(\.name) where name != "threads" {
      values[name] = nil
    }
    if let shape = arguments.text("random") {
      values["model"] = ["\(scratch)/store"]
      let format = try StoreOptions.format(arguments)
      let source = try ModelSource.random(configurationJSON: try JSONValue.parse(contentsOf: shape), seed: 1)
      _ = try Quantizer(format: format, pool: ThreadPool(threadCount: try arguments.threads()))
        .write(source, to: "\(scratch)/store") { _, _ in }
      ProcessMemory.resetPeak()
    }
    values["max-steps"] = ["\(steps + 1)"]
    values["output"] = ["\(scratch)/adapter"]
    values["no-shuffle"] = []
    var options = try TrainingOptions(values)
    options.model = try TrainingSetup.model(options)
    let model = options.model ?? ""
    options.data.files = ["\(scratch)/tokens.jsonl"]
    try writeTokens(
      rows: (steps + 1) * options.optimization.microBatchSize * options.optimization.accumulationSteps,
      length: options.data.maximumLength,
      vocabularySize: try ModelDescription.load(directory: model).vocabularySize, to: options.data.files[0])
    let sampler = WorkSampler()
    let observer = BenchObserver(sampler)
    let run = try TrainingRun(options: options, modelDirectory: model, files: options.data.files, observer: observer)
    sampler.start(run.meter)
    let outcome = try run.run()
    sampler.stop()
    Console.finishLine()
    report(
      speeds: observer.speeds, shares: sampler.shares, peak: outcome.summary["measured_peak_bytes"]?.intValue ?? 0,
      plan: run.plan, asJSON: options.output.json)
    return ExitCode.success
  }

  /// Rows of full length, so that every position carries loss.
  private static func writeTokens(rows: Int, length: Int, vocabularySize: Int, to path: String) throws {
    var text = ""
    var state: UInt32 = 1
    for _ in 0..<rows {
      let ids = (0..<length).map { _ in
        state = state &* 1_664_525 &+ 1_013_904_223
        return String(Int(state >> 8) % vocabularySize)
      }
      text += "{\"input_ids\": [\(ids.joined(separator: ","))]}\n"
    }
    try OutputFile.write(text, to: path)
  }

  private static func report(
    speeds: [Double], shares: [(work: Work, share: Double)], peak: Int, plan: TrainingPlan, asJSON: Bool
  ) {
    let sorted = speeds.sorted()
    let median = sorted.isEmpty ? 0 : sorted[sorted.count / 2]
    if asJSON {
      let object = JSONObject([
        ("tokens_per_second", .number(median)),
        ("predicted_tokens_per_second", .number(plan.predictedTokensPerSecond)),
        ("measured_peak_bytes", .integer(peak)), ("predicted_peak_bytes", .integer(plan.predictedPeakBytes)),
        ("steps", .integer(speeds.count)),
        ("shares", .object(JSONObject(shares.map { ("\($0.work)", .number($0.share)) }))),
      ])
      Console.print(JSONValue.object(object).serialized(pretty: true))
      return
    }
    let speed = Console.decimal(median, 1)
    Console.print(
      "\(speed) tokens/s (median of \(speeds.count) steps, predicted \(Int(plan.predictedTokensPerSecond))), "
        + "peak \(ByteCount.text(peak)) (predicted \(ByteCount.text(plan.predictedPeakBytes)))")
    for (work, share) in shares.sorted(by: { $0.share > $1.share }) where share >= 0.0005 {
      let name = "\(work)"
      Console.print(
        "  \(name)\(String(repeating: " ", count: max(1, 18 - name.count)))\(Console.decimal(share * 100, 1)) %")
    }
  }
}

/// Collects the speed of each step but the first, which also brings the store into memory.
private final class BenchObserver: TrainingObserver {
  private(set) var speeds: [Double] = []
  private let sampler: WorkSampler

  init(_ sampler: WorkSampler) { self.sampler = sampler }

  func note(_ line: String) { Console.error(line) }
  func reading(_ done: Int, of all: Int) {}
  func evaluating(_ done: Int, of all: Int) {}
  func evaluated(step: Int, figures: JSONObject, isBest: Bool) {}

  func stepped(_ report: StepReport, of steps: Int, machine: MachineState) {
    if report.step == 1 { sampler.reset() } else { speeds.append(report.tokensPerSecond) }
    Console.progress(done: report.step, of: steps, "\(Int(report.tokensPerSecond)) tokens/s")
  }
}

/// Looks about a thousand times a second at what the threads are doing.
private final class WorkSampler: Sendable {
  private struct State {
    var counts = [Int](repeating: 0, count: Work.allCases.count)
    var isRunning = false
  }

  private let state = Mutex(State())

  func start(_ meter: WorkMeter) {
    state.withLock { $0.isRunning = true }
    DispatchQueue(label: "work sampler").async { [self] in
      while look(meter) { usleep(1000) }
    }
  }

  /// - Returns: whether to look again
  private func look(_ meter: WorkMeter) -> Bool {
    state.withLock { state in
      for worker in 0..<meter.threadCount { state.counts[Int(meter.work(of: worker).rawValue)] += 1 }
      return state.isRunning
    }
  }

  func stop() { state.withLock { $0.isRunning = false } }

  func reset() { state.withLock { state in state.counts = state.counts.map { _ in 0 } } }

  var shares: [(work: Work, share: Double)] {
    let counts = state.withLock { $0.counts }
    let all = Double(max(counts.reduce(0, +), 1))
    return Work.allCases.map { ($0, Double(counts[Int($0.rawValue)]) / all) }
  }
}
