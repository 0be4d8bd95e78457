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
    case mixture
  }

  /// One, or bottlenecks and another one.
  public var methods: [Method]
  public var lowRank: LowRankConfiguration
  public var scaling: ScalingConfiguration
  public var bottlenecks: BottleneckOptions
  public var prefix: PrefixConfiguration
  public var prompt: PromptConfiguration
  /// Whether prefixes and prompts have no rows, and are left out.
  private let hasNoRows: Bool
  /// A text whose keys and values a prefix begins with.
  var prefixText: String?
  private let countIsGiven: Bool
  /// Numbers of layers, and the options that name them.
  private let layers: [(option: String, numbers: [Int])]
  /// LoRA adapters that take part as they are.
  public internal(set) var frozen: [WeightedAdapter]
  /// Those that a mixture consists of.
  var experts: [WeightedAdapter]
  private let topK: Int
  private let temperature: Double
  /// An adapter to start from, whose configuration counts.
  public var initialAdapter: String?
  /// Options that were given and say nothing beside the initial adapter, which has its own.
  package let ignored: [String]

  static let declarations = ofWeights + BottleneckOptions.declarations + ofRows

  private static let ofWeights: [OptionDeclaration] = [
    .init(
      "method", "NAME", default: "lora", aliases: ["peft-type"], identifies: true,
      Method.allCases.map(\.rawValue).joined(separator: ", ") + ", or a bottleneck and another one, as in "
        + "bottleneck+prefix_tuning"),
    .init("rank", "N", default: "8", aliases: ["lora-r", "lora-rank"], identifies: true, "rank of the adapters"),
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
    .init(
      "bias", "KIND", default: "none", aliases: ["lora-bias"], identifies: true,
      "biases that are trained along: none, lora_only (of the targets) or all (also of norms)"),
    .init(
      "trainable-token-indices", "N,...", identifies: true,
      "ids of tokens whose rows of the embedding (and of a head tied to it) are trained along, such as new special tokens"
    ),
    .init(
      "modules-to-save", "NAMES", aliases: ["lora-modules-to-save"], identifies: true,
      "modules that are trained along whole, by the ends of their paths: the embedding and the head (embed_tokens,lm_head) "
        + "for a new language or many new words, norms (norm)"),
    .init(
      "ensure-weight-tying", nil, identifies: true,
      "modules-to-save: embedding and head stay one matrix in models that tie them"),
    .init("use-dora", nil, identifies: true, "also train the length of every row of the weights (DoRA)"),
    .init(
      "init-lora-weights", "KIND", default: "true", identifies: true,
      "true (uniform), gaussian, pissa (pissa_niter_N for N rounds), olora, or loftq, which needs --original-model"),
    .init("original-model", "DIR", "loftq: the model before it was quantised"),
    .init("lora-fa", nil, "keep A as it starts and correct the gradient of B (LoRA-FA)"),
    .init(
      "loraplus-lr-ratio", "X", default: "1", identifies: true, "learning rate of B over that of A (LoRA+)"),
    .init(
      "feedforward-modules", "NAMES", identifies: true, "ia3: targets whose inputs are scaled in place of the outputs"
    ),
  ]

  private static let ofRows: [OptionDeclaration] = [
    .init(
      "num-virtual-tokens", "N", default: "20", identifies: true,
      "prefixes: keys and values in front of every layer; prompts: rows in front of the text (default with a text to "
        + "start from: its tokens); 0 leaves them out beside a bottleneck"),
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
    .init(
      "expert", "DIR[:WEIGHT]", isList: true, "mixture: a LoRA adapter between which and others every token chooses"),
    .init(
      "expert-top-k", "N", default: "3", identifies: true, "mixture: experts at a token"),
    .init(
      "router-temperature", "X", default: "1", identifies: true, "mixture: of the softmax over the experts of a token"
    ),
    .init(
      "freeze-adapter", "DIR[:WEIGHT]", isList: true,
      "a LoRA adapter that takes part and stays as it is, under the one that is trained"),
    .init("init-adapter", "DIR", "start from this adapter; its method and options are used"),
  ]

  init(_ values: OptionValues) throws {
    let methods = try Self.methods(try values.required("method"))
    self.methods = methods
    func has(_ some: Method...) -> Bool { !methods.allSatisfy { !some.contains($0) } }
    let targets = values.text("target-modules").map { TargetModules($0) } ?? .familyDefault
    let selection = TargetSelection(
      excluded: values.text("exclude-modules").map { TargetModules($0) },
      layers: try Self.layers(values, "layers-to-transform"),
      layersPattern: values.text("layers-pattern")?.split(separator: ",").map(String.init) ?? [])
    lowRank = LowRankConfiguration(
      rank: try values.number("rank", in: 1...1024), alpha: try values.number("alpha", in: Self.alphas),
      dropout: try values.number("dropout", in: 0...0.95), targetModules: targets,
      useRSLoRA: values.flag("use-rslora"))
    lowRank.useDoRA = values.flag("use-dora") || has(.dora)
    lowRank.biases = try values.choice("bias", TrainedBiases.self)
    lowRank.selection = selection
    if let tokens = try Self.numbers(values, "trainable-token-indices", of: "tokens"), !tokens.isEmpty {
      lowRank.trainedTokens = [.init(tokens: tokens)]
    }
    if let names = values.text("modules-to-save") {
      lowRank.wholeModules = names.split(separator: ",").map(String.init)
      guard !lowRank.wholeModules.isEmpty else {
        throw OptionError("--modules-to-save \(names): expected ends of modules' paths, such as embed_tokens,lm_head")
      }
    }
    lowRank.ensuresWeightTying = values.flag("ensure-weight-tying")
    lowRank.rankPattern = try Self.pattern(values, "rank-pattern", in: 1...1024)
    lowRank.alphaPattern = try Self.pattern(values, "alpha-pattern", in: Self.alphas)
    lowRank.initialisation = try Self.start(values, useDoRA: lowRank.useDoRA)
    lowRank.originalModel = values.text("original-model")
    lowRank.freezesA = values.flag("lora-fa")
    lowRank.loraPlusRatio = try values.number("loraplus-lr-ratio", in: 1e-6...1e6)
    scaling = ScalingConfiguration(
      targetModules: targets,
      feedforwardModules: values.text("feedforward-modules").map { TargetModules($0) } ?? .familyDefault,
      selection: selection)
    let leaveOut = try values.text("adapter-off") == "none" ? [] : Self.layers(values, "adapter-off") ?? []
    bottlenecks = try BottleneckOptions(values, leaveOut: leaveOut)
    let count = try values.number("num-virtual-tokens", in: 0...Self.mostVirtualTokens)
    hasNoRows = count == 0
    prefix = PrefixConfiguration(
      count: max(1, count), hasProjection: values.flag("prefix-projection") || has(.ptuningV2),
      encoderSize: try values.optionalNumber("encoder-hidden-size", in: 1...65_536))
    prefix.leaveOut = leaveOut
    let encoder = try values.choice("encoder-reparameterization-type", PromptConfiguration.Encoder.self)
    prefix.encoder = encoder
    if values.isGiven("encoder-reparameterization-type") { prefix.hasProjection = true }
    prefixText = values.text("prefix-text")
    countIsGiven = values.isGiven("num-virtual-tokens")
    prompt = PromptConfiguration(
      count: prefix.count, isPTuning: has(.pTuning), encoder: has(.pTuning) ? encoder : nil,
      encoderSize: prefix.encoderSize)
    prompt.startText = values.text("prompt-tuning-init-text")
    prompt.start = try values.choice("prompt-tuning-init", PromptConfiguration.Start.self)
    if prompt.startText != nil, !values.isGiven("prompt-tuning-init") { prompt.start = .text }
    guard (prompt.start == .text) == (prompt.startText != nil) else {
      throw OptionError("--prompt-tuning-init text and --prompt-tuning-init-text TEXT go together")
    }
    initialAdapter = values.text("init-adapter")
    ignored =
      initialAdapter == nil
      ? []
      : (["method"] + Self.own.flatMap(\.options)).filter { option in
        values.isGiven(option) && !["loraplus-lr-ratio", "lora-fa"].contains(option)
      }
    layers = [("layers-to-transform", selection.layers ?? []), ("adapter-off", leaveOut)]
    frozen = values.list("freeze-adapter").map { WeightedAdapter($0) }
    experts = values.list("expert").map { WeightedAdapter($0) }
    topK = try values.number("expert-top-k", in: 1...64)
    if has(.mixture), topK == 1 {
      throw OptionError(
        "--expert-top-k 1: where one expert is alone at a token there is nothing to train; give 2 or more, or make a "
          + "mixture without training (edge-lora combine --combination-type arrow)")
    }
    temperature = try values.number("router-temperature", in: 1e-6...1e6)
    if has(.mixture), initialAdapter == nil, experts.count < 2 {
      throw OptionError("--method mixture needs --expert DIR, several times: the LoRA adapters that it chooses between")
    }
    if !frozen.isEmpty, has(.dora, .ia3, .mixture) || lowRank.useDoRA {
      let names = methods.map { $0 == .lora && lowRank.useDoRA ? "--use-dora" : $0.rawValue }
      throw Self.cannotFreeze(under: names.joined(separator: "+"))
    }
    try Self.check(values, methods)
    if Self.trainsNothing({ values.text($0) }) {
      throw OptionError(
        "--method \(methods.map(\.rawValue).joined(separator: "+")): everything is left out (--reduction-factor 0, "
          + "--parallel-reduction-factor 0, --num-virtual-tokens 0); there is nothing to train")
    }
  }

  private static func cannotFreeze(under method: String) -> OptionError {
    OptionError(
      "--freeze-adapter does not go with \(method), which acts at the same layers; merge the adapter into the model first "
        + "(edge-lora merge)")
  }

  /// - Parameter text: a name, or two with a plus between them
  private static func methods(_ text: String) throws -> [Method] {
    let methods = try text.split(separator: "+", omittingEmptySubsequences: false).map { name in
      guard let method = Method(rawValue: String(name)) else {
        throw OptionError(
          "--method \(text): expected \(Method.allCases.map(\.rawValue).joined(separator: ", ")), or a bottleneck and "
            + "another one, as in bottleneck+prefix_tuning")
      }
      return method
    }
    guard methods.count == 1 || methods.count == 2 && methods.count(where: { $0 == .bottleneck }) == 1,
      methods.count == 1 || !methods.contains(.mixture)
    else {
      throw OptionError(
        "--method \(text): two methods go together where one is a bottleneck and the other acts elsewhere, as in "
          + "bottleneck+prefix_tuning")
    }
    return methods
  }

  private static let mostVirtualTokens = 4096
  /// Of 0 nothing would be trained, and what a start or a frozen adapter divides by it would be no number.
  private static let alphas = 1e-6...1e6

  /// Options that say something for some methods only.
  private static var own: [(methods: [Method], options: [String])] {
    [
      (
        [.lora, .dora],
        [
          "rank", "alpha", "dropout", "rank-pattern", "alpha-pattern", "use-rslora", "use-dora", "init-lora-weights",
          "loraplus-lr-ratio", "original-model", "lora-fa", "bias", "trainable-token-indices", "modules-to-save",
          "ensure-weight-tying",
        ]
      ),
      ([.lora, .dora, .ia3], ["target-modules", "exclude-modules", "layers-to-transform", "layers-pattern"]),
      (rows, ["num-virtual-tokens"]),
      ([.bottleneck, .prefixTuning, .ptuningV2], ["adapter-off"]),
      ([.prefixTuning, .ptuningV2], ["prefix-projection", "prefix-text"]),
      ([.prefixTuning, .ptuningV2, .pTuning], ["encoder-hidden-size", "encoder-reparameterization-type"]),
      ([.promptTuning], ["prompt-tuning-init", "prompt-tuning-init-text"]),
      ([.bottleneck], BottleneckOptions.own),
      ([.ia3], ["feedforward-modules"]),
      ([.mixture], ["expert", "expert-top-k", "router-temperature"]),
    ]
  }

  /// Methods with rows or keys in front of the text.
  private static let rows: [Method] = [.prefixTuning, .ptuningV2, .promptTuning, .pTuning]

  /// Whether an option says something for a method.
  private static func takes(_ option: String, _ method: Method) -> Bool {
    let owners = own.filter { $0.options.contains(option) }
    return owners.isEmpty || owners.contains { $0.methods.contains(method) }
  }

  /// Whether an option says something beside others.
  ///
  /// - Parameter word: the value of an option, or its fallback
  public static func takes(_ option: String, beside word: (String) -> String?) -> Bool {
    // What no method is called is told where the options are read.
    guard let methods = try? Self.methods(word("method") ?? "") else { return true }
    guard methods.contains(where: { takes(option, $0) }) else { return false }
    return !BottleneckOptions.ofPairs.contains(option) || BottleneckOptions.isPair(word("adapter-config") ?? "")
  }

  /// Whether options leave out all that their methods would train.
  ///
  /// - Parameter word: the value of an option, or its fallback
  public static func trainsNothing(_ word: (String) -> String?) -> Bool {
    guard let methods = try? Self.methods(word("method") ?? ""), word("init-adapter") == nil else { return false }
    return methods.allSatisfy { method in
      method == .bottleneck
        ? BottleneckOptions.leavesOutAll(word)
        : rows.contains(method) && word("num-virtual-tokens").flatMap { Int($0) } == 0
    }
  }

  /// Options that say something for one method only are refused with another one.
  private static func check(_ values: OptionValues, _ methods: [Method]) throws {
    for option in own.flatMap(\.options) where values.isGiven(option) && !methods.contains(where: { takes(option, $0) })
    {
      throw OptionError("--\(option) is no option of --method \(methods.map(\.rawValue).joined(separator: "+"))")
    }
  }

  /// Whether what is trained depends on adapters that lie elsewhere.
  var readsAdapters: Bool { initialAdapter != nil || !frozen.isEmpty || !experts.isEmpty }

  /// What stays of the adapter that a run starts from and is in no checkpoint's parameters: LoRA-FA's `A`, which every start
  /// reads again.
  func frozenStart() throws -> [(String, String)] {
    guard let initialAdapter, lowRank.freezesA, try AdapterFolder.areLowRank([initialAdapter]) else { return [] }
    return [("init-adapter", try AdapterFolder.weightsChecksum(of: initialAdapter))]
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
    try numbers(values, name, of: "layers")
  }

  private static func numbers(_ values: OptionValues, _ name: String, of things: String) throws -> [Int]? {
    guard let text = values.text(name) else { return nil }
    guard let numbers = NumberList.parse(text) else {
      throw OptionError("--\(name) \(text): expected numbers of \(things), such as 0,1,2 or 0-2")
    }
    return numbers
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

  /// - Throws: `OptionError` for a layer that a model of `count` layers has not
  func checkLayers(count: Int) throws {
    for (option, numbers) in layers {
      if let layer = numbers.first(where: { $0 >= count }) {
        throw OptionError("--\(option): there is no layer \(layer), the model has layers 0 to \(count - 1)")
      }
    }
  }

  /// The configuration that the run trains with.
  ///
  /// - Parameter encode: makes tokens of a text to start from
  package func configuration(encode: (String) throws -> [Int32]) throws -> any TuningConfiguration {
    if let initialAdapter {
      let configuration = try AdapterFolder.configuration(of: initialAdapter)
      guard var lowRank = configuration as? LowRankConfiguration else {
        return try withFrozen([.init(name: "adapter", configuration: configuration)])
      }
      if lowRank.useDoRA, !frozen.isEmpty { throw Self.cannotFreeze(under: "the DoRA adapter \(initialAdapter)") }
      lowRank.loraPlusRatio = self.lowRank.loraPlusRatio
      lowRank.freezesA = self.lowRank.freezesA
      return try withFrozen([.init(name: "adapter", configuration: lowRank)])
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
    return try withFrozen(
      try methods.flatMap { method -> [CombinedConfiguration.Part] in
        if hasNoRows, Self.rows.contains(method) { return [] }
        let configuration: any TuningConfiguration
        switch method {
        case .lora, .dora: configuration = lowRank
        case .ia3: configuration = scaling
        case .bottleneck: return bottlenecks.parts
        case .prefixTuning, .ptuningV2: configuration = prefix
        case .promptTuning, .pTuning: configuration = prompt
        case .mixture:
          configuration = MixtureConfiguration(
            experts: try FrozenAdapters(experts), topK: topK, temperature: temperature)
        }
        return [.init(name: method.rawValue, configuration: configuration)]
      })
  }

  /// What is trained with the adapters that stay as they are.
  private func withFrozen(_ parts: [CombinedConfiguration.Part]) throws -> any TuningConfiguration {
    CombinedConfiguration.of(parts, on: frozen.isEmpty ? nil : try FrozenAdapters(frozen))
  }
}
