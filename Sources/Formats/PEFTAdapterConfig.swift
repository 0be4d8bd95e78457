import Foundation

/// `adapter_config.json` of a LoRA adapter, as PEFT writes and reads it.
public struct PEFTAdapterConfig: Sendable, Equatable {
  public enum TargetModules: Sendable, Equatable {
    case names([String])
    case pattern(String)
  }

  /// What this program cannot honour, or cannot read.
  public struct Unsupported: Error, CustomStringConvertible {
    let file: String
    let reason: String
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

  public static func load(directory: String) throws -> PEFTAdapterConfig {
    let path = "\(directory)/\(name)"
    let json = try JSONValue.parse(contentsOf: path)
    func refuse(_ reason: String) -> Unsupported { Unsupported(file: path, reason: reason) }
    let method = json["peft_type"]?.stringValue ?? "missing"
    guard method == "LORA" else { throw refuse("peft_type is \(method), expected LORA") }
    if json["use_dora"]?.boolValue == true { throw refuse("use_dora is not supported") }
    if let bias = json["bias"]?.stringValue, bias != "none" { throw refuse("bias is \(bias), expected none") }
    for key in [
      "modules_to_save", "layers_to_transform", "layers_pattern", "layer_replication", "target_parameters",
      "trainable_token_indices", "exclude_modules", "use_qalora", "use_bdlora", "lora_bias", "alora_invocation_tokens",
      "arrow_config",
    ] {
      let value = json[key] ?? .null
      let isAbsent = value == .null || value == .bool(false) || value.arrayValue?.isEmpty == true
      if !isAbsent, value.stringValue != "" {
        throw refuse("\(key) is not supported")
      }
    }
    for key in ["rank_pattern", "alpha_pattern"] {
      if let entries = json[key]?.objectValue?.entries, !entries.isEmpty { throw refuse("\(key) is not supported") }
    }
    // These subtract what the adapter starts with from the base, which a frozen store cannot have.
    if let start = json["init_lora_weights"]?.stringValue?.lowercased(),
      ["pissa", "olora", "corda", "loftq"].contains(where: { start.hasPrefix($0) })
    {
      throw refuse(
        "init_lora_weights \(start) changes the base model; convert the adapter to plain LoRA with PEFT first")
    }
    guard let rank = json["r"]?.intValue, rank >= 1, rank <= 4096 else { throw refuse("r is not a rank (1 to 4096)") }
    guard let alpha = json["lora_alpha"]?.doubleValue, abs(alpha) <= 1e6 else {
      throw refuse("lora_alpha is not a number (up to a million)")
    }
    let dropout = json["lora_dropout"]?.doubleValue ?? 0
    guard (0..<1).contains(dropout) else { throw refuse("lora_dropout is not a number from 0 to below 1") }
    let targets: TargetModules
    if let pattern = json["target_modules"]?.stringValue {
      targets = .pattern(pattern)
    } else if let names = json["target_modules"]?.arrayValue?.compactMap(\.stringValue), !names.isEmpty {
      targets = .names(names)
    } else {
      throw refuse("target_modules is neither a list of names nor a pattern")
    }
    return PEFTAdapterConfig(
      rank: rank, alpha: alpha, dropout: dropout, targetModules: targets,
      useRSLoRA: json["use_rslora"]?.boolValue ?? false, fanInFanOut: json["fan_in_fan_out"]?.boolValue ?? false,
      baseModel: json["base_model_name_or_path"]?.stringValue ?? "")
  }

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
      ("modules_to_save", .null),
      ("peft_type", .string("LORA")),
      ("r", .integer(rank)),
      ("rank_pattern", .object(JSONObject())),
      ("revision", .null),
      ("target_modules", targets),
      ("task_type", .string("CAUSAL_LM")),
      ("use_dora", .bool(false)),
      ("use_rslora", .bool(useRSLoRA)),
    ])
    try OutputFile.write(JSONValue.object(object).serialized(pretty: true) + "\n", to: "\(directory)/\(Self.name)")
  }
}
