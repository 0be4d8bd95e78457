/// `adapter_config.json` of a bottleneck adapter as AdapterHub's `adapters` writes and reads it.
///
/// Source: `BnConfig` and `build_full_config` of adapters 1.3; Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020,
/// arXiv 2005.00052; He et al. 2021, arXiv 2110.04366.
public struct AdapterHubConfiguration: Sendable, Equatable {
  /// How much narrower the bottleneck is than the model.
  public enum Factor: Sendable, Equatable {
    case all(Double)
    /// By the number of the layer from 0; `default` for the rest.
    case perLayer([Int: Double], default: Double?)

    public func of(layer: Int) -> Double? {
      switch self {
      case .all(let factor): factor
      case .perLayer(let factors, let fallback): factors[layer] ?? fallback
      }
    }
  }

  /// What the output of the bottleneck is multiplied with.
  public enum Scaling: Sendable, Equatable {
    case fixed(Double)
    /// `learned` or `channel`.
    case named(String)
  }

  /// Of the library whose files these are.
  static let version = "adapters.1.3.0"

  /// Name of the adapter, which is in the names of its tensors.
  public var name: String
  public var modelType: String
  public var modelName: String?
  public var modelClass: String?
  public var hiddenSize: Int?
  /// After the attention of each layer.
  public var afterAttention: Bool
  /// After the feed-forward block of each layer.
  public var afterFeedForward: Bool
  public var reductionFactor: Factor
  /// `relu`, `swish`, `gelu`, ... as the current version of `adapters` names it.
  public var nonLinearity: String
  public var originalNormBefore = false
  public var originalNormAfter = true
  /// A new normalisation before the bottleneck.
  public var normBefore = false
  public var normAfter = false
  /// `bert`, `mam_adapter` or `houlsby`.
  public var initialisation = "bert"
  /// Beside the block in place of after it.
  public var isParallel = false
  public var scaling = Scaling.fixed(1)
  public var residualBeforeNorm = true
  public var adapterResidualBeforeNorm = false
  /// Layers without an adapter, from 0.
  public var leaveOut: [Int] = []
  public var dropout = 0.0
  /// What else the file states and that differs from the plain bottleneck: `inv_adapter`, `phm_layer`, `use_gating`,
  /// `cross_adapter`, `stochastic_depth`, ...
  public var others = JSONObject()

  private init(
    name: String, modelType: String, afterAttention: Bool, reductionFactor: Factor, nonLinearity: String
  ) {
    self.name = name
    self.modelType = modelType
    self.afterAttention = afterAttention
    afterFeedForward = true
    self.reductionFactor = reductionFactor
    self.nonLinearity = nonLinearity
  }

  /// Pfeiffer's: one bottleneck after each feed-forward block.
  public static func sequential(name: String, modelType: String, reductionFactor: Double = 16)
    -> AdapterHubConfiguration
  {
    var made = AdapterHubConfiguration(
      name: name, modelType: modelType, afterAttention: false, reductionFactor: .all(reductionFactor),
      nonLinearity: "relu")
    made.originalNormBefore = true
    return made
  }

  /// Houlsby's: one after each attention and one after each feed-forward block.
  public static func doubleSequential(name: String, modelType: String, reductionFactor: Double = 16)
    -> AdapterHubConfiguration
  {
    AdapterHubConfiguration(
      name: name, modelType: modelType, afterAttention: true, reductionFactor: .all(reductionFactor),
      nonLinearity: "swish")
  }

  /// He's: one beside each feed-forward block.
  public static func parallel(name: String, modelType: String, reductionFactor: Double = 2) -> AdapterHubConfiguration {
    var made = AdapterHubConfiguration(
      name: name, modelType: modelType, afterAttention: false, reductionFactor: .all(reductionFactor),
      nonLinearity: "relu")
    made.initialisation = "mam_adapter"
    made.isParallel = true
    made.scaling = .fixed(4)
    return made
  }

