import Formats
import Options
import Tuning

/// What is trained: the method and its hyper-parameters.
public struct MethodOptions: Sendable {
  /// The methods by their names.
  public enum Method: String, Sendable, CaseIterable {
    case lora
    case dora
    case ia3
    case bottleneck
    case prefixTuning = "prefix_tuning"
    case ptuningV2 = "ptuning_v2"
    case promptTuning = "prompt_tuning"
    case pTuning = "p_tuning"
  }

  public var method: Method
  public var lowRank: LowRankConfiguration
  public var scaling: ScalingConfiguration
  public var bottleneck: BottleneckConfiguration
  public var prefix: PrefixConfiguration
  public var prompt: PromptConfiguration
  /// A text whose keys and values a prefix begins with.
  var prefixText: String?
  private let countIsGiven: Bool
  /// An adapter to start from, whose configuration counts.
  public var initialAdapter: String?

  static let declarations: [OptionDeclaration] = [
    .init(
      "method", "NAME", default: "lora", aliases: ["peft-type"], identifies: true,
      Method.allCases.map(\.rawValue).joined(separator: ", ")),
    .init("rank", "N", default: "8", aliases: ["lora-r"], identifies: true, "rank of the adapters"),
    .init(
      "alpha", "X", default: "16", aliases: ["lora-alpha"], identifies: true,
      "the adapters' share is scaled by alpha / rank"),
    .init(
      "dropout", "P", default: "0", aliases: ["lora-dropout"], identifies: true, "dropout on the adapters' input"),
    .init(
      "target-modules", "NAMES", aliases: ["lora-target-modules"], identifies: true,
      "names, all-linear, or a regular expression (default: PEFT's for the model's family, such as q_proj,v_proj)"),
    .init("exclude-modules", "NAMES", identifies: true, "targets that are left out: names, or a regular expression"),
    .init("layers-to-transform", "N,...", identifies: true, "numbers of the layers whose targets count, from 0"),
    .init("layers-pattern", "NAMES", identifies: true, "names of the lists that the layers are numbered in"),
    .init("rank-pattern", "NAME=N,...", identifies: true, "ranks of some targets, by name or regular expression"),
    .init("alpha-pattern", "NAME=X,...", identifies: true, "the same for alpha"),
    .init("use-rslora", nil, identifies: true, "scale by alpha / sqrt(rank)"),
    .init("use-dora", nil, identifies: true, "also train the length of every row of the weights (DoRA)"),
    .init(
      "init-lora-weights", "KIND", default: "true", identifies: true,
      "true (uniform), gaussian, pissa (pissa_niter_N for N rounds), olora, or loftq, which needs --original-model"),
    .init("original-model", "DIR", "loftq: the model before it was quantised"),
    .init("lora-fa", nil, "keep A as it starts and correct the gradient of B (LoRA-FA)"),
    .init(
      "loraplus-lr-ratio", "X", default: "1", identifies: true, "learning rate of B over that of A (LoRA+)"),
    .init(
      "feedforward-modules", "NAMES", identifies: true, "ia3: targets whose inputs are scaled in place of the outputs"),
    .init(
      "adapter-config", "KIND", default: "seq_bn", identifies: true,
      "bottleneck: seq_bn (after feed-forward), double_seq_bn (also after attention), par_bn (beside feed-forward)"),
    .init(
      "reduction-factor", "X", identifies: true,
      "bottleneck: how much narrower than the model (default: 16, par_bn 2)"),
    .init(
      "non-linearity", "NAME", identifies: true,
      "bottleneck: relu, swish, gelu or gelu_new (default: relu, double_seq_bn swish)"),
    .init("scaling", "X", identifies: true, "bottleneck: factor of its share (default: 1, par_bn 4)"),
    .init("adapter-off", "N,...", identifies: true, "bottleneck: numbers of layers without one, from 0"),
    .init(
      "num-virtual-tokens", "N", default: "20", identifies: true,
      "prefixes: keys and values in front of every layer; prompts: rows in front of the text (default with a text to "
        + "start from: its tokens)"),
    .init("prefix-projection", nil, identifies: true, "prefixes: made by an encoder while training"),
    .init(
      "prefix-text", "TEXT", identifies: true, "prefixes: begin with the keys and values of this text"),
    .init(
      "encoder-hidden-size", "N", identifies: true,
      "prefixes, p_tuning: width of the encoder (default: that of the keys, or of the model)"),
    .init(
      "encoder-reparameterization-type", "KIND", default: "mlp", identifies: true,
      "prefixes, p_tuning: encoder, mlp or lstm"),
    .init(
      "prompt-tuning-init", "KIND", default: "random", identifies: true,
      "prompt_tuning: random, text or sample_vocab (embedded tokens that are drawn)"),
    .init(
      "prompt-tuning-init-text", "TEXT", identifies: true, "prompt_tuning: the text to start from"),
    .init("init-adapter", "DIR", "start from this adapter; its method and options are used"),
  ]

