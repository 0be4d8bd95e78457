import Adapters
import Formats
import Kernels
import Memory
import Transformer

/// A budget that no plan can meet, or that cannot be read.
public enum PlanError: Error, CustomStringConvertible {
  case budgetTooSmall(budget: Int, least: Int, rowLength: Int)

  public var description: String {
    switch self {
    case .budgetTooSmall(let budget, let least, let rowLength):
      "the budget of \(ByteCount.text(budget)) cannot be met: the least that works is \(ByteCount.text(least))"
        + " (--max-mem \((least + (1 << 20) - 1) >> 20)M)\n"
        + "       a shorter --max-length (now \(rowLength)), a smaller --rank or a 4-bit store needs less"
    }
  }
}

/// What a run will do and use: the fastest choice that fits the budget.
public struct TrainingPlan: Sendable {
  public let choice: TrainingMemory.Choice
  public let memory: MemoryPlan
  /// `--max-mem`, in bytes; `nil` without a limit.
  public let budget: Int?
  public let rowLength: Int
  public let layerCount: Int
  public let trainableParameters: Int

  /// Predicted peak of resident memory of the process, in bytes.
  public var predictedPeakBytes: Int { memory.byteCount }

  /// The plan as `summary.json` and `plan --json` hold it.
  public var json: JSONValue {
    var kinds = JSONObject()
    for (kind, byteCount) in memory.byteCountByKind { kinds[kind.rawValue] = .integer(byteCount) }
    var object = JSONObject()
    object["micro_batch_size"] = .integer(choice.microBatchSize)
    object["gradient_accumulation_steps"] = .integer(choice.accumulationSteps)
    object["row_length"] = .integer(rowLength)
    object["kept_layers"] = .integer(choice.keptLayers)
    object["recomputed_layers"] = .integer(layerCount - choice.keptLayers)
    object["head_rows"] = .integer(choice.headRows)
    object["trainable_parameters"] = .integer(trainableParameters)
    object["budget_bytes"] = budget.map { .integer($0) } ?? .null
    object["predicted_peak_bytes"] = .integer(predictedPeakBytes)
    object["bytes"] = .object(kinds)
    return .object(object)
  }

  /// The plan as a table for people.
  public var table: String {
    var lines = [
      "micro-batch \(choice.microBatchSize) x \(rowLength) tokens, \(choice.accumulationSteps) per step; "
        + "activations kept in \(choice.keptLayers) of \(layerCount) layers, the others computed twice; "
        + "head in chunks of \(choice.headRows) tokens; \(trainableParameters) trainable parameters"
    ]
    for (kind, byteCount) in memory.byteCountByKind {
      let name = kind.rawValue.padding(to: 16)
      lines.append("  \(name)\(ByteCount.text(byteCount).padding(to: 12))\(kind.explanation)")
    }
    let limit = budget.map { " of \(ByteCount.text($0))" } ?? ""
    lines.append("  \("sum".padding(to: 16))\(ByteCount.text(predictedPeakBytes))\(limit)")
    return lines.joined(separator: "\n")
  }
}

extension String {
  fileprivate func padding(to width: Int) -> String { self + String(repeating: " ", count: max(1, width - count)) }
}

extension MemoryKind {
  fileprivate var explanation: String {
    switch self {
    case .weights: "the mapped store and copied norms"
    case .adapter: "LoRA parameters and their scratch"
    case .gradients: "of the LoRA parameters"
    case .optimizer: "AdamW moments"
    case .activations: "kept between forward and backward"
    case .recomputation: "shared by all layers"
    case .attention: "tiles, rotary table"
    case .head: "logits of one chunk and around"
    case .panels: "decoded weights and quantised rows"
    case .data: "tokenised samples"
    case .process: "program, libraries, tokenizer, data"
    }
  }
}

/// Finds the fastest way to train that keeps the whole process inside a budget.
public struct TrainingPlanner {
  let model: CausalLanguageModel
  let adapter: LowRankConfiguration
  let precision: Precision
  let pool: ThreadPool
  /// Rows per micro-batch that the user asked for, and micro-batches per step.
  let microBatchSize: Int
  let accumulationSteps: Int
  let rowLength: Int
  /// Resident bytes of the process before the plan's buffers, with data and tokenizer loaded.
  let processByteCount: Int