  /// - Throws: `UnsupportedAdapter`, also for other methods of `adapters`
  public init(json: JSONValue, file: String) throws {
    var outer = try PEFTFields(json, file: file)
    guard let config = outer.value("config") else { throw outer.refuse("has no config of an adapter") }
    if let text = config.stringValue {
      throw outer.refuse("config is the name \(text.prefix(60)); load and save the adapter with adapters once")
    }
    name = try outer.text("name") ?? ""
    modelType = try outer.text("model_type") ?? ""
    modelName = try outer.text("model_name")
    modelClass = try outer.text("model_class")
    hiddenSize = try outer.integer("hidden_size", in: 1...1 << 20)
    var fields = try PEFTFields(config, file: file)
    if let architecture = try fields.text("architecture") {
      throw fields.refuse("architecture is \(architecture), expected a bottleneck adapter")
    }
    func required<T>(_ value: T?, _ key: String) throws -> T {
      guard let value else { throw fields.refuse("\(key) is missing") }
      return value
    }
    let hasAttention = fields.json["mh_adapter"] != nil
    guard hasAttention, fields.json["output_adapter"] != nil else {
      throw fields.refuse("\(hasAttention ? "output_adapter" : "mh_adapter") is missing")
    }
    afterAttention = try fields.flag("mh_adapter")
    afterFeedForward = try fields.flag("output_adapter")
    reductionFactor = try Self.factor(&fields)
    let activation = try fields.text("non_linearity")
    nonLinearity = try required(activation, "non_linearity")
    // Files without a version are older than the change of names.
    if outer.json["version"] == nil {
      nonLinearity = ["gelu": "gelu_new", "gelu_orig": "gelu"][nonLinearity] ?? nonLinearity
    }
    originalNormBefore = try fields.flag("original_ln_before")
    originalNormAfter = try fields.flag("original_ln_after", default: true)
    normBefore = try fields.flag("ln_before")
    normAfter = try fields.flag("ln_after")
    initialisation = try fields.text("init_weights") ?? "bert"
    isParallel = try fields.flag("is_parallel")
    switch fields.value("scaling") {
    case nil: break
    case .string(let name)?: scaling = .named(name)
    default: scaling = .fixed(try required(try fields.number("scaling", in: -1e6...1e6), "scaling"))
    }
    residualBeforeNorm = try fields.flag("residual_before_ln", default: true)
    adapterResidualBeforeNorm = try fields.flag("adapter_residual_before_ln")
    leaveOut = try fields.integers("leave_out") ?? []
    dropout = try fields.number("dropout", in: 0...1) ?? 0
    // Settings of what is off by default.
    var withoutEffect: Set<String> = ["init_weights_seed"]
    if fields.json["phm_layer"] != .bool(true) {
      withoutEffect.formUnion(Self.hypercomplexKeys)
    }
    if fields.json["inv_adapter"] ?? .null == .null { withoutEffect.insert("inv_adapter_reduction_factor") }
    if fields.json["stochastic_depth"]?.doubleValue == 0 { withoutEffect.insert("stochastic_depth") }
    others = fields.others(without: withoutEffect)
    // Then also what is switched off says something.
    guard others["phm_layer"] != nil else { return }
    let settings = fields.json.entries.filter { Self.hypercomplexKeys.contains($0.key) && $0.value != .null }
    others = JSONObject(JSONObject(others.entries + settings).entries.sorted { $0.key < $1.key })
  }

  /// Settings of layers that are products of smaller ones (Compacter).
  private static let hypercomplexKeys: Set<String> = [
    "phm_layer", "phm_dim", "factorized_phm_W", "shared_W_phm", "shared_phm_rule", "factorized_phm_rule", "phm_c_init",
    "phm_init_range", "learn_phm", "hypercomplex_nonlinearity", "phm_rank", "phm_bias",
  ]

