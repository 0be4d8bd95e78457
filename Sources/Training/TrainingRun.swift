import Architectures
import Data
import Formats
import FoundationEssentials
import Glibc
import Kernels
import Memory
import Planning
import Tokenization
import Transformer
import Tuning
import WeightStore

/// What a run says while it goes on.
public protocol TrainingObserver: AnyObject {
  /// A line for people.
  func note(_ line: String)
  /// A step was done.
  func stepped(_ report: StepReport, of steps: Int, residentBytes: Int, budget: Int?)
  /// An evaluation was done.
  func evaluated(step: Int, loss: Double)
}

/// A whole run of `train`: data, plan, steps, checkpoints, records.
public final class TrainingRun {
  /// How a run ended.
  public struct Outcome {
    /// `summary.json`.
    public let summary: JSONValue
    /// The signal that stopped the run early, if one did.
    public let signalNumber: Int32?
  }

  private let options: TrainingOptions
  private let observer: any TrainingObserver
  private let model: LanguageModel
  private let tuning: any TuningConfiguration
  private let data: BatchPlan
  private let evaluation: BatchPlan?
  /// What the model says of texts or tokens; `nil` where it goes on with texts.
  private let labelling: Labelling?
  private let fingerprint: String
  public let plan: TrainingPlan
  /// What the threads are doing, for profiles.
  public var meter: WorkMeter { memory.engine.pool.meter }
  private let memory: TrainingMemory
  private let planner: TrainingPlanner

  /// Reads the data, measures the machine and plans; nothing that has a name is written, and no weight stays in memory.
  public init(options: TrainingOptions, modelDirectory: String, files: [String], observer: any TrainingObserver) throws
  {
    self.options = options
    self.observer = observer
    let labelled = try LabelledRun(options: options, modelDirectory: modelDirectory, files: files)
    labelling = labelled?.labelling
    for note in labelled?.notes ?? [] { observer.note(note) }
    let store = try labelled?.store ?? WeightStore.open(modelDirectory)
    model = try LanguageModel(store: store)
    let length = min(options.data.maximumLength, model.description.maximumPositions)
    let (train, held) =
      try labelled.map { ($0.train, $0.held) }
      ?? Self.read(
        files, options: options,
        DataReader(
          tokenizer: TokenizerSource(directory: modelDirectory), maximumLength: length,
          trainOnPrompt: options.data.trainOnPrompt, skipBadLines: options.data.skipBadLines,
          vocabularySize: model.description.vocabularySize))
    if let labelling { model.labelHead?.loss = try options.task.loss(labelling, samples: train.samples) }
    if train.skippedLines > 0 { observer.note("\(train.skippedLines) bad lines skipped") }
    if train.truncatedCount > 0 { observer.note("\(train.truncatedCount) samples cut at \(length) tokens") }
    let samplesPerStep = labelled.map { _ in options.optimization.rowsPerStep }
    data = BatchPlan(
      train, maximumLength: length, seed: options.optimization.seed, shuffles: options.data.shuffles,
      samplesPerStep: samplesPerStep)
    evaluation = held.map {
      BatchPlan(
        $0, maximumLength: length, seed: options.optimization.seed, shuffles: false, samplesPerStep: samplesPerStep)
    }
    let tuning = try options.method.configuration()
    self.tuning = tuning
    fingerprint = options.fingerprint + " data=" + train.fingerprint
    let rowsPerStep = data.rowsPerStep(options.optimization.rowsPerStep)
    // Steps of labelled data have fewer rows than samples; all may be computed together.
    let microBatchSize = min(options.optimization.microBatchSize, rowsPerStep)
    var wishes = options.plan.wishes
    try wishes.readPlan(rowsPerStep: rowsPerStep)
    if options.plan.precision == .f32 { try ReferenceProduct.prepare() }
    let pool = ThreadPool(threadCount: options.plan.threads)
    let rowLength = max(data.rowLength, evaluation?.rowLength ?? 0)
    let model = model
    func makePlanner(_ speed: MachineSpeed, room: Int = 0) throws -> TrainingPlanner {
      try TrainingPlanner(
        model: model, tuning: tuning, precision: options.plan.precision, pool: pool, rowsPerStep: rowsPerStep,
        microBatchSize: microBatchSize, rowLength: rowLength,
        processByteCount: ProcessMemory.residentBytes + room,
        pastPeakByteCount: ProcessMemory.peakBytes, spillDirectory: options.output.spillDirectory, speed: speed,
        wishes: wishes
      )
    }
    func dropWhatIsRead() {
      store.dropPages()
      ProcessMemory.trim()
    }
    dropWhatIsRead()
    // A budget that nothing fits is refused before anything is measured, which leaves a little more on the heap.
    if let budget = options.plan.maximumMemory { try makePlanner(.assumed, room: 1 << 20).check(budget: budget) }
    let layerInputs =
      ByteCount.product(
        model.layers.count, rowsPerStep, rowLength, model.description.hiddenSize, MemoryLayout<Float>.stride)
    let needed = store.byteCount + layerInputs + (options.plan.maximumMemory ?? 0)
    let speed = try MachineSpeed.measured(
      model, precision: options.plan.precision, spillDirectory: options.output.spillDirectory,
      cacheHoldsFiles: needed <= MachineMemory.obtainableBytes ?? 0, pool: pool)
    dropWhatIsRead()
    planner = try makePlanner(speed)
    if let budget = options.plan.maximumMemory {
      plan = try planner.plan(budget: budget)
    } else {
      plan = try planner.plan(
        available: MachineMemory.obtainableBytes.map { $0 / 10 * 9 + ProcessMemory.residentBytes })
    }
    memory = try planner.memory(of: plan)
  }

