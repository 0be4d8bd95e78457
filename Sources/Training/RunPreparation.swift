import Architectures
import Data
import Formats
import FoundationEssentials
import Kernels
import Memory
import Options
import Planning
import Tokenization
import Transformer
import Tuning
import WeightStore

/// What a run needs before its first step: the model, the data in rows, a plan and the memory for it.
///
/// Nothing that has a name is written, and no weight stays in memory.
struct RunPreparation {
  let model: LanguageModel
  let data: BatchPlan
  let evaluation: BatchPlan?
  /// What the model says of texts or tokens; `nil` where it goes on with texts.
  let labelling: Labelling?
  /// Prompts that are answered at every evaluation, if there are any.
  let samples: SampleAnswers?
  let identity: RunIdentity
  let tuning: any TuningConfiguration
  let planner: TrainingPlanner
  private(set) var plan: TrainingPlan
  private(set) var memory: TrainingMemory

  /// Reads the data, measures the machine and plans.
  ///
  /// - Parameters:
  ///   - keepsData: whether large data may be kept beside the output, tokenised
  ///   - speed: of the machine, where it is known
  ///   - inputs: what earlier runs of this process have read
  ///   - note: gets lines for people
  ///   - progress: gets bytes of the data that are read, and all
  init(
    options: TrainingOptions, modelDirectory: String, files: [String], keepsData: Bool,
    speed: MachineSpeed?, inputs: RunInputs, note: @escaping (String) -> Void,
    progress: @escaping (Int, Int) -> Void
  ) throws {
    let tuning = try options.method.configuration { try Tokenizer.load(directory: modelDirectory).encode($0) }
    let labelled = try inputs.labelled(
      options.dataKey(model: modelDirectory, files: files, length: tuning.virtualTokenCount)
    ) {
      try LabelledRun(
        options: options, virtualTokens: tuning.virtualTokenCount, modelDirectory: modelDirectory, files: files,
        isKept: keepsData, note: note, progress: progress)
    }
    self.tuning = tuning
    if let adapter = options.method.initialAdapter, !options.method.ignored.isEmpty {
      let names = options.method.ignored.map { "--\($0)" }.joined(separator: ", ")
      note("warning: \(adapter) has a method and options of its own, which count; passed over: \(names)")
    }
    for line in labelled?.notes ?? [] { note(line) }
    labelling = labelled?.labelling
    let store = try labelled?.store ?? inputs.store(modelDirectory) { try WeightStore.open(modelDirectory) }
    for warning in store.warnings { note("warning: \(warning)") }
    let model = try LanguageModel(store: store)
    self.model = model
    try options.method.checkLayers(count: model.description.layers.count)
    // An adapter that does not fit is told before minutes go into the data.
    if let adapter = options.method.initialAdapter { _ = try AdapterFolder.open(adapter, for: model) }
    if let budget = options.plan.maximumMemory, let all = MachineMemory.totalBytes, budget > all {
      note(
        "warning: --max-mem \(ByteCount.text(budget)) is more than the \(ByteCount.text(all)) of this machine; without "
          + "--max-mem a run plans for what is free")
    }
    let length = min(options.data.maximumLength, model.description.maximumPositions - tuning.virtualTokenCount)
    guard length > 1 else {
      throw OptionError(
        "--num-virtual-tokens \(tuning.virtualTokenCount): the model has \(model.description.maximumPositions) positions"
      )
    }
    if labelled != nil, options.evaluation.samplePrompts != nil {
      throw OptionError("--sample-prompts: the model learns labels here, and gives no answers")
    }
    if labelled != nil, options.data.trainOnPrompt {
      throw OptionError("--train-on-prompt: the model learns labels here, and there are no prompts")
    }
    try options.task.checkLoss(of: labelling)
    let samples = try SampleAnswers(
      options.evaluation, model: model, tokenizer: Tokenizer.load(directory: modelDirectory),
      virtualTokens: tuning.virtualTokenCount)
    self.samples = samples
    let (all, held) =
      try labelled.map { ($0.train, $0.held) }
      ?? inputs.data(options.dataKey(model: modelDirectory, files: files, length: length)) {
        try RunData(
          options: options, model: model, maximumLength: length, isKept: keepsData,
          tokenizer: samples?.tokenizer, note: note, progress: progress
        ).read(files)
      }
    if held == nil, options.data.evaluationShare > 0 {
      note("warning: --eval-split keeps nothing of one sample; there is no evaluation")
    }
    let share = options.data.share
    let train = share < 1 ? try all.part(share, seed: options.optimization.seed) : all
    if let labelling { model.labelHead?.loss = try options.task.loss(labelling, samples: train.samples) }
    if train.skippedLines > 0 { note("\(train.skippedLines) bad lines skipped") }
    if let useless = train.uselessNote { note(useless) }
    if train.truncatedCount > 0 { note("\(train.truncatedCount) samples cut at \(length) tokens") }
    let seed = options.optimization.seed
    // Steps of labelled data are made of samples, which are packed into rows.
    let samplesPerStep = labelled.map { _ in options.optimization.rowsPerStep }
    let prompt = PromptPlaces(
      count: tuning.promptRowCount,
      takesFirstLabel: model.description.isEncoder && labelling?.task == .sequenceClassification)
    let data = try BatchPlan(
      train, maximumLength: length + prompt.count, seed: seed, shuffles: options.data.shuffles,
      samplesPerStep: samplesPerStep, prompt: prompt)
    let evaluation = try held.map {
      try BatchPlan(
        $0, maximumLength: length + prompt.count, seed: seed, shuffles: false, samplesPerStep: samplesPerStep,
        prompt: prompt)
    }
    note("training on " + data.summary + (evaluation.map { "; evaluating on " + $0.summary } ?? ""))
    self.data = data
    self.evaluation = evaluation
    identity = RunIdentity(
      options: options.identity,
      hyperParameters: try options.method.readsAdapters ? tuning.identity + options.method.frozenStart() : [],
      model: try inputs.digest(modelDirectory) { try BaseModelDigest.of(directory: modelDirectory) },
      data: train.fingerprint,
      evaluation: options.data.evaluationFiles.isEmpty ? nil : held?.fingerprint)
    let planning = try RunPlanning(
      model: model, tuning: tuning, options: options, sampleRoom: samples?.room,
      rowsPerStep: data.rowsPerStep(options.optimization.rowsPerStep),
      rowLength: max(data.rowLength, evaluation?.rowLength ?? 0, tuning.startTokenCount),
      pool: inputs.pool(threadCount: options.plan.threads), speed: speed)
    (planner, plan) = try planning.plan()
    memory = try planner.memory(of: plan)
  }

