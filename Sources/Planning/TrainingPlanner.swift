import Kernels
import Memory
import Transformer
import Tuning

/// Finds the fastest way to train that keeps the whole process inside a budget.
///
/// A candidate fixes how rows are split, how layer inputs are kept and how the head is cut; what memory it leaves goes to
/// whatever saves most time per byte: weights that stay, activations that are not computed again.
public struct TrainingPlanner {
  let model: LanguageModel
  let tuning: any TuningConfiguration
  let precision: Precision
  let pool: ThreadPool
  let rowsPerStep: Int
  /// Rows per micro-batch that the user asked for: the most that are computed together.
  let microBatchSize: Int
  let rowLength: Int
  /// Resident bytes of the process before the plan's buffers, with data and tokenizer loaded.
  var processByteCount: Int
  /// The peak that the process has already had.
  let pastPeakByteCount: Int
  let spillDirectory: String
  let speed: MachineSpeed
  /// What the user wants one way or the other.
  let wishes: StrategyWishes
  let optimizer: OptimizerKind
  /// What answers to sample prompts need, if there are any.
  let sampleRoom: SampleRoom?
  /// Planners of the other runs that go through the weights together with this one, by the same strategy.
  var companions: [TrainingPlanner] = []
  private let methodProducts: Double
  /// What strategies need, for those that several budgets have in common.
  var known = Known<TrainingStrategy, Int>()
  private let knownShares = Known<TrainingStrategy, RunShare>()
  /// The method as it was counted, by the tokens of a micro-batch: no other part of a strategy matters to it.
  private let countedMethods = Known<Int, (method: any TuningMethod, buffers: [PlannedBuffer])>()

  public init(
    model: LanguageModel, tuning: any TuningConfiguration, precision: Precision, pool: ThreadPool,
    rowsPerStep: Int, microBatchSize: Int, rowLength: Int, processByteCount: Int, pastPeakByteCount: Int = 0,
    spillDirectory: String, speed: MachineSpeed = .assumed, wishes: StrategyWishes = StrategyWishes(),
    optimizer: OptimizerKind = .adamw, sampleRoom: SampleRoom? = nil
  ) throws {
    self.model = model
    self.tuning = tuning
    self.precision = precision
    self.pool = pool
    self.rowsPerStep = rowsPerStep
    self.microBatchSize = min(microBatchSize, rowsPerStep)
    self.rowLength = rowLength
    self.processByteCount = processByteCount
    self.pastPeakByteCount = pastPeakByteCount
    self.spillDirectory = spillDirectory
    self.speed = speed
    self.wishes = wishes
    self.optimizer = optimizer
    self.sampleRoom = sampleRoom
    methodProducts = try tuning.floatProducts(for: model)
  }

  /// A plan that is nearly as fast as the fastest, and of those the one that writes and reads least.
  ///
  /// - Parameter budget: bytes for the whole process; `nil` for no limit
  /// - Throws: `PlanError`
  public func plan(budget: Int?) throws -> TrainingPlan {
    if let plan = try found(budget: budget, rungs: rungs) { return plan }
    throw try failure(budget ?? .max)
  }

  /// The same with only some of the rungs; `nil` where nothing fits. What would help is then not looked for, which takes
  /// longer than all the rest.
  func found(budget: Int?, rungs: [Rung]) throws -> TrainingPlan? {
    guard let budget else { return try finish(richest, budget: nil) }
    for rung in rungs {
      let found = try fastest(budget: budget, rung)
      if let best = found.min(by: { ($0.wear, $0.seconds) < ($1.wear, $1.seconds) }) {
        return try finish(best.strategy, budget: budget)
      }
      // Of a very small model even what keeps everything may need less than what weights pass through.
      if rung.holds(richest), try byteCount(richest) <= budget { return try finish(richest, budget: budget) }
    }
    return nil
  }

  /// What a candidate came to when the budget was spent.
  private struct Filled {
    let seconds: Double
    let strategy: TrainingStrategy
    let cost: StepCost
    /// Bytes that a step writes, and those that it reads again: what a storage card suffers from, and what it is slow at.
    var wear: Wear { Wear(written: cost.spilledBytes, read: cost.weightBytes) }
  }