  private static func factor(_ fields: inout PEFTFields) throws -> Factor {
    let key = "reduction_factor"
    guard let value = fields.value(key) else { throw fields.refuse("\(key) is missing") }
    func checked(_ value: JSONValue) throws -> Double {
      guard let factor = value.doubleValue, factor > 0, factor <= 1e6 else {
        throw fields.refuse("\(key) is \(value.serialized().prefix(60)), expected a number above 0")
      }
      return factor
    }
    guard let entries = value.objectValue?.entries else { return .all(try checked(value)) }
    var factors: [Int: Double] = [:]
    var fallback: Double?
    for entry in entries {
      if entry.key == "default" {
        fallback = try checked(entry.value)
      } else if let layer = Int(entry.key), layer >= 0 {
        factors[layer] = try checked(entry.value)
      } else {
        throw fields.refuse("\(key) names the layer \(entry.key.prefix(40))")
      }
    }
    return .perLayer(factors, default: fallback)
  }

  public static func load(directory: String) throws -> AdapterHubConfiguration {
    let path = "\(directory)/\(PEFTConfiguration.fileName)"
    return try AdapterHubConfiguration(json: try JSONValue.parse(contentsOf: path), file: path)
  }

  /// Whether a document is one of AdapterHub's; it may be one of PEFT's besides.
  public static func isOne(_ json: JSONValue) -> Bool {
    json["config"]?.objectValue != nil || json["config"]?.stringValue != nil
  }

  public var json: JSONValue {
    let factor: JSONValue =
      switch reductionFactor {
      case .all(let factor): .short(factor)
      case .perLayer(let factors, let fallback):
        .object(
          JSONObject(
            factors.sorted { $0.key < $1.key }.map { ("\($0.key)", .short($0.value)) }
              + (fallback.map { [("default", .short($0))] } ?? [])))
      }
    let scale: JSONValue =
      switch scaling {
      case .fixed(let value): .number(value)
      case .named(let name): .string(name)
      }
    let own: [(key: String, value: JSONValue)] = [
      ("adapter_residual_before_ln", .bool(adapterResidualBeforeNorm)), ("cross_adapter", .bool(false)),
      ("dropout", .number(dropout)), ("factorized_phm_W", .bool(true)), ("factorized_phm_rule", .bool(false)),
      ("hypercomplex_nonlinearity", .string("glorot-uniform")), ("init_weights", .string(initialisation)),
      ("init_weights_seed", .null), ("inv_adapter", .null), ("inv_adapter_reduction_factor", .null),
      ("is_parallel", .bool(isParallel)), ("learn_phm", .bool(true)), ("leave_out", .numbers(leaveOut)),
      ("ln_after", .bool(normAfter)), ("ln_before", .bool(normBefore)), ("mh_adapter", .bool(afterAttention)),
      ("non_linearity", .string(nonLinearity)), ("original_ln_after", .bool(originalNormAfter)),
      ("original_ln_before", .bool(originalNormBefore)), ("output_adapter", .bool(afterFeedForward)),
      ("phm_bias", .bool(true)), ("phm_c_init", .string("normal")), ("phm_dim", .integer(4)),
      ("phm_init_range", .number(0.0001)), ("phm_layer", .bool(false)), ("phm_rank", .integer(1)),
      ("reduction_factor", factor), ("residual_before_ln", .bool(residualBeforeNorm)), ("scaling", scale),
      ("shared_W_phm", .bool(false)), ("shared_phm_rule", .bool(true)), ("stochastic_depth", .number(0)),
      ("use_gating", .bool(false)),
    ]
    let plain = others["phm_layer"] == nil ? own : own.filter { !Self.hypercomplexKeys.contains($0.key) }
    return .object(
      JSONObject([
        ("config", .object(JSONObject(plain + others.entries))), ("hidden_size", .optional(hiddenSize)),
        ("model_class", .optional(modelClass)), ("model_name", .optional(modelName)),
        ("model_type", .string(modelType)), ("name", .string(name)), ("version", .string(Self.version)),
      ]))
  }

  public func write(to directory: String) throws {
    try OutputFile.write(json.serialized(pretty: true) + "\n", to: "\(directory)/\(PEFTConfiguration.fileName)")
  }
}
