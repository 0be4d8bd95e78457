/// `adapter_config.json` of a plain LoRA adapter: what `PEFTLoRA` says, once all that is not supported is refused.
public struct PEFTAdapterConfig: Sendable, Equatable {
  public enum TargetModules: Sendable, Equatable {
    case names([String])
    case pattern(String)
  }

  /// What this program cannot honour, or cannot read.
  public struct Unsupported: Error, CustomStringConvertible {
    public let file: String
    public let reason: String

    public init(file: String, reason: String) {
      self.file = file
      self.reason = reason
    }

    public var description: String { "\(file): \(reason)" }
  }

  public var rank: Int
  public var alpha: Double
  public var dropout: Double
  public var targetModules: TargetModules
  public var useRSLoRA: Bool
  /// Whether the base keeps weights transposed, as GPT-2 does.
  public var fanInFanOut: Bool
  public var baseModel: String
  /// What the model does: `CAUSAL_LM`, `SEQ_CLS`, `TOKEN_CLS`.
  public var taskType = "CAUSAL_LM"
  /// Modules that are trained whole.
  public var modulesToSave: [String] = []

  public init(
    rank: Int, alpha: Double, dropout: Double, targetModules: TargetModules, useRSLoRA: Bool,
    fanInFanOut: Bool = false, baseModel: String
  ) {
    self.rank = rank
    self.alpha = alpha
    self.dropout = dropout
    self.targetModules = targetModules
    self.useRSLoRA = useRSLoRA
    self.fanInFanOut = fanInFanOut
    self.baseModel = baseModel
  }

  static let name = "adapter_config.json"

  /// - Throws: `Unsupported` for whatever `whatIsNotSupported(in:)` finds
  public static func load(directory: String) throws -> PEFTAdapterConfig {
    let path = "\(directory)/\(name)"
    let json = try JSONValue.parse(contentsOf: path)
    func refuse(_ reason: String) -> Unsupported { Unsupported(file: path, reason: reason) }
    let method = json["peft_type"]?.stringValue ?? "missing"
    guard method == "LORA" else { throw refuse("peft_type is \(method), expected LORA") }
    guard case .lora(let lora) = try PEFTConfiguration(json: json, file: path) else {
      throw refuse("peft_type is \(method), expected LORA")
    }
    if let reason = whatIsNotSupported(in: lora) { throw refuse(reason) }
    let targets: TargetModules =
      switch lora.targetModules {
      case .names(let names): .names(names)
      case .pattern(let pattern): .pattern(pattern)
      case .allLinear: .pattern("all-linear")
      case nil: throw refuse("target_modules is neither a list of names nor a pattern")
      }
    var file = PEFTAdapterConfig(
      rank: lora.rank, alpha: lora.alpha, dropout: lora.dropout, targetModules: targets, useRSLoRA: lora.useRSLoRA,
      fanInFanOut: lora.fanInFanOut, baseModel: lora.common.baseModel ?? "")
    file.taskType = lora.common.taskType ?? "CAUSAL_LM"
    file.modulesToSave = lora.common.modulesToSave
    return file
  }

  /// The one list of what an adapter may state and the program cannot honour; a line goes when it can.
  static func whatIsNotSupported(in lora: PEFTLoRA) -> String? {
    if lora.useDoRA { return "use_dora is not supported" }
    if lora.bias != "none" { return "bias is \(lora.bias), expected none" }
    if lora.loraBias { return "lora_bias is not supported" }
    let heads = ["SEQ_CLS", "TOKEN_CLS"].contains(lora.common.taskType) ? headModules : []
    if let other = lora.common.modulesToSave.first(where: { !heads.contains($0) }) {
      return "modules_to_save with \(other) is not supported"
    }
    if lora.excludeModules != nil { return "exclude_modules is not supported" }
    if !lora.rankPattern.isEmpty { return "rank_pattern is not supported" }
    if !lora.alphaPattern.isEmpty { return "alpha_pattern is not supported" }
    if lora.layersToTransform != nil { return "layers_to_transform is not supported" }
    if !lora.layersPattern.isEmpty { return "layers_pattern is not supported" }
    if !lora.trainableTokens.isEmpty { return "trainable_token_indices is not supported" }
    // A frozen store cannot lose what the adapter starts with.
    if lora.initialisation.changesBase, case .named(let start) = lora.initialisation {
      return "init_lora_weights \(start) changes the base model; convert the adapter to plain LoRA with PEFT first"
    }
    return othersWithEffect.first { lora.others[$0] != nil }.map { "\($0) is not supported" }
  }

  /// What a model with labels may train whole: its head.
  private static let headModules: Set = ["classifier", "score", "pre_classifier"]

  /// Further keys that change the adapter; those that nobody knows are passed over, as PEFT does.
  private static let othersWithEffect = [
    "layer_replication", "target_parameters", "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config",
    "kasa_config", "monteclora_config",
  ]

  public func write(to directory: String) throws {
    let targets: JSONValue =
      switch targetModules {
      case .names(let names): .array(names.sorted().map { .string($0) })
      case .pattern(let pattern): .string(pattern)
      }
    let object = JSONObject([
      ("alpha_pattern", .object(JSONObject())),
      ("auto_mapping", .null),
      ("base_model_name_or_path", .string(baseModel)),
      ("bias", .string("none")),
      ("fan_in_fan_out", .bool(fanInFanOut)),
      ("inference_mode", .bool(true)),
      ("init_lora_weights", .bool(true)),
      ("lora_alpha", alpha == alpha.rounded() ? .integer(Int(alpha)) : .number(alpha)),
      ("lora_dropout", .number(dropout)),
      ("modules_to_save", modulesToSave.isEmpty ? .null : .array(modulesToSave.map { .string($0) })),
      ("peft_type", .string("LORA")),
      ("r", .integer(rank)),
      ("rank_pattern", .object(JSONObject())),
      ("revision", .null),
      ("target_modules", targets),
      ("task_type", .string(taskType)),
      ("use_dora", .bool(false)),
      ("use_rslora", .bool(useRSLoRA)),
    ])
    try OutputFile.write(JSONValue.object(object).serialized(pretty: true) + "\n", to: "\(directory)/\(Self.name)")
  }
}