  /// Data to train on and, perhaps, to evaluate on.
  private static func read(
    _ files: [String], options: TrainingOptions, _ reader: DataReader
  ) throws -> (train: TrainingData, held: TrainingData?) {
    let all = try reader.read(files)
    if !options.data.evaluationFiles.isEmpty { return (all, try reader.read(options.data.evaluationFiles)) }
    guard options.data.evaluationShare > 0, all.samples.count > 1 else { return (all, nil) }
    let parts = all.split(options.data.evaluationShare, seed: options.optimization.seed)
    return (parts.train, parts.evaluation)
  }

  /// Optimiser steps of the whole run.
  public var stepCount: Int {
    options.optimization.maximumSteps ?? options.optimization.epochs * data.stepsPerEpoch(rowsPerStep: plan.rowsPerStep)
  }

  /// Plans for budgets from the least that works to all that would be used, by ascending memory.
  public func plansByBudget() throws -> [TrainingPlan] {
    let most = try planner.most()
    var budget = Self.wholeMegabytes(try planner.least() + (1 << 20) - 1)
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
  /// - Parameter stopSignal: asked before every step; a number ends the run with a checkpoint
  public func run(stopSignal: () -> Int32? = { StopRequest.signalNumber }) throws -> Outcome {
    let output = options.output.folder
    try options.output.check()
    try memory.begin(with: model)
    if let directory = options.method.initialAdapter {
      try memory.method.load(from: directory)
    } else {
      memory.method.initialize(seed: options.optimization.seed)
    }
    let session = TrainingSession(
      model: model, memory: memory, optimizer: AdamW(weightDecay: options.optimization.weightDecay),
      maximumGradientNorm: options.optimization.maximumGradientNorm, seed: options.optimization.seed)
    if let file = options.output.gradientFile {
      return try dumpGradients(to: file, session: session)
    }
    do {
      try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
    } catch {
      throw FileError.cannotWrite(file: output, reason: "cannot create the folder")
    }
    let steps = stepCount
    let schedule = options.optimization.learningRates(steps: steps)
    let first = try resume(totalSteps: steps)
    let metrics = try MetricsWriter(path: "\(output)/metrics.jsonl", keepingSteps: first)
    StopRequest.install()
    let programBytes = ProcessMemory.residentFileBytes
    let residency = memory.workspace.residency
    let watch = MemoryGuard(budget: options.plan.maximumMemory) { residency.yieldToOthers() }
    watch.start()
    defer { watch.stop() }
    var speeds: [Double] = []
    var evaluationLoss: Double?
    var step = first
    while step < steps, stopSignal() == nil {
      let batches = data.step(step, rows: plan.rowsPerStep, microBatchSize: plan.strategy.microBatchSize)
      let readBefore = ProcessMemory.storageBytesRead
      let report = try session.step(batches, step: step, learningRate: schedule.rate(at: step))
      step += 1
      let resident = ProcessMemory.residentBytes
      try metrics.append(
        report, residentBytes: resident, byKind: residentBytesByKind(all: resident, program: programBytes),
        storageBytesRead: readBefore.flatMap { before in ProcessMemory.storageBytesRead.map { $0 - before } })
      speeds.append(report.tokensPerSecond)
      observer.stepped(report, of: steps, residentBytes: resident, budget: options.plan.maximumMemory)
      if options.output.evaluationSteps > 0, step % options.output.evaluationSteps == 0 || step == steps {
        evaluationLoss = try evaluate(session, step: step, metrics: metrics)
      }
      if options.output.saveSteps > 0, step % options.output.saveSteps == 0, step < steps { try checkpoint(step) }
      if watch.takeWarning() {
        observer.note(
          "warning: the machine is short of memory; weights no longer stay in memory, training goes on slower")
      }
      if let excess = watch.excess(givingBack: { model.store.dropPages() }), let budget = options.plan.maximumMemory {
        try checkpoint(step)
        _ = try writeSummary(
          completed: false, steps: step, metrics: metrics, speeds: speeds, evaluationLoss: evaluationLoss)
        throw BudgetExceeded(resident: excess, budget: budget, checkpoint: "\(output)/checkpoint-\(step)")
      }
    }
    if options.output.evaluationSteps == 0, evaluation != nil, stopSignal() == nil {
      evaluationLoss = try evaluate(session, step: step, metrics: metrics)
    }
    let signalNumber = step < steps ? stopSignal() : nil
    if signalNumber != nil {
      try checkpoint(step)
      observer.note("stopped after step \(step); --resume goes on from there")
    } else {
      try saveAdapter()
    }
    let summary = try writeSummary(
      completed: signalNumber == nil, steps: step, metrics: metrics, speeds: speeds, evaluationLoss: evaluationLoss)
    return Outcome(summary: summary, signalNumber: signalNumber)
  }

  /// What is resident now: buffers by their kind, mapped weights, and the rest of the process.
  private func residentBytesByKind(all: Int, program: Int) -> [(MemoryKind, Int)] {
    var kinds = memory.arena.residentByteCountByKind
    kinds[.weights, default: 0] += max(0, ProcessMemory.residentFileBytes - program)
    kinds[.process] = max(0, all - kinds.values.reduce(0, +))
    return MemoryKind.allCases.compactMap { kind in kinds[kind].map { (kind, $0) } }
  }

  private func evaluate(_ session: TrainingSession, step: Int, metrics: MetricsWriter) throws -> Double? {
    guard let evaluation else { return nil }
    let batches = evaluation.all(microBatchSize: plan.strategy.microBatchSize)
    var figures = JSONObject()
    let loss: Double
    if let labelling {
      let (mean, report) = try session.report(batches, labelling: labelling)
      (loss, figures) = (mean, report.json)
    } else {
      loss = try session.evaluate(batches).loss
    }
    try metrics.append(step: step, evaluationLoss: loss, figures: figures)
    observer.evaluated(step: step, loss: loss)
    return loss
  }

  private func checkpoint(_ step: Int) throws {
    try TrainingCheckpoint.save(
      step: step, memory: memory, baseModel: model.store.directory, fingerprint: fingerprint, in: options.output.folder)
    TrainingCheckpoint.prune(in: options.output.folder, keeping: options.output.saveLimit)
  }

  /// - Returns: steps that are done already.
  private func resume(totalSteps: Int) throws -> Int {
    guard options.output.resume else { return 0 }
    guard
      let checkpoint = TrainingCheckpoint.latest(in: options.output.folder, report: { observer.note("warning: \($0)") })
    else {
      observer.note("no checkpoint in \(options.output.folder); training starts at step 0")
      return 0
    }
    guard checkpoint.fingerprint == fingerprint else {
      let old = Set(checkpoint.fingerprint.split(separator: " "))
      let differing = fingerprint.split(separator: " ").filter { !old.contains($0) }
      throw CheckpointError(
        path: checkpoint.path,
        reason: "was written with other data or options; now there is \(differing.joined(separator: ", "))")
    }
    let stored = try checkpoint.restore(into: memory)
    observer.note("resumed after step \(checkpoint.step)")
    let format = memory.moments.format
    if stored != format {
      observer.note(
        "the checkpoint's optimiser moments are \(stored.rawValue), the plan's \(format.rawValue): they were converted, "
          + "and the run ends with other bits than one in one form; --optimizer-moments \(stored.rawValue) keeps them")
    }
    return checkpoint.step
  }

  /// Each file appears complete: written beside, then renamed.
  private func saveAdapter() throws {
    let staging = try AtomicOutput(path: "\(options.output.folder)/.adapter", force: true)
    try staging.createDirectory()
    try memory.method.save(to: staging.temporaryPath, baseModel: model.store.directory)
    let names = try FileManager.default.contentsOfDirectory(atPath: staging.temporaryPath).sorted()
    for name in names {
      guard rename("\(staging.temporaryPath)/\(name)", "\(options.output.folder)/\(name)") == 0 else {
        throw FileError.cannotWrite(file: "\(options.output.folder)/\(name)", reason: String(cString: strerror(errno)))
      }
    }
  }

  /// - Parameter speeds: of the steps that this process did
  private func writeSummary(
    completed: Bool, steps: Int, metrics: MetricsWriter, speeds: [Double], evaluationLoss: Double?
  ) throws -> JSONValue {
    let sorted = speeds.sorted()
    let summary = JSONValue.object(
      JSONObject([
        ("completed", .bool(completed)),
        ("steps", .integer(steps)),
        ("tokens_per_second", sorted.isEmpty ? .null : .number(sorted[sorted.count / 2])),
        ("predicted_tokens_per_second", .number(plan.predictedTokensPerSecond)),
        ("predicted_peak_bytes", .integer(plan.predictedPeakBytes)),
        ("measured_peak_bytes", .integer(ProcessMemory.peakBytes)),
        ("storage_bytes_read", ProcessMemory.storageBytesRead.map { .integer($0) } ?? .null),
        ("first_loss", metrics.firstLoss.map { .number($0) } ?? .null),
        ("last_loss", metrics.lastLoss.map { .number($0) } ?? .null),
        ("eval_loss", evaluationLoss.map { .number($0) } ?? .null),
        ("plan", plan.json),
      ]))
    let output = try AtomicOutput(path: "\(options.output.folder)/summary.json", force: true)
    try OutputFile.write(summary.serialized(pretty: true) + "\n", to: output.temporaryPath)
    try output.commit()
    return summary
  }

  private func dumpGradients(to path: String, session: TrainingSession) throws -> Outcome {
    let batches = data.step(0, rows: plan.rowsPerStep, microBatchSize: plan.strategy.microBatchSize)
    let labelled = batches.reduce(0) { $0 + $1.labelledTokenCount }
    let loss = try session.accumulateGradients(batches, labelledTokens: labelled, step: 0) / Double(max(labelled, 1))
    let output = try AtomicOutput(path: path, force: options.output.force)
    try session.trainables.writeGradients(to: output.temporaryPath)
    try output.commit()
    return Outcome(
      summary: .object(JSONObject([("loss", .number(loss)), ("gradients", .string(path))])), signalNumber: nil)
  }
}
