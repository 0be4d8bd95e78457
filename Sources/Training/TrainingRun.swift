import Data
import Formats
import FoundationEssentials
import Kernels
import Memory
import Options
import Planning
import Transformer
import Tuning

/// How the machine does after a step.
public struct MachineState: Sendable {
  /// Of the process.
  public let residentBytes: Int
  /// `--max-mem`, if there is one.
  public let budget: Int?
  /// Heat of the processor, where it is measured.
  public let celsius: Double?
  /// Whether it is held back by heat or a weak supply.
  public let isThrottled: Bool
}

/// What a run says while it goes on.
public protocol TrainingObserver: AnyObject {
  /// A line for people.
  func note(_ line: String)
  /// So many bytes of the data are read.
  func reading(_ done: Int, of all: Int)
  /// A step was done.
  func stepped(_ report: StepReport, of steps: Int, machine: MachineState)
  /// So many batches of an evaluation are done.
  func evaluating(_ done: Int, of all: Int)
  /// An evaluation was done.
  ///
  /// - Parameters:
  ///   - figures: `eval_loss` and others
  ///   - isBest: whether no earlier evaluation was as good
  func evaluated(step: Int, figures: JSONObject, isBest: Bool)
  /// So many sample prompts are answered.
  func sampling(_ done: Int, of all: Int)
  /// All of them are.
  func sampled(step: Int, answers: [SampleAnswer])
}

/// Not everybody wants to see samples.
extension TrainingObserver {
  public func sampling(_ done: Int, of all: Int) {}
  public func sampled(step: Int, answers: [SampleAnswer]) {}
}

/// A whole run of `train`: data, plan, steps, checkpoints, records.
public final class TrainingRun {
  /// How a run ended.
  public struct Outcome {
    /// `summary.json`.
    public let summary: JSONValue
    /// The signal that stopped the run early, if one did.
    public let signalNumber: Int32?
    /// The figures of the last evaluation, with `eval_` before their names.
    public var figures: JSONObject?
  }

  let options: TrainingOptions
  private let observer: any TrainingObserver
  private(set) var prepared: RunPreparation
  /// Data to train on.
  private let files: [String]
  private let inputs: RunInputs

  public var plan: TrainingPlan { prepared.plan }
  /// Whether the model says labels, instead of going on with texts.
  public var isLabelled: Bool { prepared.labelling != nil }
  /// Folder of the model.
  public var modelDirectory: String { prepared.model.store.directory }
  /// What the threads are doing, for profiles.
  public var meter: WorkMeter { prepared.memory.engine.pool.meter }

  /// Reads the data, measures the machine and plans. Nothing that has a name is written, except large data that is kept
  /// beside the output, tokenised; and no weight stays in memory.
  ///
  /// - Parameters:
  ///   - keepsData: whether large data may be kept
  ///   - speed: of the machine, where it is known; else it is measured
  ///   - inputs: what earlier runs of this process have read
  public init(
    options: TrainingOptions, modelDirectory: String, files: [String], keepsData: Bool = true,
    speed: MachineSpeed? = nil, inputs: RunInputs = RunInputs(), observer: any TrainingObserver
  ) throws {
    self.options = options
    self.observer = observer
    self.files = files
    self.inputs = inputs
    prepared = try RunPreparation(
      options: options, modelDirectory: modelDirectory, files: files, keepsData: keepsData, speed: speed,
      inputs: inputs, note: { observer.note($0) }, progress: { observer.reading($0, of: $1) })
  }

  /// Optimiser steps of the whole run.
  public var stepCount: Int {
    options.optimization.maximumSteps
      ?? OptimizationOptions.steps(
        epochs: options.optimization.epochs, perEpoch: prepared.data.stepsPerEpoch(rowsPerStep: plan.rowsPerStep))
  }

  /// Plans for budgets from the least that works to all that would be used, by ascending memory.
  public func plansByBudget() throws -> [TrainingPlan] {
    let planner = prepared.planner
    let most = try planner.most()
    var budget = Self.wholeMegabytes(try planner.least() + RunPlanning.spared + (1 << 20) - 1)
    var plans: [TrainingPlan] = []
    while budget < most, plans.count < 8 {
      plans.append(try planner.plan(budget: budget))
      budget = Self.wholeMegabytes(max(budget * 3 / 2, budget + (16 << 20)))
    }
    return plans + [try planner.plan(budget: most)]
  }

  private static func wholeMegabytes(_ byteCount: Int) -> Int { byteCount / (1 << 20) * (1 << 20) }

