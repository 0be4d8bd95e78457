/// `adapter_config.json` of any method that PEFT and this program share, as PEFT 0.21 writes and reads it.
///
/// A configuration says all that the file says. What of it the program can honour is decided by whoever uses it.
public enum PEFTConfiguration: Sendable, Equatable {
  case lora(PEFTLoRA)
  case ia3(PEFTIA3)
  case prefixTuning(PEFTPrefixTuning)
  case promptTuning(PEFTPromptTuning)
  case pTuning(PEFTPTuning)

  /// Name of the file in an adapter's folder.
  public static let fileName = "adapter_config.json"

  /// Keys that change nothing.
  static let withoutEffect: Set<String> = ["auto_mapping", "peft_type", "peft_version", "runtime_config"]

  /// The method as PEFT spells it.
  public var method: String {
    switch self {
    case .lora: "LORA"
    case .ia3: "IA3"
    case .prefixTuning: "PREFIX_TUNING"
    case .promptTuning: "PROMPT_TUNING"
    case .pTuning: "P_TUNING"
    }
  }

  public var common: PEFTCommon {
    switch self {
    case .lora(let method): method.common
    case .ia3(let method): method.common
    case .prefixTuning(let method): method.common
    case .promptTuning(let method): method.common
    case .pTuning(let method): method.common
    }
  }

  /// - Throws: `UnsupportedAdapter` for another method, and for values that mean nothing
  public init(json: JSONValue, file: String) throws {
    var fields = try PEFTFields(json, file: file)
    switch try fields.text("peft_type") {
    case "LORA": self = .lora(try PEFTLoRA(&fields))
    case "IA3": self = .ia3(try PEFTIA3(&fields))
    case "PREFIX_TUNING": self = .prefixTuning(try PEFTPrefixTuning(&fields))
    case "PROMPT_TUNING": self = .promptTuning(try PEFTPromptTuning(&fields))
    case "P_TUNING": self = .pTuning(try PEFTPTuning(&fields))
    case let method:
      throw fields.refuse(
        "peft_type is \(method ?? "missing"), expected LORA, IA3, PREFIX_TUNING, PROMPT_TUNING or P_TUNING")
    }
  }

  public static func load(directory: String) throws -> PEFTConfiguration {
    let path = "\(directory)/\(fileName)"
    return try PEFTConfiguration(json: try JSONValue.parse(contentsOf: path), file: path)
  }

  /// The document, its keys in alphabetical order as PEFT writes them.
  public var json: JSONValue {
    let entries =
      switch self {
      case .lora(let method): method.entries
      case .ia3(let method): method.entries
      case .prefixTuning(let method): method.entries
      case .promptTuning(let method): method.entries
      case .pTuning(let method): method.entries
      }
    let all: [(key: String, value: JSONValue)] = entries + [("peft_type", .string(method))]
    return .object(JSONObject(all.sorted { $0.key < $1.key }))
  }

  public func write(to directory: String) throws {
    try OutputFile.write(json.serialized(pretty: true) + "\n", to: "\(directory)/\(Self.fileName)")
  }
}
