import Data
import Formats
import Glibc
import Memory
import Planning
import Reporting
import Sensing
import Transformer

/// The steps of a run from where it stands to its end, with evaluations, checkpoints and records on the way.
final class RunLoop {
  private let options: TrainingOptions
  private let prepared: RunPreparation
  private let session: TrainingSession
  private let folder: RunFolder
  private let metrics: MetricsWriter
  private let room: DiskRoom
  private let observer: any TrainingObserver
  private let stopSignal: () -> Int32?

  /// Optimiser steps of the whole run.
  private let steps: Int
  /// Where this process ends, with the rest of the run still to do; at most `steps`.
  private let end: Int
  /// Of the data to evaluate on that counts where this process ends before the run does.
  private let restShare: Double
  /// Steps that are done.
  private var step: Int
  private var health: RunHealth
  private var best: BestModel
  private var lastSave = ContinuousClock.now
  private let sensors = Sensors()
  /// The line that could not be written.
  private var unwritten: (() throws -> Void)?
  /// Of the steps that this process did, in tokens per second.
  private var speeds: [Double] = []

  /// - Parameters:
  ///   - first: steps that are done already
  ///   - pause: where this process ends, if before `steps`
  ///   - restShare: of the data to evaluate on that counts there
  init(
    options: TrainingOptions, prepared: RunPreparation, session: TrainingSession, folder: RunFolder,
    observer: any TrainingObserver, steps: Int, first: Int, pause: Int? = nil,
    restShare: Double = 1, stopSignal: @escaping () -> Int32?
  ) throws {
    self.options = options
    self.prepared = prepared
    self.session = session
    self.folder = folder
    self.observer = observer
    self.steps = steps
    end = max(first, min(steps, pause ?? steps))
    self.restShare = restShare
    self.stopSignal = stopSignal
    step = first
    health = RunHealth(vocabularySize: prepared.model.description.vocabularySize)
    best = BestModel(options.evaluation)
    let savesOften = options.output.saveSteps > 0 || options.output.saveMinutes > 0 || options.evaluation.loadBest
    let saves = savesOften ? min(steps - first, options.output.saveLimit) : 0
    room = try DiskRoom(
      in: folder.path,
      held: TrainingCheckpoint.byteCount(of: prepared.memory)
        + TrainingCheckpoint.adapterByteCount(of: prepared.memory),
      needed: folder.missingByteCount(saves: saves, memory: prepared.memory) + prepared.spilledByteCount)
    metrics = try MetricsWriter(path: "\(folder.path)/metrics.jsonl", keepingSteps: first)
    for evaluation in metrics.evaluations { try best.take(step: evaluation.step, figures: evaluation.figures) }
    if options.output.reportsToTensorBoard {
      metrics.events = try EventWriter(folder: folder.path, keepingSteps: first)
    }
    if metrics.lostSteps > 0 {
      observer.note("warning: metrics.jsonl lacks \(metrics.lostSteps) of the first \(first) steps")
    }
    session.interruption = {
      if let signal = stopSignal() { throw StopRequest.Stopped(signal: signal) }
    }
  }

  /// - Returns: summary, and the signal that stopped the run early, if one did
  func finish() throws -> TrainingRun.Outcome {
    do {
      try train()
    } catch let stop as StopRequest.Stopped {
      room.release()
      try save()
      observer.note("stopped after step \(step); --resume goes on from there")
      return TrainingRun.Outcome(summary: try writeSummary(completed: false), signalNumber: stop.signal)
    } catch var failure as RunFailed {
      room.release()
      // What a step that failed began with is as good as it was.
      if !health.isSuspect, prepared.memory.isFinite, failure.step == step + 1 { try save() }
      failure.state = folder.newestPath
      _ = try writeSummary(completed: false)
      throw failure
    } catch  where DiskRoom.isExhausted(error) {
      room.release()
      try unwritten?()
      if !health.isSuspect {
        try save()
        observer.note("stopped after step \(step); --resume goes on from there")
      }
      _ = try writeSummary(completed: false)
      throw error
    }
    room.release()
    try withRoom { try save() }
    if step < steps, !best.isExhausted {
      return TrainingRun.Outcome(
        summary: try writeSummary(completed: false), signalNumber: nil, figures: metrics.evaluations.last?.figures)
    }
    try loadBest()
    try withRoom { try folder.finish(step: step, memory: prepared.memory, baseModel: prepared.model.store.directory) }
    return TrainingRun.Outcome(
      summary: try writeSummary(completed: true), signalNumber: nil, figures: metrics.evaluations.last?.figures)
  }