  public init(
    model: CausalLanguageModel, adapter: LowRankConfiguration, precision: Precision, pool: ThreadPool,
    microBatchSize: Int, accumulationSteps: Int, rowLength: Int, processByteCount: Int
  ) {
    self.model = model
    self.adapter = adapter
    self.precision = precision
    self.pool = pool
    self.microBatchSize = microBatchSize
    self.accumulationSteps = accumulationSteps
    self.rowLength = rowLength
    self.processByteCount = processByteCount
  }

  /// - Parameter budget: bytes for the whole process; `nil` for no limit
  /// - Returns: the plan, and its memory, not yet committed
  /// - Throws: `PlanError.budgetTooSmall`
  public func plan(budget: Int?) throws -> (plan: TrainingPlan, memory: TrainingMemory) {
    let layers = model.layers.count
    var best: (cost: Double, choice: TrainingMemory.Choice)?
    var least = Int.max
    for microBatch in microBatchSizes {
      for headRows in [256, 128, 64, 32, 16] {
        let choice = TrainingMemory.Choice(
          microBatchSize: microBatch, accumulationSteps: microBatchSize / microBatch * accumulationSteps,
          keptLayers: 0, headRows: headRows)
        let none = try byteCount(choice)
        least = min(least, none)
        guard let budget else {
          if best == nil { best = (0, choice.keeping(layers)) }
          continue
        }
        if none > budget { continue }
        let kept = try mostKeptLayers(choice, budget: budget)
        let cost = relativeTime(choice.keeping(kept))
        if best.map({ cost < $0.cost }) ?? true { best = (cost, choice.keeping(kept)) }
      }
    }
    guard let best else {
      throw PlanError.budgetTooSmall(budget: budget ?? 0, least: least, rowLength: rowLength)
    }
    let memory = try makeMemory(best.choice)
    let plan = TrainingPlan(
      choice: best.choice, memory: memoryPlan(memory), budget: budget, rowLength: rowLength, layerCount: layers,
      trainableParameters: memory.adapters.parameters.count)
    return (plan, memory)
  }

  /// Divisors of the wanted micro-batch, so that the accumulated gradient is that of the whole.
  private var microBatchSizes: [Int] {
    (1...microBatchSize).reversed().filter { microBatchSize % $0 == 0 }
  }

  private func makeMemory(_ choice: TrainingMemory.Choice) throws -> TrainingMemory {
    try TrainingMemory(
      model: model, adapter: adapter, choice: choice, rowLength: rowLength, precision: precision, pool: pool)
  }

  private func memoryPlan(_ memory: TrainingMemory) -> MemoryPlan {
    MemoryPlan(
      buffers: [
        PlannedBuffer(name: "mapped store", kind: .weights, byteCount: model.store.weightByteCount),
        PlannedBuffer(name: "process", kind: .process, byteCount: processByteCount),
      ] + memory.arena.buffers)
  }

  private func byteCount(_ choice: TrainingMemory.Choice) throws -> Int {
    try memoryPlan(makeMemory(choice)).byteCount
  }

  /// Memory grows with the kept layers, so the most that fits is found by bisection.
  private func mostKeptLayers(_ choice: TrainingMemory.Choice, budget: Int) throws -> Int {
    var fits = 0
    var tooMany = model.layers.count + 1
    while tooMany - fits > 1 {
      let middle = (fits + tooMany) / 2
      if try byteCount(choice.keeping(middle)) <= budget { fits = middle } else { tooMany = middle }
    }
    return fits
  }

  /// Time of a step relative to the best: a recomputed layer costs half of its forward and backward again, and every
  /// product pays for decoding the weights, which is worth that of about 32 rows.
  private func relativeTime(_ choice: TrainingMemory.Choice) -> Double {
    let recomputed = 1 - Double(choice.keptLayers) / Double(model.layers.count)
    let decode = 1 + 32 / Double(choice.microBatchSize * rowLength)
    let headDecode = 0.2 * (1 + 32 / Double(choice.headRows))
    return (1 + 0.5 * recomputed) * decode + headDecode
  }
}

extension TrainingMemory.Choice {
  fileprivate func keeping(_ layers: Int) -> Self {
    var choice = self
    choice.keptLayers = layers
    return choice
  }
}