  private struct Wear: Comparable {
    let written: Double
    let read: Double
    static func < (a: Wear, b: Wear) -> Bool { (a.written, a.read) < (b.written, b.read) }
  }

  /// All that is nearly as fast as the fastest inside the budget; nothing where nothing fits.
  private func fastest(budget: Int, _ rung: Rung) throws -> [Filled] {
    var best = Double.infinity
    var found: [Filled] = []
    for candidate in try candidates(rung).sorted(by: { $0.leastSeconds < $1.leastSeconds }) {
      guard candidate.byteCount <= budget, candidate.leastSeconds <= best * Self.nearlyAsFast else { continue }
      let strategy = try fill(candidate, budget: budget)
      let cost = cost(strategy)
      found.append(Filled(seconds: seconds(cost), strategy: strategy, cost: cost))
      best = min(best, seconds(cost))
    }
    return found.filter { $0.seconds <= best * Self.nearlyAsFast }
  }

  /// - Throws: `PlanError` if no plan fits the budget
  public func check(budget: Int) throws {
    guard try fits(budget: budget) else { throw try failure(budget) }
  }

  /// Whether a plan fits the budget, without looking for one.
  public func fits(budget: Int) throws -> Bool {
    for rung in rungs where try candidates(rung).contains(where: { $0.byteCount <= budget }) { return true }
    return try most() <= budget
  }

  private func failure(_ budget: Int) throws -> PlanError {
    let least = try mostFrugal()
    return PlanError(
      budget: budget, least: least?.byteCount ?? .max, losses: least?.strategy.losses ?? [],
      remedies: try remedies(below: least?.byteCount ?? .max))
  }

  /// A fast plan for whatever the machine has free; of plans that are nearly as fast as the fastest one that needs little.
  public func plan(available: Int?) throws -> TrainingPlan {
    var best = try plan(budget: available)
    let bound = try fastestSeconds(budget: available) * Self.nearlyAsFast
    // Less memory is no reason to lose bits.
    let reached = rungs.firstIndex { $0.holds(best.strategy) } ?? 0
    for part in [0.75, 0.9] {
      while let smaller = try? found(
        budget: Int(part * Double(best.predictedPeakBytes)), rungs: Array(rungs[...reached])
      ), smaller.cost.seconds(speed) <= bound, smaller.cost.spilledBytes <= best.cost.spilledBytes {
        best = smaller
      }
    }
    // the same without the budgets that it was found by
    return try finish(best.strategy, budget: nil)
  }

  private func fastestSeconds(budget: Int?) throws -> Double {
    guard let budget else { return seconds(richest) }
    for rung in rungs {
      if let least = try fastest(budget: budget, rung).map(\.seconds).min() { return least }
    }
    return seconds(richest)
  }

  /// Time of this ratio is given for less wear of the storage and, where there is no budget, for less memory.
  static let nearlyAsFast = 1.05

  /// The memory that the most frugal plan needs, in bytes.
  public func least() throws -> Int { try mostFrugal()?.byteCount ?? Int.max }

  /// The memory that is needed to keep everything, in bytes.
  public func most() throws -> Int { try byteCount(richest) }

  private func mostFrugal() throws -> Candidate? {
    let whole = Candidate(strategy: richest, byteCount: try most(), leastSeconds: seconds(richest))
    return try (rungs.flatMap { try candidates($0) } + [whole]).min { $0.byteCount < $1.byteCount }
  }

  /// The strategy that keeps everything.
  private var richest: TrainingStrategy {
    let whole = base(
      group: microBatchSize, micro: microBatchSize, feedForward: .max, inputs: inputFormats[0],
      moments: rungs[0].moments)
    return wishes.apply(to: cut(rich(whole), Self.headCuts[0]))
  }

