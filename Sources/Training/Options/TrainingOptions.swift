import Kernels
import Options

/// Everything that `train` and `plan` can be told; names and defaults are Hugging Face's where it has them.
public struct TrainingOptions: Sendable {
  /// Store or model folder; `nil` for the only one here.
  public var model: String?
  public var data: DataOptions
  public var task: TaskOptions
  public var method: MethodOptions
  public var optimization: OptimizationOptions
  public var plan: PlanOptions
  public var evaluation: EvaluationOptions
  public var output: OutputOptions
  private let values: OptionValues

  public static let declarations: [OptionDeclaration] =
    [.init("model", "DIR", aliases: ["model-name-or-path"], "store or model folder (default: the only one here)")]
    + DataOptions.declarations + TaskOptions.declarations + MethodOptions.declarations
    + OptimizationOptions.declarations + PlanOptions.declarations + EvaluationOptions.declarations
    + OutputOptions.declarations

  /// - Parameter given: by option name; switches have an empty list
  /// - Throws: `OptionError`
  public init(_ given: [String: [String]]) throws {
    let values = OptionValues(given, Self.declarations)
    self.values = values
    model = values.text("model")
    data = try DataOptions(values)
    task = try TaskOptions(values)
    method = try MethodOptions(values)
    optimization = try OptimizationOptions(values)
    plan = try PlanOptions(values)
    evaluation = try EvaluationOptions(values)
    output = try OutputOptions(values)
    try keepMoments()
    try checkGradientShare()
    if let option = evaluation.missing(evaluates: data.evaluates) {
      throw OptionError("\(option) needs --eval-data or --eval-split")
    }
  }

  /// What was given, by option name.
  var given: [String: [String]] { values.given }

  /// Name and value of the options that a resumed run must share with the one that wrote the checkpoint.
  ///
  /// AdamW is not named: its checkpoints are taken up with moments in either form, and are older than its name. So they
  /// are than a share of the parameters.
  var identity: [(String, String)] {
    let optimizer = optimization.optimizer.kind
    let share = optimization.gradientShare
    return values.identity.map { ($0.name, $0.value) } + (optimizer == .adamw ? [] : [("optim", optimizer.rawValue)])
      + (share == 1 ? [] : [("gradient-top-k", "\(share)")])
  }

  /// An update in part needs a state of each parameter alone.
  private func checkGradientShare() throws {
    guard optimization.gradientShare < 1 else { return }
    if optimization.optimizer == .adafactor {
      throw OptionError(
        "--gradient-top-k does not go with --optim adafactor, whose mean squares are of rows and columns")
    }
    if plan.wishes.optimizerMoments == .int8 {
      throw OptionError("--gradient-top-k does not go with moments in 8 bits, which a block of parameters shares")
    }
  }

  /// Makes the plan keep the moments that `--optim` names.
  private mutating func keepMoments() throws {
    let (optimizer, wished) = (optimization.optimizer, plan.wishes.optimizerMoments)
    if optimizer.kind != .adamw, wished == .int8 {
      throw OptionError("--optimizer-moments int8 is of AdamW; --optim \(optimizer.rawValue) keeps no such moments")
    }
    guard optimizer == .adamwIn8Bits else { return }
    if wished == .f32 { throw OptionError("--optim adamw_8bit and --optimizer-moments f32 contradict each other") }
    plan.wishes.optimizerMoments = .int8
  }
}
