import Formats
import Foundation
import Kernels
import Memory
import Planning
import Transformer
import Tuning

/// One option of a command: the flag without its dashes, what it takes, and what it does.
public struct OptionDeclaration: Sendable {
  public let name: String
  /// What stands for the value in the help; `nil` for a switch.
  public let placeholder: String?
  public let fallback: String?
  public let help: String
  /// Whether several values may follow.
  public let isList: Bool

  public init(
    _ name: String, _ placeholder: String?, default fallback: String? = nil, isList: Bool = false, _ help: String
  ) {
    self.name = name
    self.placeholder = placeholder
    self.fallback = fallback
    self.help = help
    self.isList = isList
  }
}

/// Everything that `train` and `plan` can be told; names and defaults are Hugging Face's where it has them.
public struct TrainingOptions: Sendable {
  public var model: String?
  public var data: [String]
  public var output: String
  public var maximumMemory: Int?
  public var wishes = StrategyWishes()
  public var adapter: LowRankConfiguration
  public var initialAdapter: String?
  public var learningRate: Double
  public var schedule: LearningRateSchedule.Kind
  public var warmupSteps: Int?
  public var warmupRatio: Double
  public var weightDecay: Double
  public var maximumGradientNorm: Double
  public var epochs: Int
  public var maximumSteps: Int?
  public var microBatchSize: Int
  public var accumulationSteps: Int
  public var maximumLength: Int
  public var seed: UInt64
  public var shuffles: Bool
  public var evaluationData: [String]
  public var evaluationShare: Double
  public var evaluationSteps: Int
  public var saveSteps: Int
  public var saveLimit: Int
  public var logSteps: Int
  public var trainOnPrompt: Bool
  public var skipBadLines: Bool
  public var precision: Precision
  public var threads: Int?
  public var resume: Bool
  public var force: Bool
  public var json: Bool
  public var gradientFile: String?

  public static let declarations: [OptionDeclaration] = [
    .init("model", "DIR", "store or model folder (default: the only one here)"),
    .init(
      "data", "FILE...", isList: true,
      ".txt, .jsonl or .json files, - for standard input (default: train.jsonl or train.txt)"),
    .init("output", "DIR", default: "adapter", "folder for the adapter, checkpoints and records"),
    .init("max-mem", "SIZE", "memory of the whole process, such as 512M or 4G (default: what is free)"),
    .init("plan", "FILE", default: "auto", "use the plan in FILE, as plan --json prints it, instead of the fastest"),
    .init("layer-inputs", "KIND", "keep layer inputs as f32, spilled (to a file), bf16 or int8 (both lossy)"),
    .init(
      "optimizer-moments", "KIND",
      "keep AdamW's moments as f32 or int8 (lossy; what Hugging Face calls --optim adamw_8bit)"),
    .init("keep-layers", "N", "keep the activations of so many layers; the others are computed again"),
    .init("resident-layers", "N", "keep the weights of so many layers in memory; the others pass through"),
    .init("rank", "N", default: "8", "rank of the adapters"),
    .init("alpha", "X", default: "16", "the adapters' share is scaled by alpha / rank"),
    .init("dropout", "P", default: "0", "dropout on the adapters' input"),
    .init(
      "target-modules", "NAMES",
      "names, all-linear, or a regular expression (default: PEFT's for the model's family, such as q_proj,v_proj)"),
    .init("use-rslora", nil, "scale by alpha / sqrt(rank)"),
    .init("init-adapter", "DIR", "start from this adapter; its rank, alpha and targets are used"),
    .init("learning-rate", "X", default: "2e-4", "peak learning rate"),
    .init("lr-scheduler", "KIND", default: "linear", "constant, linear or cosine"),
    .init("warmup-steps", "N", "steps of linear warm-up"),
    .init("warmup-ratio", "X", default: "0", "warm-up as a share of all steps"),
    .init("weight-decay", "X", default: "0", "decoupled weight decay"),
    .init("max-grad-norm", "X", default: "1", "clip the gradient to this norm; 0 does not clip"),
    .init("epochs", "N", default: "3", "passes over the data"),
    .init("max-steps", "N", "optimiser steps; overrides --epochs"),
    .init("micro-batch-size", "N", default: "4", "rows that are computed together"),
    .init("gradient-accumulation-steps", "N", default: "1", "micro-batches per optimiser step"),
    .init("max-length", "N", default: "512", "tokens of a row"),
    .init("seed", "N", default: "42", "seed of everything that is random"),
    .init("no-shuffle", nil, "keep the order of the data"),
    .init("eval-data", "FILE...", isList: true, "data to evaluate on"),
    .init("eval-split", "X", default: "0", "share of the data that is kept for evaluation"),
    .init("eval-steps", "N", default: "0", "evaluate every N steps; 0: at the end"),
    .init("save-steps", "N", default: "0", "checkpoint every N steps; 0: only when stopped"),
    .init("save-total-limit", "N", default: "2", "checkpoints that are kept"),
    .init("log-every", "N", default: "10", "steps between lines when the output is not a terminal"),
    .init("train-on-prompt", nil, "learn the prompts too, not only the answers"),
    .init("skip-bad-lines", nil, "count lines that cannot be used and go on"),
    .init("precision", "KIND", default: "int8", "int8, or f32 for the reference"),
    .init("threads", "N", "worker threads (default: one per processor)"),
    .init("resume", nil, "go on from the newest checkpoint in --output"),
    .init("force", nil, "replace an output that exists"),
    .init("dump-gradients", "FILE", "write the gradient of the first step to FILE and stop"),
    .init("json", nil, "print the summary as JSON"),
  ]

