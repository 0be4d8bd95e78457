import Kernels
import Options

/// How parameters follow their gradients.
public struct OptimizationOptions: Sendable {
  public var optimizer: OptimizerName
  public var learningRate: Double
  public var schedule: LearningRateSchedule.Kind
  public var scheduleShape: LearningRateSchedule.Shape
  public var warmupSteps: Int?
  public var warmupRatio: Double
  public var weightDecay: Double
  public var maximumGradientNorm: Double
  /// Share of the parameters, those with the largest gradients, that a step changes.
  public var gradientShare: Double
  /// Passes over the data; a part of one counts as that part of its steps, rounded up.
  public var epochs: Double
  public var maximumSteps: Int?
  public var microBatchSize: Int
  public var accumulationSteps: Int
  /// Of everything that is random.
  public var seed: UInt64

  static let declarations: [OptionDeclaration] = [
    .init("optim", "KIND", default: "adamw", OptimizerName.allCases.map(\.rawValue).joined(separator: ", ")),
    .init("learning-rate", "X", default: "2e-4", aliases: ["lr"], identifies: true, "peak learning rate"),
    .init(
      "lr-scheduler", "KIND", default: "linear", aliases: ["lr-scheduler-type"], identifies: true,
      LearningRateSchedule.Kind.allCases.map(\.rawValue).joined(separator: ", ")),
    .init(
      "lr-scheduler-kwargs", "NAME=X,...", identifies: true,
      "num_cycles, power, lr_end, num_decay_steps, min_lr_ratio or timescale of the scheduler"),
    .init("warmup-steps", "N", identifies: true, "steps of linear warm-up"),
    .init("warmup-ratio", "X", default: "0", identifies: true, "warm-up as a share of all steps"),
    .init("weight-decay", "X", default: "0", identifies: true, "weight decay, decoupled but with sgd; not of biases"),
    .init(
      "max-grad-norm", "X", default: "1", identifies: true, "clip the gradient to this norm; 0 does not clip"),
    .init(
      "gradient-top-k", "SHARE", default: "1",
      "change only this share of the parameters in a step, those with the largest gradients"),
    .init("epochs", "X", default: "3", aliases: ["num-train-epochs"], "passes over the data, such as 3 or 0.5"),
    .init("max-steps", "N", aliases: ["steps", "iters"], "optimiser steps; overrides --epochs"),
    .init(
      "micro-batch-size", "N", default: "4", aliases: ["per-device-train-batch-size", "batch-size"], identifies: true,
      "rows that are computed together"),
    .init(
      "gradient-accumulation-steps", "N", default: "1", identifies: true, "micro-batches per optimiser step"),
    .init("seed", "N", default: "42", identifies: true, "seed of everything that is random"),
  ]

  init(_ values: OptionValues) throws {
    optimizer = try OptimizerName(option: values.required("optim"))
    learningRate = try values.number("learning-rate", in: 0...10)
    schedule = try values.choice("lr-scheduler", LearningRateSchedule.Kind.self)
    scheduleShape =
      try values.text("lr-scheduler-kwargs").map { try LearningRateSchedule.Shape($0, option: "lr-scheduler-kwargs") }
      ?? LearningRateSchedule.Shape()
    warmupSteps = try values.optionalNumber("warmup-steps", in: 0...1_000_000_000)
    warmupRatio = try values.number("warmup-ratio", in: 0...1)
    weightDecay = try values.number("weight-decay", in: 0...10)
    maximumGradientNorm = try values.number("max-grad-norm", in: 0...1e9)
    gradientShare = try values.number("gradient-top-k", in: 1e-6...1)
    epochs = try values.number("epochs", in: 0.000_001...1_000_000)
    maximumSteps = try values.optionalNumber("max-steps", in: 1...1_000_000_000)
    microBatchSize = try values.number("micro-batch-size", in: 1...1024)
    accumulationSteps = try values.number("gradient-accumulation-steps", in: 1...65_536)
    seed = try values.number("seed", in: 0...UInt64.max)
  }

  /// Rows of an optimiser step.
  var rowsPerStep: Int { microBatchSize * accumulationSteps }

  /// Optimiser steps of so many passes, as transformers' Trainer counts them: what is begun of a step is a step.
  public static func steps(epochs: Double, perEpoch: Int) -> Int {
    max(1, Int((epochs * Double(perEpoch)).rounded(.up)))
  }

  /// The learning rate over a run of so many steps.
  public func learningRates(steps: Int) -> LearningRateSchedule {
    LearningRateSchedule(
      kind: schedule, peak: learningRate,
      warmupSteps: warmupSteps ?? Int((warmupRatio * Double(steps)).rounded(.up)), totalSteps: steps,
      shape: scheduleShape)
  }
}