  /// Trains. The output folder gets the adapter only at the end.
  ///
  /// - Parameters:
  ///   - pause: steps after which the run rests: evaluated, with a checkpoint, and no adapter yet. It goes on with
  ///     `--resume` as if it had not rested
  ///   - restShare: of the data to evaluate on that counts where it rests
  ///   - turn: where the run takes turns with others; who runs them has installed `StopRequest`
  ///   - stopSignal: asked before every step and many times inside it; a number ends the run with a checkpoint
  /// - Throws: `RunFailed` when the run has died, among much else
  public func run(
    pausingAfter pause: Int? = nil, restShare: Double = 1, turn: WeightTurn? = nil,
    stopSignal: @escaping () -> Int32? = { StopRequest.signalNumber }
  ) throws -> Outcome {
    try options.output.check()
    try inputs.checkFinite(prepared.model.store)
    if let turn { prepared.memory.workspace.residency.takeTurns(turn) }
    let session = try begin()
    if let file = options.output.gradientFile { return try dumpGradients(to: file, session: session) }
    let folder = try RunFolder(
      path: options.output.folder, identity: prepared.identity,
      options: RecordedOptions.json(options.given, model: prepared.model.store.directory, files: files),
      resumes: options.output.resume,
      force: options.output.force, saveLimit: options.output.saveLimit, note: { observer.note($0) })
    let steps = stepCount
    let first = try restore(from: folder, totalSteps: steps)
    let loop = try RunLoop(
      options: options, prepared: prepared, session: session, folder: folder, observer: observer, steps: steps,
      first: first, pause: pause, restShare: restShare, stopSignal: stopSignal)
    if turn == nil { StopRequest.install() }
    return try loop.finish()
  }

  /// Takes another plan than the fastest one of a run alone; before anything has begun.
  func adopt(_ plan: TrainingPlan) throws { try prepared.adopt(plan) }

  /// Commits the memory of the plan, and puts into it what training starts with.
  func begin() throws -> TrainingSession {
    let memory = prepared.memory
    try memory.begin(with: prepared.model)
    if let directory = options.method.initialAdapter {
      try memory.method.load(from: directory)
      guard memory.method.trainables.parameters.isFinite else {
        throw CheckpointError(path: directory, reason: "the adapter holds numbers that are not finite")
      }
    } else {
      try memory.method.initialize(
        seed: options.optimization.seed, for: prepared.model, workspace: memory.workspace,
        pass: Pass(engine: memory.engine))
    }
    return TrainingSession(
      model: prepared.model, memory: memory,
      optimizer: Optimizer(options.optimization.optimizer.kind, weightDecay: options.optimization.weightDecay),
      maximumGradientNorm: options.optimization.maximumGradientNorm,
      gradientShare: options.optimization.gradientShare, seed: options.optimization.seed)
  }

  /// - Returns: steps that are done already
  private func restore(from folder: RunFolder, totalSteps: Int) throws -> Int {
    guard let checkpoint = folder.newest else { return 0 }
    guard checkpoint.step <= totalSteps else {
      throw CheckpointError(
        path: checkpoint.path,
        reason: "is after step \(checkpoint.step), and the run has \(totalSteps): give more --max-steps or --epochs")
    }
    let stored = try checkpoint.restore(into: prepared.memory)
    observer.note("resumed after step \(checkpoint.step)")
    if checkpoint.step == totalSteps { observer.note("which was the last one: more --max-steps or --epochs go on") }
    if let stored, let format = prepared.memory.state.momentFormat, stored != format {
      observer.note(
        "the checkpoint's optimiser moments are \(stored.rawValue), the plan's \(format.rawValue): they were converted, "
          + "and the run ends with other bits than one in one form; --optimizer-moments \(stored.rawValue) keeps them")
    }
    return checkpoint.step
  }

  private func dumpGradients(to path: String, session: TrainingSession) throws -> Outcome {
    let batches = prepared.data.step(0, rows: plan.rowsPerStep, microBatchSize: plan.strategy.microBatchSize)
    let divisor = session.divisor(batches)
    let loss = try session.accumulateGradients(batches, divisor: divisor, step: 0) / divisor
    let output = try options.output.gradientOutput(path)
    try session.trainables.writeGradients(to: output.temporaryPath)
    try output.commit()
    return Outcome(
      summary: .object(JSONObject([("loss", .number(loss)), ("gradients", .string(path))])), signalNumber: nil)
  }
}