  init(_ values: OptionValues) throws {
    method = try values.choice("method", Method.self)
    let targets = values.text("target-modules").map { TargetModules($0) } ?? .familyDefault
    let selection = TargetSelection(
      excluded: values.text("exclude-modules").map { TargetModules($0) },
      layers: try Self.layers(values, "layers-to-transform"),
      layersPattern: values.text("layers-pattern")?.split(separator: ",").map(String.init) ?? [])
    lowRank = LowRankConfiguration(
      rank: try values.number("rank", in: 1...1024), alpha: try values.number("alpha", in: 0...1e6),
      dropout: try values.number("dropout", in: 0...0.95), targetModules: targets,
      useRSLoRA: values.flag("use-rslora"))
    lowRank.useDoRA = values.flag("use-dora") || method == .dora
    lowRank.selection = selection
    lowRank.rankPattern = try Self.pattern(values, "rank-pattern", in: 1...1024)
    lowRank.alphaPattern = try Self.pattern(values, "alpha-pattern", in: 0...1e6)
    lowRank.initialisation = try Self.start(values, useDoRA: lowRank.useDoRA)
    lowRank.originalModel = values.text("original-model")
    lowRank.freezesA = values.flag("lora-fa")
    lowRank.loraPlusRatio = try values.number("loraplus-lr-ratio", in: 1e-6...1e6)
    scaling = ScalingConfiguration(
      targetModules: targets,
      feedforwardModules: values.text("feedforward-modules").map { TargetModules($0) } ?? .familyDefault,
      selection: selection)
    bottleneck = BottleneckConfiguration(
      kind: try values.choice("adapter-config", BottleneckConfiguration.Kind.self),
      reductionFactor: try values.optionalNumber("reduction-factor", in: 0.01...1e6),
      nonLinearity: try values.optionalChoice("non-linearity", BottleneckConfiguration.NonLinearity.self),
      scaling: try values.optionalNumber("scaling", in: -1e6...1e6),
      leaveOut: try Self.layers(values, "adapter-off") ?? [])
    prefix = PrefixConfiguration(
      count: try values.number("num-virtual-tokens", in: 1...Self.mostVirtualTokens),
      hasProjection: values.flag("prefix-projection") || method == .ptuningV2,
      encoderSize: try values.optionalNumber("encoder-hidden-size", in: 1...65_536))
    let encoder = try values.choice("encoder-reparameterization-type", PromptConfiguration.Encoder.self)
    prefix.encoder = encoder
    if values.isGiven("encoder-reparameterization-type") { prefix.hasProjection = true }
    prefixText = values.text("prefix-text")
    countIsGiven = values.isGiven("num-virtual-tokens")
    prompt = PromptConfiguration(
      count: prefix.count, isPTuning: method == .pTuning, encoder: method == .pTuning ? encoder : nil,
      encoderSize: prefix.encoderSize)
    prompt.startText = values.text("prompt-tuning-init-text")
    prompt.start = try values.choice("prompt-tuning-init", PromptConfiguration.Start.self)
    if prompt.startText != nil, !values.isGiven("prompt-tuning-init") { prompt.start = .text }
    guard (prompt.start == .text) == (prompt.startText != nil) else {
      throw OptionError("--prompt-tuning-init text and --prompt-tuning-init-text TEXT go together")
    }
    initialAdapter = values.text("init-adapter")
    try Self.check(values, method)
  }

  private static let mostVirtualTokens = 4096