  /// - Parameter values: by option name; switches have an empty list
  public init(_ values: [String: [String]]) throws {
    func text(_ name: String) -> String? {
      values[name]?.last ?? Self.declarations.first { $0.name == name }?.fallback
    }
    func number<T: LosslessStringConvertible & Comparable>(_ name: String, _ type: T.Type, _ least: T, _ most: T) throws
      -> T?
    {
      guard let text = text(name) else { return nil }
      guard let value = T(text), value >= least, value <= most else {
        throw OptionError("--\(name) \(text): expected a number from \(least) to \(most)")
      }
      return value
    }
    func required<T>(_ value: T?) throws -> T {
      guard let value else { throw OptionError("an option has no default") }
      return value
    }
    func flag(_ name: String) -> Bool { values[name] != nil }
    func kind<T: RawRepresentable & CaseIterable>(_ name: String, _ type: T.Type) throws -> T
    where T.RawValue == String {
      let text = text(name) ?? ""
      guard let value = T(rawValue: text) else {
        throw OptionError("--\(name) \(text): expected \(T.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      return value
    }
    model = text("model")
    data = values["data"] ?? []
    output = text("output") ?? "adapter"
    if let size = text("max-mem") {
      guard let bytes = ByteCount.parse(size) else {
        throw OptionError("--max-mem \(size): expected a size such as 512M or 4G")
      }
      maximumMemory = bytes
    }
    let plan = text("plan") ?? "auto"
    wishes.planFile = plan == "auto" ? nil : plan
    if text("layer-inputs") != nil { wishes.layerInputs = try kind("layer-inputs", LayerInputFormat.self) }
    if text("optimizer-moments") != nil {
      wishes.optimizerMoments = try kind("optimizer-moments", MomentFormat.self)
    }
    wishes.keptLayers = try number("keep-layers", Int.self, 0, 100_000)
    wishes.residentLayers = try number("resident-layers", Int.self, 0, 100_000)
    adapter = LowRankConfiguration(
      rank: try required(number("rank", Int.self, 1, 1024)), alpha: try required(number("alpha", Double.self, 0, 1e6)),
      dropout: try required(number("dropout", Double.self, 0, 0.95)),
      targetModules: text("target-modules").map { TargetModules($0) } ?? .familyDefault, useRSLoRA: flag("use-rslora"))
    initialAdapter = text("init-adapter")
    learningRate = try required(number("learning-rate", Double.self, 0, 10))
    schedule = try kind("lr-scheduler", LearningRateSchedule.Kind.self)
    warmupSteps = try number("warmup-steps", Int.self, 0, 1_000_000_000)
    warmupRatio = try required(number("warmup-ratio", Double.self, 0, 1))
    weightDecay = try required(number("weight-decay", Double.self, 0, 10))
    maximumGradientNorm = try required(number("max-grad-norm", Double.self, 0, 1e9))
    epochs = try required(number("epochs", Int.self, 1, 1_000_000))
    maximumSteps = try number("max-steps", Int.self, 1, 1_000_000_000)
    microBatchSize = try required(number("micro-batch-size", Int.self, 1, 1024))
    accumulationSteps = try required(number("gradient-accumulation-steps", Int.self, 1, 65_536))
    maximumLength = try required(number("max-length", Int.self, 8, 131_072))
    seed = try required(number("seed", UInt64.self, 0, UInt64.max))
    shuffles = !flag("no-shuffle")
    evaluationData = values["eval-data"] ?? []
    evaluationShare = try required(number("eval-split", Double.self, 0, 0.9))
    if !evaluationData.isEmpty, evaluationShare > 0 {
      throw OptionError("--eval-data and --eval-split both name data to evaluate on; give one of them")
    }
    evaluationSteps = try required(number("eval-steps", Int.self, 0, 1_000_000_000))
    if evaluationSteps > 0, evaluationData.isEmpty, evaluationShare == 0 {
      throw OptionError("--eval-steps needs --eval-data or --eval-split")
    }
    saveSteps = try required(number("save-steps", Int.self, 0, 1_000_000_000))
    saveLimit = try required(number("save-total-limit", Int.self, 1, 10_000))
    logSteps = try required(number("log-every", Int.self, 1, 1_000_000))
    trainOnPrompt = flag("train-on-prompt")
    skipBadLines = flag("skip-bad-lines")
    precision = try kind("precision", Precision.self)
    threads = try number("threads", Int.self, 1, 256)
    resume = flag("resume")
    force = flag("force")
    json = flag("json")
    gradientFile = text("dump-gradients")
  }

  /// Refuses to replace what a run would write, before it takes the time to read anything.
  /// - Throws: `FileError.alreadyExists` unless `force`
  public func checkOutput() throws {
    let file = gradientFile ?? "\(output)/adapter_model.safetensors"
    let mayReplace = force || (resume && gradientFile == nil)
    if !mayReplace, FileManager.default.fileExists(atPath: file) { throw FileError.alreadyExists(file: file) }
  }

  /// Where layer inputs may wait in a file: the folder that the run writes to.
  var spillDirectory: String {
    gradientFile.map { URL(fileURLWithPath: $0).deletingLastPathComponent().path } ?? output
  }

  /// What a resumed run must share with the one that wrote the checkpoint.
  var fingerprint: String {
    [
      "rank=\(adapter.rank)", "alpha=\(adapter.alpha)", "dropout=\(adapter.dropout)",
      "targets=\(adapter.targetModules.description)", "rslora=\(adapter.useRSLoRA)", "lr=\(learningRate)",
      "schedule=\(schedule.rawValue)", "warmup=\(warmupSteps ?? -1)/\(warmupRatio)", "decay=\(weightDecay)",
      "clip=\(maximumGradientNorm)", "batch=\(microBatchSize)x\(accumulationSteps)", "length=\(maximumLength)",
      "seed=\(seed)", "shuffle=\(shuffles)", "precision=\(precision.rawValue)",
    ].joined(separator: " ")
  }
}