  /// What would need less than `least`, and how much.
  private func remedies(below least: Int) throws -> [(change: String, least: Int)] {
    var changes: [(String, TrainingPlanner)] = []
    if rowLength > 16 {
      changes.append(("--max-length \(rowLength / 2)", try variant(rowLength: rowLength / 2)))
    }
    for change in tuning.smaller(for: model) {
      changes.append((change.option, try variant(tuning: change.configuration)))
    }
    return try changes.map { ($0.0, try $0.1.least()) }.filter { $0.1 < least }
  }

  private func variant(rowLength: Int? = nil, tuning: (any TuningConfiguration)? = nil) throws -> TrainingPlanner {
    try TrainingPlanner(
      model: model, tuning: tuning ?? self.tuning, precision: precision, pool: pool, rowsPerStep: rowsPerStep,
      microBatchSize: microBatchSize, rowLength: rowLength ?? self.rowLength, processByteCount: processByteCount,
      pastPeakByteCount: pastPeakByteCount, spillDirectory: spillDirectory, speed: speed, wishes: wishes,
      optimizer: optimizer, sampleRoom: sampleRoom)
  }

  // MARK: Candidates

  /// A step of the ladder from what changes no result to what changes more of it.
  struct Rung {
    let inputs: [LayerInputFormat]
    let moments: MomentFormat

    func holds(_ strategy: TrainingStrategy) -> Bool {
      inputs.contains(strategy.layerInputs) && moments == strategy.optimizerMoments
    }
  }

  /// In the order in which they are tried: what is lossless, then inputs of layers in fewer bits, moments last.
  var rungs: [Rung] {
    (wishes.optimizerMoments.map { [$0] } ?? (optimizer == .adamw ? [.f32, .int8] : [.f32])).flatMap { moments in
      [true, false].map { isLossless in
        Rung(inputs: inputFormats.filter { $0.isLossless == isLossless }, moments: moments)
      }
    }.filter { !$0.inputs.isEmpty }
  }

  /// A strategy with nothing kept and nothing resident, and what it needs.
  private struct Candidate {
    let strategy: TrainingStrategy
    let byteCount: Int
    /// The time that it would take if memory were no matter.
    let leastSeconds: Double
  }

  /// Cuts of the head, from fast to frugal: tokens of a chunk and logits of a slice.
  private static let headCuts: [(rows: Int, columns: Int)] = [
    (256, .max), (128, .max), (64, .max), (16, .max), (256, 8192), (256, 2048), (64, 1024),
  ]

  private var inputFormats: [LayerInputFormat] { wishes.layerInputs.map { [$0] } ?? [.f32, .spilled, .bf16, .int8] }

  /// `strategy` with everything kept and resident.
  private func rich(_ strategy: TrainingStrategy) -> TrainingStrategy {
    var strategy = strategy
    strategy.keptAttentionLayers = model.layers.count
    strategy.keptFeedForwardLayers = model.layers.count
    strategy.residentLayers = model.layers.count
    strategy.isHeadResident = true
    return strategy
  }

  private func base(
    group: Int, micro: Int, feedForward: Int, inputs: LayerInputFormat, moments: MomentFormat
  ) -> TrainingStrategy {
    TrainingStrategy(
      groupRows: group, microBatchSize: micro, feedForwardTokens: feedForward, keptAttentionLayers: 0,
      keptFeedForwardLayers: 0, layerInputs: inputs, optimizerMoments: moments, headRows: 16, residentLayers: 0,
      isHeadResident: false)
  }

  private func cut(_ strategy: TrainingStrategy, _ cut: (rows: Int, columns: Int)) -> TrainingStrategy {
    let block = LanguageModelHead.groupRows
    let most = (strategy.microBatchSize * rowLength + block - 1) / block * block
    var strategy = strategy
    strategy.headRows = min(cut.rows, most)
    strategy.headColumns = cut.columns
    return strategy
  }

