import Formats
import Kernels
import Memory
import Options
import Transformer

/// A budget that no plan can meet.
public struct PlanError: Error, CustomStringConvertible {
  public let budget: Int
  /// The least that works, in bytes.
  public let least: Int
  /// What that least keeps in fewer bits.
  public let losses: [String]
  /// Changes that would help, and the least with each.
  public let remedies: [(change: String, least: Int)]

  /// The same with a little to spare in what it names: another process has not to the byte what this one has.
  public func sparing(_ byteCount: Int) -> PlanError {
    PlanError(
      budget: budget, least: ByteCount.sum(least, byteCount), losses: losses,
      remedies: remedies.map { ($0.change, ByteCount.sum($0.least, byteCount)) })
  }

  public var description: String {
    let others = remedies.filter { ByteCount.megabytes($0.least) != ByteCount.megabytes(least) }
      .map { "with \($0.change): \(ByteCount.megabytes($0.least))" }.joined(separator: "; ")
    let cost = losses.isEmpty ? "" : ", with \(losses.joined(separator: " and ")) (lossy)"
    return "the budget of \(ByteCount.text(budget)) cannot be met: the least that works is --max-mem "
      + ByteCount.megabytes(least) + cost + (others.isEmpty ? "" : "\n       " + others)
  }
}

/// What a run will do and use: the fastest way that fits the budget.
public struct TrainingPlan: Sendable {
  public let strategy: TrainingStrategy
  public let memory: MemoryPlan
  public let cost: StepCost
  public let speed: MachineSpeed
  /// `--max-mem`, in bytes; `nil` without a limit.
  public let budget: Int?
  /// Rows of an optimiser step.
  public let rowsPerStep: Int
  public let rowLength: Int
  public let layerCount: Int
  /// Logits of a token; 0 where the head says labels.
  public let vocabularySize: Int
  public let trainableParameters: Int
  public let optimizer: OptimizerKind
  /// Runs that go through the weights together, of which this is one; `memory` is that of all of them.
  public var together = 1

  /// Predicted peak of resident memory of the process, in bytes.
  public var predictedPeakBytes: Int { memory.byteCount }
  /// Predicted speed, in tokens per second.
  public var predictedTokensPerSecond: Double {
    Double(rowsPerStep * rowLength) / max(cost.seconds(speed, together: together), 1e-9)
  }

  /// Whether weights pass through.
  public var streams: Bool { cost.weightBytes > 0 }

  /// Bytes of weights and layer inputs that a step reads again, from the page cache or from storage.
  public var bytesReadPerStep: Int { Int(cost.weightBytes + cost.spilledBytes / 2) }

  /// The plan as `summary.json` and `plan --json` hold it.
  public var json: JSONValue {
    var kinds = JSONObject()
    for (kind, byteCount) in memory.byteCountByKind { kinds[kind.rawValue] = .integer(byteCount) }
    var object = JSONObject()
    for (key, value) in strategyEntries { object[key] = value }
    object["row_length"] = .integer(rowLength)
    object["rows_per_step"] = .integer(rowsPerStep)
    if together > 1 { object["runs_together"] = .integer(together) }
    object["optimizer"] = .string(optimizer.rawValue)
    object["trainable_parameters"] = .integer(trainableParameters)
    object["budget_bytes"] = budget.map { .integer($0) } ?? .null
    object["predicted_peak_bytes"] = .integer(predictedPeakBytes)
    object["predicted_tokens_per_second"] = .number(predictedTokensPerSecond)
    object["operations_per_step"] = .number(2 * (cost.products + cost.floats))
    object["bytes_read_per_step"] = .integer(bytesReadPerStep)
    object["bytes"] = .object(kinds)
    object["machine"] = .object(
      JSONObject([
        ("product_multiply_adds_per_second", .number(speed.products)),
        ("float_multiply_adds_per_second", .number(speed.floats)), ("read_bytes_per_second", .number(speed.read)),
        ("spill_bytes_per_second", .number(speed.spill)),
      ]))
    return .object(object)
  }

  /// The choices, as `--plan FILE` reads them.
  private var strategyEntries: [(String, JSONValue)] {
    [
      ("micro_batch_size", .integer(strategy.microBatchSize)), ("group_rows", .integer(strategy.groupRows)),
      ("feed_forward_tokens", .integer(min(strategy.feedForwardTokens, strategy.microBatchSize * rowLength))),
      ("kept_attention_layers", .integer(min(strategy.keptAttentionLayers, layerCount))),
      ("kept_feed_forward_layers", .integer(min(strategy.keptFeedForwardLayers, layerCount))),
      ("layer_inputs", .string(strategy.layerInputs.rawValue)),
      ("optimizer_moments", .string(strategy.optimizerMoments.rawValue)), ("head_rows", .integer(strategy.headRows)),
      ("head_columns", .integer(min(strategy.headColumns, vocabularySize))),
      ("resident_layers", .integer(min(strategy.residentLayers, layerCount))),
      ("resident_head", .bool(strategy.isHeadResident)),
    ]
  }