  /// Takes another plan than the fastest one of a run alone; before anything has begun.
  mutating func adopt(_ plan: TrainingPlan) throws {
    self.plan = plan
    memory = try planner.memory(of: plan)
  }
}

/// Finds the plan of a run, once what it reads is in memory.
struct RunPlanning {
  private let model: LanguageModel
  private let tuning: any TuningConfiguration
  private let options: TrainingOptions
  private let rowsPerStep: Int
  private let rowLength: Int
  private let pool: ThreadPool
  private let sampleRoom: SampleRoom?
  private let wishes: StrategyWishes
  private let knownSpeed: MachineSpeed?

  /// - Parameters:
  ///   - sampleRoom: what answers to sample prompts need, if there are any
  ///   - rowsPerStep: of an optimiser step
  ///   - rowLength: tokens of the longest row
  ///   - pool: the threads of the run
  ///   - speed: of the machine, where it is known
  init(
    model: LanguageModel, tuning: any TuningConfiguration, options: TrainingOptions, sampleRoom: SampleRoom?,
    rowsPerStep: Int,
    rowLength: Int, pool: ThreadPool, speed: MachineSpeed?
  ) throws {
    self.model = model
    self.tuning = tuning
    self.options = options
    self.sampleRoom = sampleRoom
    self.rowsPerStep = rowsPerStep
    self.rowLength = rowLength
    knownSpeed = speed
    var wishes = options.plan.wishes
    try wishes.readPlan(rowsPerStep: rowsPerStep, optimizer: options.optimization.optimizer.kind)
    self.wishes = wishes
    if options.plan.precision == .f32 { try ReferenceProduct.prepare() }
    self.pool = pool
  }

  /// What measuring leaves on the heap.
  static let measuredHeap = 1 << 20
  /// What one process may have more than another one that does the same.
  static let spared = 2 << 20

  /// The fastest plan inside the budget. It is the same process for the check before measuring and for the plan after it, so
  /// that what the check lets pass is planned.
  func plan() throws -> (TrainingPlanner, TrainingPlan) {
    func dropWhatIsRead() {
      model.store.dropPages()
      ProcessMemory.trim()
    }
    dropWhatIsRead()
    let processBytes = ProcessMemory.residentBytes
    func planner(_ speed: MachineSpeed, processBytes: Int) throws -> TrainingPlanner {
      try TrainingPlanner(
        model: model, tuning: tuning, precision: options.plan.precision, pool: pool,
        rowsPerStep: rowsPerStep, microBatchSize: min(options.optimization.microBatchSize, rowsPerStep),
        rowLength: rowLength, processByteCount: processBytes, pastPeakByteCount: ProcessMemory.peakBytes,
        spillDirectory: options.output.spillDirectory, speed: speed, wishes: wishes,
        optimizer: options.optimization.optimizer.kind, sampleRoom: sampleRoom)
    }
    guard let budget = options.plan.maximumMemory else {
      let speed = try measuredSpeed()
      dropWhatIsRead()
      let planner = try planner(speed, processBytes: ProcessMemory.residentBytes)
      return (
        planner,
        try planner.plan(available: MachineMemory.obtainableBytes.map { $0 / 10 * 9 + ProcessMemory.residentBytes })
      )
    }
    // A budget that nothing fits is refused before anything is measured.
    let planned = processBytes + Self.measuredHeap
    do {
      try planner(.assumed, processBytes: planned).check(budget: budget)
    } catch let error as PlanError { throw error.sparing(Self.spared) }
    let measuring = MachineSpeed.measuringByteCount(model, precision: options.plan.precision, pool: pool)
    // Where there is no room to measure, the proportions of a small board have to do.
    let speed = ByteCount.sum(planned, measuring) <= budget ? try measuredSpeed() : .assumed
    dropWhatIsRead()
    let chosen = try planner(speed, processBytes: planned)
    return (chosen, try chosen.plan(budget: budget))
  }

  private func measuredSpeed() throws -> MachineSpeed {
    if let knownSpeed { return knownSpeed }
    let layerInputs =
      ByteCount.product(
        model.layers.count, rowsPerStep, rowLength, model.description.hiddenSize,
        MemoryLayout<Float>.stride)
    let needed = ByteCount.sum(
      ByteCount.sum(model.store.byteCount, layerInputs), options.plan.maximumMemory ?? 0)
    return try MachineSpeed.measured(
      model, precision: options.plan.precision, spillDirectory: options.output.spillDirectory,
      cacheHoldsFiles: needed <= MachineMemory.obtainableBytes ?? 0, pool: pool)
  }
}
