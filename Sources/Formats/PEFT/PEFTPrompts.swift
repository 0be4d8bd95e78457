/// What prefix tuning, prompt tuning and P-tuning share: how many virtual tokens, for a model of which shape. PEFT fills
/// in the shape of the model when it makes the adapter; before that it may be absent.
public struct PEFTPromptShape: Sendable, Equatable {
  public var virtualTokenCount: Int
  /// Width of the model's hidden state (for prefixes of all key and value heads together).
  public var tokenDimension: Int?
  /// 1 for decoders and encoders, 2 for both in one.
  public var submoduleCount: Int?
  public var headCount: Int?
  public var layerCount: Int?

  public init(
    virtualTokenCount: Int, tokenDimension: Int? = nil, submoduleCount: Int? = 1, headCount: Int? = nil,
    layerCount: Int? = nil
  ) {
    self.virtualTokenCount = virtualTokenCount
    self.tokenDimension = tokenDimension
    self.submoduleCount = submoduleCount
    self.headCount = headCount
    self.layerCount = layerCount
  }

  init(_ fields: inout PEFTFields) throws {
    guard let count = try fields.integer("num_virtual_tokens", in: 1...1 << 16) else {
      throw fields.refuse("num_virtual_tokens is missing")
    }
    virtualTokenCount = count
    tokenDimension = try fields.integer("token_dim", in: 1...1 << 20)
    submoduleCount = try fields.integer("num_transformer_submodules", in: 1...2)
    headCount = try fields.integer("num_attention_heads", in: 1...1 << 16)
    layerCount = try fields.integer("num_layers", in: 1...1 << 16)
  }

  var entries: [(key: String, value: JSONValue)] {
    [
      ("num_attention_heads", .optional(headCount)), ("num_layers", .optional(layerCount)),
      ("num_transformer_submodules", .optional(submoduleCount)), ("num_virtual_tokens", .integer(virtualTokenCount)),
      ("token_dim", .optional(tokenDimension)),
    ]
  }
}

/// Keys and values in front of every layer's attention. Source: `PrefixTuningConfig` of PEFT 0.21; arXiv 2101.00190.
public struct PEFTPrefixTuning: Sendable, Equatable {
  public var common: PEFTCommon
  public var shape: PEFTPromptShape
  /// Whether an encoder of two layers makes the keys and values.
  public var hasProjection = false
  public var encoderHiddenSize: Int?
  /// `zero`, or absent: random.
  public var initialisation: String?
  /// Layers without a prefix, from 0; `shape` then counts the others. PEFT knows no such key: it does not compute with such a
  /// prefix, because its cache lacks the keys of the last layers.
  public var leaveOut: [Int] = []
  /// What else the file states with an effect.
  public var others = JSONObject()

  public init(shape: PEFTPromptShape, common: PEFTCommon = PEFTCommon()) {
    self.shape = shape
    self.common = common
  }

  init(_ fields: inout PEFTFields) throws {
    common = try PEFTCommon(&fields)
    shape = try PEFTPromptShape(&fields)
    leaveOut = try fields.integers("leave_out") ?? []
    hasProjection = try fields.flag("prefix_projection")
    encoderHiddenSize = try fields.integer("encoder_hidden_size", in: 1...1 << 20)
    initialisation = try fields.text("init_weights")
    others = fields.others(without: PEFTConfiguration.withoutEffect)
  }

  var entries: [(key: String, value: JSONValue)] {
    var own: [(key: String, value: JSONValue)] = [
      ("encoder_hidden_size", .optional(encoderHiddenSize)), ("init_weights", .optional(initialisation)),
      ("prefix_projection", .bool(hasProjection)),
    ]
    if !leaveOut.isEmpty { own.append(("leave_out", .numbers(leaveOut))) }
    return common.entries + shape.entries + others.entries + own
  }
}

/// Rows in front of the embedded text. Source: `PromptTuningConfig` of PEFT 0.21; arXiv 2104.08691.
public struct PEFTPromptTuning: Sendable, Equatable {
  public var common: PEFTCommon
  public var shape: PEFTPromptShape
  /// `RANDOM`, `TEXT` or `SAMPLE_VOCAB`.
  public var initialisation = "RANDOM"
  public var initialText: String?
  /// Needed by PEFT with `TEXT`.
  public var tokenizer: String?
  /// What else the file states with an effect.
  public var others = JSONObject()

  public init(shape: PEFTPromptShape, common: PEFTCommon = PEFTCommon()) {
    self.shape = shape
    self.common = common
  }

  init(_ fields: inout PEFTFields) throws {
    common = try PEFTCommon(&fields)
    shape = try PEFTPromptShape(&fields)
    initialisation = try fields.text("prompt_tuning_init") ?? "RANDOM"
    guard ["RANDOM", "TEXT", "SAMPLE_VOCAB"].contains(initialisation) else {
      throw fields.refuse("prompt_tuning_init is \(initialisation), expected RANDOM, TEXT or SAMPLE_VOCAB")
    }
    initialText = try fields.text("prompt_tuning_init_text")
    tokenizer = try fields.text("tokenizer_name_or_path")
    // They are for the tokenizer that made the start, which is over.
    others = fields.others(without: PEFTConfiguration.withoutEffect.union(["tokenizer_kwargs"]))
  }

  var entries: [(key: String, value: JSONValue)] {
    common.entries + shape.entries + others.entries + [
      ("prompt_tuning_init", .string(initialisation)), ("prompt_tuning_init_text", .optional(initialText)),
      ("tokenizer_kwargs", .null), ("tokenizer_name_or_path", .optional(tokenizer)),
    ]
  }
}

/// Rows in front of the embedded text that an encoder makes. Source: `PromptEncoderConfig` of PEFT 0.21; arXiv
/// 2103.10385.
public struct PEFTPTuning: Sendable, Equatable {
  public var common: PEFTCommon
  public var shape: PEFTPromptShape
  /// `MLP` or `LSTM`.
  public var encoder = "MLP"
  public var encoderHiddenSize: Int?
  public var encoderLayerCount = 2
  public var encoderDropout = 0.0
  /// What else the file states with an effect.
  public var others = JSONObject()

  public init(shape: PEFTPromptShape, common: PEFTCommon = PEFTCommon()) {
    self.shape = shape
    self.common = common
  }

  init(_ fields: inout PEFTFields) throws {
    common = try PEFTCommon(&fields)
    shape = try PEFTPromptShape(&fields)
    encoder = try fields.text("encoder_reparameterization_type") ?? "MLP"
    guard ["MLP", "LSTM"].contains(encoder) else {
      throw fields.refuse("encoder_reparameterization_type is \(encoder), expected MLP or LSTM")
    }
    encoderHiddenSize = try fields.integer("encoder_hidden_size", in: 1...1 << 20)
    encoderLayerCount = try fields.integer("encoder_num_layers", in: 1...64) ?? 2
    encoderDropout = try fields.number("encoder_dropout", in: 0...1) ?? 0
    others = fields.others(without: PEFTConfiguration.withoutEffect)
  }

  var entries: [(key: String, value: JSONValue)] {
    common.entries + shape.entries + others.entries + [
      ("encoder_dropout", .number(encoderDropout)), ("encoder_hidden_size", .optional(encoderHiddenSize)),
      ("encoder_num_layers", .integer(encoderLayerCount)), ("encoder_reparameterization_type", .string(encoder)),
    ]
  }
}