  private func train() throws {
    let memory = prepared.memory
    let plan = prepared.plan
    let schedule = options.optimization.learningRates(steps: steps)
    let programBytes = ProcessMemory.residentFileBytes
    let residency = memory.workspace.residency
    let watch = MemoryGuard(budget: options.plan.maximumMemory) { residency.yieldToOthers() }
    watch.start()
    defer { watch.stop() }
    // A run that was stopped in an evaluation has its step behind it, but not the evaluation.
    try evaluateIfDue()
    while step < end, !best.isExhausted {
      try session.checkInterruption()
      try coolDown()
      let batches = prepared.data.step(step, rows: plan.rowsPerStep, microBatchSize: plan.strategy.microBatchSize)
      let readBefore = ProcessMemory.storageBytesRead
      let report = try session.step(batches, step: step, learningRate: schedule.rate(at: step))
      step += 1
      let resident = ProcessMemory.residentBytes
      let kinds = residentBytesByKind(all: resident, program: programBytes)
      let bytesRead = readBefore.flatMap { before in ProcessMemory.storageBytesRead.map { $0 - before } }
      let reading = sensors.reading()
      let further = [("seconds", JSONValue.number(report.seconds))] + reading.entries
      try record { [metrics] in
        try metrics.append(
          report, residentBytes: resident, byKind: kinds, storageBytesRead: bytesRead, further: further)
      }
      speeds.append(report.tokensPerSecond)
      observer.stepped(
        report, of: steps,
        machine: MachineState(
          residentBytes: resident, budget: options.plan.maximumMemory, celsius: reading.celsius,
          isThrottled: reading.throttled ?? false))
      try health.check(
        step: report.step, loss: report.loss, gradientNorm: report.gradientNorm,
        labelledTokens: batches.reduce(0) { $0 + $1.labelledTokenCount })
      try evaluateIfDue()
      if isSaveDue { try withRoom { try save() } }
      if watch.takeWarning() {
        observer.note(
          "warning: the machine is short of memory; weights no longer stay in memory, training goes on slower")
      }
      if let excess = watch.excess(givingBack: { prepared.model.store.dropPages() }),
        let budget = options.plan.maximumMemory
      {
        room.release()
        try save()
        _ = try writeSummary(completed: false)
        throw BudgetExceeded(
          resident: excess, budget: budget, checkpoint: "\(folder.path)/\(TrainingCheckpoint.name(step))")
      }
    }
    if best.isExhausted, step < steps {
      observer.note(
        "no better evaluation since step \(best.step ?? 0): ended after step \(step) of \(steps)")
    }
  }

  /// Waits while the processor is too hot.
  private func coolDown() throws {
    guard let limit = options.output.maximumTemperature else { return }
    var hasTold = false
    while let celsius = sensors.reading().celsius, celsius > limit {
      if !hasTold { observer.note("pausing: \(Int(celsius.rounded())) °C is more than --max-temp \(Int(limit))") }
      hasTold = true
      for _ in 0..<20 {
        usleep(100_000)
        try session.checkInterruption()
      }
    }
  }

  private var isSaveDue: Bool {
    let output = options.output
    guard step < steps, !health.isSuspect else { return false }
    if output.saveSteps > 0, step % output.saveSteps == 0 { return true }
    return output.saveMinutes > 0 && lastSave.duration(to: .now) >= .seconds(60 * output.saveMinutes)
  }

  // MARK: Evaluation

  /// Evaluates and answers sample prompts, as far as that is due after this step and has not been done.
  private func evaluateIfDue() throws {
    let stepsPerEpoch = prepared.data.stepsPerEpoch(rowsPerStep: prepared.plan.rowsPerStep)
    let isDue =
      step == 0
      ? options.evaluation.onStart
      : options.evaluation.isDue(after: step, stepsPerEpoch: stepsPerEpoch, last: end)
    guard isDue else { return }
    if metrics.evaluations.last?.step != step { try evaluate() }
    if metrics.lastSampledStep != step { try answerSamples() }
  }

  private func evaluate() throws {
    guard let evaluation = prepared.evaluation else { return }
    let all = evaluation.all(microBatchSize: prepared.plan.strategy.microBatchSize)
    let share = step == end && end < steps ? restShare : 1
    let figures = try figures(of: all.prefix(max(1, Int((share * Double(all.count)).rounded(.up)))))
    let isBest = try best.take(step: step, figures: figures)
    try record { [metrics, step] in try metrics.append(step: step, evaluation: figures) }
    observer.evaluated(step: step, figures: figures, isBest: isBest)
    if isBest, options.evaluation.loadBest, !health.isSuspect { try withRoom { try save() } }
  }

  private func answerSamples() throws {
    guard let samples = prepared.samples else { return }
    let answers = try samples.answers(
      of: prepared.model, in: prepared.memory,
      progress: { [observer] in observer.sampling($0, of: samples.count) })
    try record { [metrics, step] in try metrics.append(step: step, samples: answers) }
    observer.sampled(step: step, answers: answers)
  }