  /// The plan as a table for people.
  public var table: String {
    let inputs =
      strategy.layerInputs.rawValue + (strategy.layerInputs.isLossless ? "" : " (lossy: gradients change a little)")
    let moments =
      optimizer == .adamw
      ? "optimiser moments: " + strategy.optimizerMoments.rawValue
        + (strategy.optimizerMoments.isLossless ? "" : " (lossy: updates change a little)")
      : "optimiser: " + optimizer.rawValue
    var lines = [
      "\(rowsPerStep) x \(rowLength) tokens a step, \(strategy.groupRows) rows in one pass over the weights, "
        + "\(strategy.microBatchSize) at a time; \(trainableParameters) trainable parameters",
      "activations kept for attention in \(min(strategy.keptAttentionLayers, layerCount)) and feed-forward in "
        + "\(min(strategy.keptFeedForwardLayers, layerCount)) of \(layerCount) layers, the others are computed again; "
        + "layer inputs: \(inputs); \(moments)",
      "weights of \(min(strategy.residentLayers, layerCount)) of \(layerCount) layers"
        + (vocabularySize == 0
          ? " stay" : strategy.isHeadResident ? " and the vocabulary stay" : " stay, the vocabulary passes through")
        + (vocabularySize == 0
          ? ""
          : "; head in chunks of \(strategy.headRows) tokens x \(min(strategy.headColumns, vocabularySize)) logits"),
    ].map { TerminalText.wrapped($0, indent: 2) }
    for (kind, byteCount) in memory.byteCountByKind {
      let name = kind.rawValue.padding(to: 16)
      lines.append("  \(name)\(ByteCount.text(byteCount).padding(to: 12))\(kind.explanation)")
    }
    let limit = budget.map { " of \(ByteCount.text($0))" } ?? ""
    lines.append("  \("sum".padding(to: 16))\(ByteCount.text(predictedPeakBytes))\(limit)")
    lines.append(
      "per step: \(Self.decimal(2 * (cost.products + cost.floats) / 1e9)) GOP, "
        + "\(ByteCount.text(bytesReadPerStep)) read again; "
        + "about \(Int(predictedTokensPerSecond)) tokens/s")
    return lines.joined(separator: "\n")
  }

  /// One line of a comparison of budgets.
  public static func comparison(_ plans: [TrainingPlan]) -> String {
    var lines = [row(["--max-mem", "peak", "tokens/s", "read/step", "kept (att/ff)", "resident"])]
    for plan in plans {
      lines.append(
        row([
          plan.budget.map(ByteCount.megabytes) ?? "", ByteCount.text(plan.predictedPeakBytes),
          "\(Int(plan.predictedTokensPerSecond))", ByteCount.text(plan.bytesReadPerStep),
          "\(min(plan.strategy.keptAttentionLayers, plan.layerCount))/"
            + "\(min(plan.strategy.keptFeedForwardLayers, plan.layerCount)) of \(plan.layerCount)",
          "\(min(plan.strategy.residentLayers, plan.layerCount)) layers"
            + (plan.strategy.isHeadResident ? ", vocabulary" : ""),
        ]))
      if !plan.strategy.losses.isEmpty {
        lines.append(row(["", "lossy: \(plan.strategy.losses.joined(separator: ", "))"]))
      }
    }
    return lines.joined(separator: "\n")
  }

  private static func row(_ cells: [String]) -> String {
    let left = "  " + zip(cells.dropLast(), [10, 11, 10, 11, 14]).map { $0.padding(to: $1) }.joined()
    return left + TerminalText.wrapped(cells.last ?? "", indent: left.count, used: left.count)
  }

  private static func decimal(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }
}

extension String {
  func padding(to width: Int) -> String { self + String(repeating: " ", count: max(1, width - count)) }
}

extension ByteCount {
  /// Whole mebibytes, rounded up, as `--max-mem` takes them.
  static func megabytes(_ byteCount: Int) -> String { "\((byteCount + (1 << 20) - 1) >> 20)M" }
}

extension MemoryKind {
  fileprivate var explanation: String {
    switch self {
    case .weights: "the part of the store that is in memory at a time"
    case .adapter: "LoRA parameters and their scratch"
    case .gradients: "of the LoRA parameters"
    case .optimizer: "what the optimiser remembers"
    case .activations: "kept between forward and backward"
    case .recomputation: "working memory that all layers share"
    case .attention: "tiles, rotary table"
    case .head: "one chunk of tokens, and around"
    case .panels: "decoded weights and quantised rows"
    case .data: "reading the data, before training"
    case .process: "program, libraries, tokenizer, data"
    }
  }
}
