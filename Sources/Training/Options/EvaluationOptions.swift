import Options

/// When a run evaluates, and what it makes of the figures.
public struct EvaluationOptions: Sendable {
  /// When, beside the first time and the last.
  public enum Strategy: String, Sendable, CaseIterable { case no, steps, epoch }

  public var strategy: Strategy
  /// Between two evaluations, with `steps`.
  public var steps: Int
  public var onStart: Bool
  public var loadBest: Bool
  /// Name of the figure that says which evaluation is the best, with `eval_` in front.
  public var metric: String
  public var greaterIsBetter: Bool
  /// Evaluations in a row without a better figure that end the run; `nil` to go on whatever they say.
  public var patience: Int?
  /// By which a figure must be better to count as better for `patience`.
  public var threshold: Double
  /// A file of prompts that are answered whenever there is an evaluation.
  public var samplePrompts: String?
  /// Tokens of such an answer at most.
  public var sampleTokens: Int

  static let declarations: [OptionDeclaration] = [
    .init("eval-steps", "N", default: "0", "evaluate every N steps; 0: at the end"),
    .init(
      "eval-strategy", "KIND", aliases: ["evaluation-strategy"],
      "no (at the end only), steps (every --eval-steps) or epoch"),
    .init("no-eval-on-start", nil, "do not evaluate before the first step"),
    .init("load-best-model-at-end", nil, "the adapter is that of the best evaluation instead of the last step"),
    .init("metric-for-best-model", "NAME", default: "loss", "figure that says which evaluation is the best"),
    .init(
      "greater-is-better", "BOOL", "whether it is better when greater (default: false for loss and error, else true)"),
    .init("early-stopping-patience", "N", "end after N evaluations in a row that were not better"),
    .init(
      "early-stopping-threshold", "X", default: "0", "by which an evaluation must be better to count for the patience"),
    .init(
      "sample-prompts", "FILE",
      "answer these at every evaluation: a prompt a line, or JSON lines with prompt or messages"),
    .init("sample-max-new-tokens", "N", default: "64", "tokens of such an answer at most"),
  ]

  init(_ values: OptionValues) throws {
    steps = try values.number("eval-steps", in: 0...1_000_000_000)
    onStart = !values.flag("no-eval-on-start")
    loadBest = values.flag("load-best-model-at-end")
    let name = try values.required("metric-for-best-model")
    metric = name.hasPrefix("eval_") ? name : "eval_" + name
    switch values.text("greater-is-better") {
    case "true": greaterIsBetter = true
    case "false": greaterIsBetter = false
    case nil: greaterIsBetter = !["loss", "error", "perplexity", "mse"].contains { name.hasSuffix($0) }
    case let text?: throw OptionError("--greater-is-better \(text): expected true or false")
    }
    patience = try values.optionalNumber("early-stopping-patience", in: 1...1_000_000)
    threshold = try values.number("early-stopping-threshold", in: 0...1e9)
    samplePrompts = values.text("sample-prompts")
    sampleTokens = try values.number("sample-max-new-tokens", in: 1...100_000)
    let needsMany = loadBest || patience != nil
    strategy =
      try values.optionalChoice("eval-strategy", Strategy.self) ?? (steps > 0 ? .steps : needsMany ? .epoch : .no)
    if strategy == .steps, steps == 0 { throw OptionError("--eval-strategy steps needs --eval-steps") }
    if strategy == .no, needsMany {
      throw OptionError(
        "--eval-strategy no: \(loadBest ? "--load-best-model-at-end" : "--early-stopping-patience") needs several "
          + "evaluations")
    }
  }

  /// The option that asks for evaluations, if one does and there is no data for them.
  ///
  /// - Parameter evaluates: whether there is such data
  func missing(evaluates: Bool) -> String? {
    if evaluates { return nil }
    if loadBest { return "--load-best-model-at-end" }
    if patience != nil { return "--early-stopping-patience" }
    if samplePrompts != nil { return nil }
    switch strategy {
    case .steps: return steps > 0 ? "--eval-steps" : nil
    case .epoch: return "--eval-strategy epoch"
    case .no: return nil
    }
  }

  /// Whether the run evaluates after so many steps.
  func isDue(after step: Int, stepsPerEpoch: Int, last: Int) -> Bool {
    if step == last { return true }
    return switch strategy {
    case .no: false
    case .steps: step % steps == 0
    case .epoch: step % stepsPerEpoch == 0
    }
  }
}