  private func candidates(_ rung: Rung) throws -> [Candidate] {
    var result: [Candidate] = []
    for micro in divisors(of: microBatchSize) {
      let groups = Set([rowsPerStep, microBatchSize, micro]).filter { $0 % micro == 0 }.sorted()
      for group in groups {
        let parts = [Int.max, 512, 256, 128].filter { $0 == .max || $0 < micro * rowLength }
        for part in parts {
          for inputs in rung.inputs {
            let strategy = base(
              group: group, micro: micro, feedForward: part, inputs: inputs, moments: rung.moments)
            for option in Self.headCuts {
              let candidate = wishes.apply(to: cut(strategy, option))
              result.append(
                Candidate(
                  strategy: candidate, byteCount: try byteCount(candidate),
                  leastSeconds: seconds(wishes.apply(to: rich(candidate)))))
            }
          }
        }
      }
    }
    return result
  }

  private func divisors(of number: Int) -> [Int] { (1...number).reversed().filter { number % $0 == 0 } }

  // MARK: Filling

  /// Spends what a candidate leaves of the budget on what saves most time per byte.
  private func fill(_ candidate: Candidate, budget: Int) throws -> TrainingStrategy {
    let layers = model.layers.count
    var strategy = candidate.strategy
    // Every step of the way is checked against the real figure, because parts overlap.
    let improvements: [(TrainingStrategy, Int) -> TrainingStrategy] = [
      {
        var s = $0
        s.keptFeedForwardLayers = max(s.keptFeedForwardLayers, $1)
        return s
      },
      {
        var s = $0
        s.keptAttentionLayers = max(s.keptAttentionLayers, $1)
        return s
      },
      {
        var s = $0
        s.residentLayers = max(s.residentLayers, $1)
        return s
      },
      {
        var s = $0
        if $1 == layers { s.isHeadResident = true }
        return s
      },
    ]
    let start = seconds(strategy)
    let bytes = candidate.byteCount
    let ranked = try improvements.map {
      improve -> (gain: Double, improve: (TrainingStrategy, Int) -> TrainingStrategy) in
      let whole = wishes.apply(to: improve(strategy, layers))
      let saved = start - (seconds(whole))
      return (saved / Double(max(1, try byteCount(whole) - bytes)), improve)
    }.filter { $0.gain > 0 }.sorted { $0.gain > $1.gain }
    for option in ranked {
      let fits = try BudgetSearch.most(layers, within: budget) {
        try byteCount(wishes.apply(to: option.improve(strategy, $0)))
      }
      strategy = wishes.apply(to: option.improve(strategy, fits))
    }
    return strategy
  }

  private func seconds(_ strategy: TrainingStrategy) -> Double { seconds(cost(strategy)) }

  /// Of a step of each run that goes through the weights together with this one.
  private func seconds(_ cost: StepCost) -> Double { cost.seconds(speed, together: companions.count + 1) }

  private func cost(_ strategy: TrainingStrategy) -> StepCost {
    StepCost(
      model: model, strategy: strategy, rows: rowsPerStep, rowLength: rowLength, methodProducts: methodProducts,
      residency: WeightResidency(model: model, strategy: strategy))
  }

  // MARK: Figures

  /// Predicted seconds of a step of `plan` that has other rows than the longest ones.
  ///
  /// - Parameters:
  ///   - rows: of the step
  ///   - rowLength: tokens of each
  ///   - attentionLength: tokens that attend to each other
  public func seconds(of plan: TrainingPlan, rows: Int, rowLength: Int, attentionLength: Int) -> Double {
    StepCost(
      model: model, strategy: plan.strategy, rows: rows, rowLength: rowLength, attentionLength: attentionLength,
      methodProducts: methodProducts, residency: WeightResidency(model: model, strategy: plan.strategy)
    ).seconds(speed)
  }

  private func makeMemory(_ strategy: TrainingStrategy, arena: Arena) throws -> TrainingMemory {
    TrainingMemory(
      model: model, method: try reserveMethod(tokens: strategy.microBatchSize * rowLength, arena: arena),
      strategy: strategy, rowLength: rowLength, precision: precision, spillDirectory: spillDirectory,
      optimizer: optimizer, sampleRoom: sampleRoom, pool: pool, arena: arena)
  }