  /// `eval_loss` and what else there is to say, with `eval_` before its name.
  private func figures(of batches: BatchList.SubSequence) throws -> JSONObject {
    let progress = { [observer] in observer.evaluating($0, of: batches.count) }
    guard let labelling = prepared.labelling else {
      let loss = try session.evaluate(batches, progress: progress).loss
      return JSONObject([("eval_loss", .number(loss)), ("eval_perplexity", .number(exp(loss)))])
    }
    let (loss, report) = try session.report(batches, labelling: labelling, progress: progress)
    return JSONObject([("eval_loss", .number(loss))] + report.json.entries.map { ("eval_\($0.key)", $0.value) })
  }

  /// Takes the parameters of the best evaluation, which its checkpoint has.
  private func loadBest() throws {
    guard options.evaluation.loadBest, let wanted = best.step, wanted != step else { return }
    guard try folder.restore(step: wanted, into: prepared.memory) else {
      observer.note("warning: the checkpoint of the best evaluation is gone; the adapter is that of the last step")
      return
    }
    observer.note("the adapter is that of step \(wanted), whose evaluation was the best")
  }

  // MARK: Records

  /// What is resident now: buffers by their kind, mapped weights, and the rest of the process.
  private func residentBytesByKind(all: Int, program: Int) -> [(MemoryKind, Int)] {
    var kinds = prepared.memory.arena.residentByteCountByKind
    kinds[.weights, default: 0] += max(0, ProcessMemory.residentFileBytes - program)
    kinds[.process] = max(0, all - kinds.values.reduce(0, +))
    return MemoryKind.allCases.compactMap { kind in kinds[kind].map { (kind, $0) } }
  }

  /// Writes a line of the records; it is not lost where there is no room for it.
  private func record(_ line: @escaping () throws -> Void) throws {
    unwritten = line
    try withRoom(line)
    unwritten = nil
  }

  /// Does `work`, and waits with it while the disk is full, if that is wanted.
  private func withRoom(_ work: () throws -> Void) throws {
    try room.waiting(
      options.output.onDiskFull, isInterrupted: { stopSignal() != nil }, warn: { observer.note($0) }, work)
  }

  /// Saves the state after the last step, if it is not saved already; the records up to there are on the disk before it.
  private func save() throws {
    guard !folder.holds(step) else { return }
    try metrics.synchronize()
    try folder.save(
      step: step, memory: prepared.memory, baseModel: prepared.model.store.directory,
      keeping: options.evaluation.loadBest ? best.step : nil)
    lastSave = .now
  }

  private func writeSummary(completed: Bool) throws -> JSONValue {
    try metrics.synchronize()
    let sorted = speeds.sorted()
    let plan = prepared.plan
    let summary = JSONValue.object(
      JSONObject([
        ("completed", .bool(completed)),
        ("steps", .integer(step)),
        ("tokens_per_second", sorted.isEmpty ? .null : .number(sorted[sorted.count / 2])),
        ("predicted_tokens_per_second", .number(plan.predictedTokensPerSecond)),
        ("predicted_peak_bytes", .integer(plan.predictedPeakBytes)),
        ("measured_peak_bytes", .integer(ProcessMemory.peakBytes)),
        ("storage_bytes_read", ProcessMemory.storageBytesRead.map { .integer($0) } ?? .null),
        ("weight_bytes_streamed", .integer(prepared.memory.workspace.residency.streamedByteCount)),
        ("first_loss", metrics.firstLoss.map { .number($0) } ?? .null),
        ("last_loss", metrics.lastLoss.map { .number($0) } ?? .null),
        ("eval_loss", metrics.evaluations.last?.figures["eval_loss"] ?? .null),
        ("best_step", best.step.map { .integer($0) } ?? .null),
        ("best_metric", best.value.map { .number($0) } ?? .null),
        ("plan", plan.json),
      ]))
    try withRoom { try folder.write(summary: summary) }
    return summary
  }
}

extension SensorReading {
  /// What can be read here, as the records of a run have it.
  fileprivate var entries: [(String, JSONValue)] {
    [
      celsius.map { ("temperature_celsius", .number($0)) }, throttled.map { ("throttled", .bool($0)) },
      frequencyShare.map { ("frequency_share", .number($0)) }, joules.map { ("energy_joules", .number($0)) },
    ].compactMap { $0 }
  }
}

extension RunPreparation {
  /// Bytes of layer inputs that go to a file.
  var spilledByteCount: Int {
    guard plan.strategy.layerInputs == .spilled else { return 0 }
    return ByteCount.product(
      model.layers.count, plan.strategy.groupRows, plan.rowLength, model.description.hiddenSize,
      MemoryLayout<Float>.stride)
  }
}
