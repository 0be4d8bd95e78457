/// The configuration of LoRA and its relatives, with all that it states.
///
/// Source: `LoraConfig` of PEFT 0.21.
public struct PEFTLoRA: Sendable, Equatable {
  /// Where the matrices start.
  public enum Initialisation: Sendable, Equatable {
    /// `true`: A random, B zero. `false`: both random.
    case standard(Bool)
    /// `gaussian`, `pissa`, `pissa_niter_4`, `olora`, `loftq`, `eva`, `corda`, ...
    case named(String)

    /// Whether it subtracts what the adapter starts with from the base model.
    public var changesBase: Bool {
      guard case .named(let name) = self else { return false }
      return ["pissa", "olora", "corda", "loftq"].contains { name.lowercased().hasPrefix($0) }
    }
  }

  /// Rows of an embedding that are trained; without a module those of the input embedding.
  public struct TokenRows: Sendable, Equatable {
    public let module: String?
    public let tokens: [Int]

    public init(module: String? = nil, tokens: [Int]) {
      self.module = module
      self.tokens = tokens
    }
  }

  public var common: PEFTCommon
  public var rank: Int
  public var alpha: Double
  public var dropout: Double
  public var targetModules: PEFTModules?
  public var excludeModules: PEFTModules?
  /// Scales by alpha / sqrt(rank) in place of alpha / rank.
  public var useRSLoRA = false
  public var useDoRA = false
  public var rankPattern: [PEFTPattern<Int>] = []
  public var alphaPattern: [PEFTPattern<Double>] = []
  public var layersToTransform: [Int]?
  /// Names of the lists of layers that `layersToTransform` counts in.
  public var layersPattern: [String] = []
  /// `none`, `all` or `lora_only`.
  public var bias = "none"
  /// Whether B has a bias of its own.
  public var loraBias = false
  public var fanInFanOut = false
  public var initialisation = Initialisation.standard(true)
  public var trainableTokens: [TokenRows] = []
  /// Whether embedding and head stay one matrix where they are tied and one of them is trained.
  public var ensuresWeightTying = false
  /// What else the file states with an effect: `layer_replication`, `target_parameters`, `eva_config`, ...
  public var others = JSONObject()

  public init(
    rank: Int, alpha: Double, dropout: Double = 0, targetModules: PEFTModules?, common: PEFTCommon = PEFTCommon()
  ) {
    self.rank = rank
    self.alpha = alpha
    self.dropout = dropout
    self.targetModules = targetModules
    self.common = common
  }

  static let largestRank = 4096

  init(_ fields: inout PEFTFields) throws {
    common = try PEFTCommon(&fields)
    guard let rank = fields.value("r")?.intValue, rank >= 1, rank <= Self.largestRank else {
      throw fields.refuse("r is not a rank (1 to \(Self.largestRank))")
    }
    guard let alpha = fields.value("lora_alpha")?.doubleValue, abs(alpha) <= 1e6 else {
      throw fields.refuse("lora_alpha is not a number (up to a million)")
    }
    let dropout = fields.value("lora_dropout")?.doubleValue ?? 0
    guard (0..<1).contains(dropout) else { throw fields.refuse("lora_dropout is not a number from 0 to below 1") }
    self.rank = rank
    self.alpha = alpha
    self.dropout = dropout
    targetModules = try fields.modules("target_modules")
    excludeModules = try fields.modules("exclude_modules")
    useRSLoRA = try fields.flag("use_rslora")
    useDoRA = try fields.flag("use_dora")
    rankPattern = try fields.patterns("rank_pattern") {
      $0.intValue.flatMap { (1...Self.largestRank).contains($0) ? $0 : nil }
    }
    alphaPattern = try fields.patterns("alpha_pattern") { $0.doubleValue.flatMap { abs($0) <= 1e6 ? $0 : nil } }
    layersToTransform = try fields.integers("layers_to_transform").flatMap { $0.isEmpty ? nil : $0 }
    layersPattern = try fields.names("layers_pattern")
    bias = try fields.text("bias") ?? "none"
    guard ["none", "all", "lora_only"].contains(bias) else {
      throw fields.refuse("bias is \(bias), expected none, all or lora_only")
    }
    loraBias = try fields.flag("lora_bias")
    fanInFanOut = try fields.flag("fan_in_fan_out")
    initialisation =
      switch fields.value("init_lora_weights") {
      case .string(let name): .named(name)
      case .bool(let flag): .standard(flag)
      case nil: .standard(true)
      case let value?: throw fields.refuse("init_lora_weights is \(value.serialized().prefix(60)), expected a name")
      }
    trainableTokens = try Self.tokens(&fields)
    ensuresWeightTying = try fields.flag("ensure_weight_tying")
    others = fields.others(
      without: [
        "auto_mapping", "peft_type", "peft_version", "runtime_config", "megatron_core", "qalora_group_size",
      ])
  }

  private static func tokens(_ fields: inout PEFTFields) throws -> [TokenRows] {
    let key = "trainable_token_indices"
    guard let entries = fields.value(key)?.objectValue?.entries else {
      return try fields.integers(key).map { $0.isEmpty ? [] : [TokenRows(tokens: $0)] } ?? []
    }
    return try entries.map { entry in
      guard let tokens = entry.value.arrayValue?.compactMap(\.intValue), tokens.count == entry.value.arrayValue?.count,
        tokens.allSatisfy({ $0 >= 0 })
      else { throw fields.refuse("\(key) of \(entry.key) is no list of tokens") }
      return TokenRows(module: entry.key, tokens: tokens)
    }
  }

  var entries: [(key: String, value: JSONValue)] {
    let tokens: JSONValue =
      trainableTokens.isEmpty
      ? .null
      : trainableTokens.count == 1 && trainableTokens[0].module == nil
        ? .numbers(trainableTokens[0].tokens)
        : .object(JSONObject(trainableTokens.map { ($0.module ?? "embed_tokens", .numbers($0.tokens)) }))
    let start: JSONValue =
      switch initialisation {
      case .standard(let flag): .bool(flag)
      case .named(let name): .string(name)
      }
    let tying: [(key: String, value: JSONValue)] =
      ensuresWeightTying ? [("ensure_weight_tying", .bool(true))] : []
    let alphas = JSONObject(alphaPattern.map { ($0.pattern, .short($0.value)) })
    let ranks = JSONObject(rankPattern.map { ($0.pattern, .integer($0.value)) })
    let own: [(key: String, value: JSONValue)] = [
      ("alpha_pattern", .object(alphas)), ("bias", .string(bias)), ("exclude_modules", excludeModules?.json ?? .null),
      ("fan_in_fan_out", .bool(fanInFanOut)), ("init_lora_weights", start),
      ("layers_pattern", .namesOrNull(layersPattern)),
      ("layers_to_transform", layersToTransform.map { .numbers($0) } ?? .null),
      ("lora_alpha", .short(alpha)), ("lora_bias", .bool(loraBias)), ("lora_dropout", .number(dropout)),
      ("r", .integer(rank)), ("rank_pattern", .object(ranks)), ("target_modules", targetModules?.json ?? .null),
      ("trainable_token_indices", tokens), ("use_dora", .bool(useDoRA)), ("use_rslora", .bool(useRSLoRA)),
    ]
    return common.entries + others.entries + tying + own
  }
}