  private func reserveMethod(tokens: Int, arena: Arena) throws -> any TuningMethod {
    guard arena.isCounting else {
      return try tuning.reserve(for: model, in: TuningRoom(arena: arena, trainingTokens: tokens))
    }
    if let (method, buffers) = countedMethods.values[tokens] {
      arena.count(buffers)
      return method
    }
    let start = arena.buffers.count
    let method = try tuning.reserve(for: model, in: TuningRoom(arena: arena, trainingTokens: tokens))
    countedMethods.values[tokens] = (method, Array(arena.buffers[start...]))
    return method
  }

  /// What one of several runs that share process and weights needs.
  private func share(_ strategy: TrainingStrategy) throws -> RunShare {
    if let share = knownShares.values[strategy] { return share }
    let memory = try makeMemory(strategy, arena: .counting)
    let kinds = MemoryPlan(buffers: memory.arena.buffers).byteCountByKind
    let buffers = kinds.map { PlannedBuffer(name: "of another run", kind: $0.kind, byteCount: $0.byteCount) }
    let heap = PlannedBuffer(name: "heap of another run's step", kind: .process, byteCount: Self.companionHeapBytes)
    let share = RunShare(
      buffers: buffers + [heap],
      passingByteCount: memory.workspace.passingByteCount - memory.workspace.residency.readAheadByteCount)
    knownShares.values[strategy] = share
    return share
  }

  private func memoryPlan(_ memory: TrainingMemory) throws -> MemoryPlan {
    let shares = try companions.flatMap { try $0.share(memory.strategy).buffers }
    var plan = MemoryPlan(
      buffers: [
        PlannedBuffer(name: "mapped store", kind: .weights, byteCount: memory.workspace.residency.residentByteCount),
        PlannedBuffer(name: "process", kind: .process, byteCount: processByteCount),
        PlannedBuffer(name: "heap of a step", kind: .process, byteCount: Self.stepHeapBytes),
      ] + memory.arena.buffers + shares)
    let reading = pastPeakByteCount - plan.byteCount
    if reading > 0 {
      plan.buffers.append(PlannedBuffer(name: "reading, before training", kind: .data, byteCount: reading))
    }
    return plan
  }

  /// What batches, records and the libraries' code that a step is the first to touch come to.
  private static let stepHeapBytes = 6 << 20
  /// The same of a run beside another one, whose code it shares; with its thread.
  private static let companionHeapBytes = 1 << 20

  /// What has to fit the budget: the peak, and what only a limit that counts the page cache sees.
  private func byteCount(_ strategy: TrainingStrategy) throws -> Int {
    if let byteCount = known.values[strategy] { return byteCount }
    let memory = try makeMemory(strategy, arena: .counting)
    let passing = try companions.reduce(memory.workspace.passingByteCount) {
      ByteCount.sum($0, try $1.share(strategy).passingByteCount)
    }
    let byteCount = ByteCount.sum(try memoryPlan(memory).byteCount, passing)
    known.values[strategy] = byteCount
    return byteCount
  }

  func finish(_ strategy: TrainingStrategy, budget: Int?) throws -> TrainingPlan {
    let memory = try makeMemory(strategy, arena: .counting)
    return TrainingPlan(
      strategy: strategy, memory: try memoryPlan(memory), cost: cost(strategy), speed: speed, budget: budget,
      rowsPerStep: rowsPerStep, rowLength: rowLength, layerCount: model.layers.count,
      vocabularySize: model.description.head.weight?.shape[0] ?? 0,
      trainableParameters: memory.method.trainables.parameters.count, optimizer: optimizer,
      together: companions.count + 1)
  }

  /// The memory of a plan: as many bytes of addresses as it counted, not yet committed.
  public func memory(of plan: TrainingPlan) throws -> TrainingMemory {
    let counted = try makeMemory(plan.strategy, arena: .counting)
    return try makeMemory(plan.strategy, arena: try Arena(reserving: counted.arena.byteCount))
  }
}

/// What is known already; all copies of a planner know it.
final class Known<Key: Hashable, Value> {
  var values: [Key: Value] = [:]
}

/// The memory of one of several runs that share process and weights.
struct RunShare {
  let buffers: [PlannedBuffer]
  /// On its way to storage or from it at the worst moment.
  let passingByteCount: Int
}