  /// Options that say something for some methods only.
  private static var own: [(methods: [Method], options: [String])] {
    [
      (
        [.lora, .dora],
        [
          "rank", "alpha", "dropout", "rank-pattern", "alpha-pattern", "use-rslora", "use-dora", "init-lora-weights",
          "loraplus-lr-ratio", "original-model", "lora-fa",
        ]
      ),
      ([.lora, .dora, .ia3], ["target-modules", "exclude-modules", "layers-to-transform", "layers-pattern"]),
      (
        [.prefixTuning, .ptuningV2, .promptTuning, .pTuning], ["num-virtual-tokens"]
      ),
      ([.prefixTuning, .ptuningV2], ["prefix-projection", "prefix-text"]),
      ([.prefixTuning, .ptuningV2, .pTuning], ["encoder-hidden-size", "encoder-reparameterization-type"]),
      ([.promptTuning], ["prompt-tuning-init", "prompt-tuning-init-text"]),
      (
        [.bottleneck], ["adapter-config", "reduction-factor", "non-linearity", "scaling", "adapter-off"]
      ),
      ([.ia3], ["feedforward-modules"]),
    ]
  }

  /// Whether an option says something for a method.
  public static func takes(_ option: String, _ method: Method) -> Bool {
    let owners = own.filter { $0.options.contains(option) }
    return owners.isEmpty || owners.contains { $0.methods.contains(method) }
  }

  /// Options that say something for one method only are refused with another one.
  private static func check(_ values: OptionValues, _ method: Method) throws {
    for (methods, options) in own where !methods.contains(method) {
      if let option = options.first(where: { values.isGiven($0) }) {
        throw OptionError("--\(option) is no option of --method \(method.rawValue)")
      }
    }
  }

  private static func start(_ values: OptionValues, useDoRA: Bool) throws -> LowRankInitialisation {
    let name = try values.required("init-lora-weights")
    guard let start = LowRankInitialisation(name) else {
      throw OptionError(
        "--init-lora-weights \(name): expected true, gaussian, pissa, pissa_niter_N, olora or loftq")
    }
    guard (start == .loftq) == values.isGiven("original-model") else {
      throw OptionError("--init-lora-weights loftq and --original-model DIR go together")
    }
    guard !useDoRA || start == .standard || start == .gaussian else {
      throw OptionError(
        "--init-lora-weights \(name) does not go with DoRA, whose lengths are those of the whole weight")
    }
    return start
  }

  private static func layers(_ values: OptionValues, _ name: String) throws -> [Int]? {
    guard let text = values.text(name) else { return nil }
    return try text.split(separator: ",").map {
      guard let number = Int($0), number >= 0 else {
        throw OptionError("--\(name) \(text): expected numbers of layers, such as 0,1,2")
      }
      return number
    }
  }

  private static func pattern<T: LosslessStringConvertible & Comparable>(
    _ values: OptionValues, _ name: String, in range: ClosedRange<T>
  ) throws -> [PEFTPattern<T>] {
    guard let text = values.text(name) else { return [] }
    return try text.split(separator: ",").map { part in
      guard let equals = part.lastIndex(of: "="), let value = T(String(part[part.index(after: equals)...])),
        range.contains(value), equals > part.startIndex
      else {
        throw OptionError(
          "--\(name) \(text): expected names with numbers from \(range.lowerBound) to \(range.upperBound), "
            + "such as q_proj=4")
      }
      return PEFTPattern(pattern: String(part[..<equals]), value: value)
    }
  }

  /// The configuration that the run trains with.
  ///
  /// - Parameter encode: makes tokens of a text to start from
  func configuration(encode: (String) throws -> [Int32]) throws -> any TuningConfiguration {
    if let initialAdapter {
      let configuration = try AdapterFolder.configuration(of: initialAdapter)
      guard var lowRank = configuration as? LowRankConfiguration else { return configuration }
      lowRank.loraPlusRatio = self.lowRank.loraPlusRatio
      lowRank.freezesA = self.lowRank.freezesA
      return lowRank
    }
    func tokens(_ text: String?, option: String, count: inout Int) throws -> [Int32] {
      guard let text else { return [] }
      let tokens = try encode(text)
      guard !tokens.isEmpty else { throw OptionError("--\(option): the text has no tokens") }
      if !countIsGiven { count = min(tokens.count, Self.mostVirtualTokens) }
      return tokens
    }
    var (prefix, prompt) = (prefix, prompt)
    prefix.startTokens = try tokens(prefixText, option: "prefix-text", count: &prefix.count)
    prompt.startTokens = try tokens(prompt.startText, option: "prompt-tuning-init-text", count: &prompt.count)
    return switch method {
    case .lora, .dora: lowRank
    case .ia3: scaling
    case .bottleneck: bottleneck
    case .prefixTuning, .ptuningV2: prefix
    case .promptTuning, .pTuning: prompt
    }
  }
}
