import Formats
import Kernels
import Memory
import Testing
import Transformer
import Tuning
import WeightStore

/// What is true of every method, and where PEFT and AdapterHub put things.
struct MethodsTests {
  private static let configurations: [any TuningConfiguration] = {
    var dora = LowRankConfiguration(rank: 4)
    dora.useDoRA = true
    var patterns = LowRankConfiguration(rank: 4, alpha: 8, targetModules: .names(["q_proj", "o_proj"]))
    patterns.rankPattern = [.init(pattern: #"layers\.1\.self_attn\.q_proj"#, value: 2)]
    patterns.selection = TargetSelection(excluded: .names(["layers.2.self_attn.o_proj"]), layers: [1, 2])
    return [
      dora, patterns, ScalingConfiguration(), PrefixConfiguration(count: 3), BottleneckConfiguration(),
      BottleneckConfiguration(kind: .doubleSequential, leaveOut: [0]),
      BottleneckConfiguration(kind: .parallel, nonLinearity: .gelu), PromptConfiguration(count: 3),
      PromptConfiguration(count: 2, isPTuning: true),
      CombinedConfiguration([
        .init(name: "bottleneck", configuration: BottleneckConfiguration()),
        .init(name: "prefix_tuning", configuration: PrefixConfiguration(count: 3)),
      ]),
    ]
  }()

  private func reserve(_ configuration: any TuningConfiguration, for model: LanguageModel) throws -> (
    arena: Arena, method: any TuningMethod
  ) {
    let (arena, method) = try Arena.filled {
      try configuration.reserve(for: model, in: TuningRoom(arena: $0, trainingTokens: 8))
    }
    return (arena, method)
  }

  @Test(arguments: configurations.indices) func whatAMethodWritesIsReadAgain(index: Int) throws {
    try expectRoundTrip(Self.configurations[index], for: tinyLlama)
  }

  @Test(arguments: ["bert", "distilbert", "roberta", "xlm-roberta", "qwen3-labels"])
  func aHeadIsReadAgainWithEveryMethod(name: String) throws {
    var dora = LowRankConfiguration(rank: 4)
    dora.useDoRA = true
    let configurations: [any TuningConfiguration] = [
      LowRankConfiguration(rank: 4, targetModules: .allLinear), dora, ScalingConfiguration(),
      PrefixConfiguration(count: 3), PromptConfiguration(count: 3),
    ]
    for configuration in configurations { try expectRoundTrip(configuration, for: golden(name)) }
    for kind in BottleneckConfiguration.Kind.allCases {
      try expectRoundTrip(BottleneckConfiguration(kind: kind), for: golden(name))
    }
  }

  /// Names and labels of AdapterHub's files, made here and made there.
  @Test(arguments: [("bert", "seq_bn"), ("distilbert", "double_seq_bn"), ("xlm-roberta", "double_seq_bn")])
  func anAdapterOfAdapterHubComesBackWithItsHead(base: String, kind: String) throws {
    let folder = golden("bottlenecks/\(base)-\(kind)")
    let model = try LanguageModel(store: try WeightStore.open(golden(base)))
    let (arena, method) = try AdapterFolder.open(folder, for: model)
    let labelling = try AdapterFolder.labelling(of: folder, base: model.description)
    #expect(labelling?.labels == ["down", "level", "up"])
    try withExtendedLifetime(arena) {
      try withTemporaryFolder { written in
        try method.save(to: written, baseModel: base)
        for file in ["adapter", "model_head"] {
          let mine = try SafetensorsFile(path: "\(written)/\(file).safetensors")
          let theirs = try SafetensorsFile(path: "\(folder)/\(file).safetensors")
          #expect(Set(mine.tensorNames) == Set(theirs.tensorNames))
          for tensor in theirs.tensorNames { #expect(mine.tensor(tensor)?.floats() == theirs.tensor(tensor)?.floats()) }
        }
        let mine = try AdapterHubHead.load(directory: written)
        let theirs = try AdapterHubHead.load(directory: folder)
        #expect(mine.labels == theirs.labels && mine.modelClass == theirs.modelClass)
        #expect(mine.modelType == theirs.modelType && mine.hiddenSize == theirs.hiddenSize)
      }
    }
  }

  private func expectRoundTrip(_ configuration: any TuningConfiguration, for directory: String) throws {
    let model = try LanguageModel(store: try WeightStore.open(directory))
    let (arena, method) = try reserve(configuration, for: model)
    let hasHead = method.trainables.entries.contains { $0.name.contains("classifier") || $0.name.contains("score") }
    #expect(hasHead == (model.labelHead != nil))
    try withExtendedLifetime(arena) {
      method.initialize(seed: 5)
      try withTemporaryFolder { folder in
        try method.save(to: folder, baseModel: "tiny")
        let found = try AdapterFolder.configuration(of: folder)
        let (other, again) = try reserve(found, for: model)
        try withExtendedLifetime(other) {
          try again.load(from: folder)
          #expect(again.trainables.entries.map(\.name) == method.trainables.entries.map(\.name))
          #expect(again.trainables.parameters.values == method.trainables.parameters.values)
        }
      }
    }
  }

  /// PEFT wraps layers with adapters; the others keep their names.
  @Test(arguments: [("gpt2", TrainedBiases.adapted), ("qwen2-bias", .adapted), ("qwen2-bias", .all)])
  func biasesAreTrainedAlong(name: String, biases: TrainedBiases) throws {
    var configuration = LowRankConfiguration(rank: 2)
    configuration.biases = biases
    try expectRoundTrip(configuration, for: golden(name))
    let model = try LanguageModel(store: try WeightStore.open(golden(name)))
    let (arena, method) = try reserve(configuration, for: model)
    withExtendedLifetime(arena) {
      method.initialize(seed: 1)
      let names = method.trainables.entries.filter { $0.name.hasSuffix("bias") }
      #expect(names.contains { $0.name.hasSuffix(".base_layer.bias") })
      #expect(names.contains { !$0.name.contains("base_layer") } == (biases == .all))
      let location = model.linearLocations.first { names[0].name.contains($0.name) }
      #expect(location.flatMap { model.bias(at: $0) }?.values == names[0].values, "it starts with the model's")
    }
  }

  /// Rows of tokens start as the model's, and are written by PEFT's name for them.
  @Test(arguments: ["gpt2", "gemma3", "bert"]) func rowsOfTokensAreTrainedAlong(name: String) throws {
    var configuration = LowRankConfiguration(rank: 2)
    configuration.biases = .all
    configuration.trainedTokens = [.init(tokens: [5, 2])]
    try expectRoundTrip(configuration, for: golden(name))
    let model = try LanguageModel(store: try WeightStore.open(golden(name)))
    let (arena, method) = try reserve(configuration, for: model)
    withExtendedLifetime(arena) {
      method.initialize(seed: 1)
      let rows = method.trainables.entries.first { $0.name.hasSuffix(".token_adapter.trainable_tokens_delta") }
      #expect(rows?.shape == [2, model.embeddingWidth])
      let norms = method.trainables.entries.filter { entry in
        model.normBiases.contains { entry.name == "base_model.model.\($0.name)" }
      }
      #expect(norms.count == model.normBiases.count)
    }
  }

  @Test(arguments: [
    [PEFTLoRA.TokenRows(tokens: [5000])], [.init(tokens: [1, 1])], [.init(module: "lm_head", tokens: [1])],
    [.init(tokens: [1]), .init(module: "q_proj", tokens: [1])],
  ]) func rowsThatAreNotThereAreRefused(rows: [PEFTLoRA.TokenRows]) throws {
    var configuration = LowRankConfiguration(rank: 2)
    configuration.trainedTokens = rows
    #expect(throws: AdapterError.self) { try expectRoundTrip(configuration, for: golden("gpt2")) }
  }

  /// Modules start as the model's and have PEFT's names; a name means all that end with it.
  @Test(arguments: [
    ("gpt2", ["wte", "ln_f"], ["transformer.wte.weight", "transformer.ln_f.weight", "transformer.ln_f.bias"]),
    ("gemma3", ["model.norm", "lm_head"], ["model.norm.weight", "lm_head.weight"]),
    ("llama", ["embed_tokens", "lm_head"], ["model.embed_tokens.weight", "lm_head.weight"]),
    ("neox", ["embed_in", "lm_head"], ["gpt_neox.embed_in.weight", "lm_head.weight"]),
    ("qwen3", ["q_norm"], nil), ("bert", ["LayerNorm", "word_embeddings", "classifier"], nil),
  ]) func wholeModulesAreTrainedAlong(name: String, modules: [String], tensors: [String]?) throws {
    var configuration = LowRankConfiguration(rank: 2)
    configuration.wholeModules = modules
    configuration.biases = .all
    try expectRoundTrip(configuration, for: golden(name))
    let model = try LanguageModel(store: try WeightStore.open(golden(name)))
    let (arena, method) = try reserve(configuration, for: model)
    withExtendedLifetime(arena) {
      method.initialize(seed: 1)
      let entries = method.trainables.entries
      #expect(Set(entries.map(\.name)).count == entries.count)
      let names = Set(entries.map { String($0.name.dropFirst("base_model.model.".count)) })
      if let tensors { #expect(names.isSuperset(of: tensors)) }
      for (path, values, offset) in model.normWeights {
        let entry = entries.first { $0.name == "base_model.model.\(path).weight" }
        #expect((entry != nil) == modules.contains { path.hasSuffix($0) })
        if let entry { #expect(entry.values == values.values.map { $0 - offset } && !entry.decays) }
      }
    }
  }

  /// The folder says what stays tied, and holds the matrix by both names, as PEFT wants it.
  @Test func aTiedHeadCanStayTied() throws {
    var configuration = LowRankConfiguration(rank: 2)
    configuration.wholeModules = ["lm_head"]
    configuration.ensuresWeightTying = true
    try expectRoundTrip(configuration, for: golden("gpt2"))
    let model = try LanguageModel(store: try WeightStore.open(golden("gpt2")))
    let (arena, method) = try reserve(configuration, for: model)
    try withExtendedLifetime(arena) {
      method.initialize(seed: 1)
      try withTemporaryFolder { folder in
        try method.save(to: folder, baseModel: "tiny")
        let found = try LowRankConfiguration.load(from: folder)
        #expect(found.ensuresWeightTying && found.wholeModules == ["lm_head"])
        let file = try SafetensorsFile(path: "\(folder)/adapter_model.safetensors")
        let embedding = file.tensor("base_model.model.transformer.wte.weight")?.floats()
        #expect(embedding != nil && embedding == file.tensor("base_model.model.lm_head.weight")?.floats())
      }
    }
  }

  @Test(arguments: [["c_fc"], ["mlp"], ["wpe"], ["nothing"], ["ln_1", "embed_tokens"], ["transformer"]])
  func modulesThatAreNotTrainedWholeAreRefused(modules: [String]) throws {
    var configuration = LowRankConfiguration(rank: 2)
    configuration.wholeModules = modules
    #expect(throws: AdapterError.self) { try expectRoundTrip(configuration, for: golden("gpt2")) }
    configuration.wholeModules = ["wte"]
    configuration.trainedTokens = [.init(tokens: [1])]
    #expect(throws: AdapterError.self) { try expectRoundTrip(configuration, for: golden("gpt2")) }
  }

  @Test func patternsDecideRanksAndLayers() throws {
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    let (arena, method) = try reserve(Self.configurations[1], for: model)
    withExtendedLifetime(arena) {
      let shapes = method.trainables.entries.filter { $0.name.hasSuffix("lora_A.weight") }.map {
        ($0.name, $0.shape[0])
      }
      let prefix = "base_model.model.model.layers."
      #expect(
        shapes.map(\.0) == [
          "\(prefix)1.self_attn.q_proj.lora_A.weight", "\(prefix)1.self_attn.o_proj.lora_A.weight",
          "\(prefix)2.self_attn.q_proj.lora_A.weight",
        ])
      #expect(shapes.map(\.1) == [2, 4, 4])
    }
  }

  @Test func tensorsAreCalledAsPEFTAndAdapterHubCallThem() throws {
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    func names(_ index: Int) throws -> [String] {
      let (arena, method) = try reserve(Self.configurations[index], for: model)
      return withExtendedLifetime(arena) { method.trainables.entries.map { "\($0.name) \($0.shape)" } }
    }
    #expect(try names(0).contains("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector [128]"))
    #expect(try names(2).contains("base_model.model.model.layers.0.self_attn.v_proj.ia3_l [64, 1]"))
    #expect(try names(3).first?.hasPrefix("prompt_embeddings [3, ") == true)
    #expect(
      try names(4).prefix(2) == [
        "model.layers.0.output_adapters.adapters.adapter.adapter_down.0.weight [8, 128]",
        "model.layers.0.output_adapters.adapters.adapter.adapter_down.0.bias [8]",
      ])
    #expect(try names(5).first?.hasPrefix("model.layers.1.attention_adapters.") == true)
  }

  @Test func onlyWhatIsInTheWeightsCanBeMerged() throws {
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    let mergeable = try Self.configurations.map { configuration in
      let (arena, method) = try reserve(configuration, for: model)
      return withExtendedLifetime(arena) { method is any MergeableMethod }
    }
    #expect(mergeable == [true, true, true, false, false, false, false, false, false, false])
  }

  @Test func aLearningRateOfBAloneIsThatOfLoRAPlus() throws {
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    var configuration = LowRankConfiguration(rank: 4)
    let (plain, without) = try reserve(configuration, for: model)
    withExtendedLifetime(plain) { #expect(without.trainables.updateParts(hasDecay: true).isEmpty) }
    configuration.loraPlusRatio = 16
    let (arena, method) = try reserve(configuration, for: model)
    withExtendedLifetime(arena) {
      let parts = method.trainables.updateParts(hasDecay: false)
      #expect(parts.prefix(2).map(\.factor) == [1, 16])
      #expect(parts.last?.elements.upperBound == method.trainables.parameters.count)
    }
  }

  /// As PEFT's `create_loraplus_optimizer` has it: `B`, and whatever has one dimension.
  @Test func theRateOfLoRAPlusIsThatOfVectorsToo() throws {
    var configuration = LowRankConfiguration(rank: 2, targetModules: .allLinear)
    configuration.loraPlusRatio = 16
    configuration.biases = .all
    for name in ["roberta", "llama-biases"] {
      if name == "llama-biases" { configuration.wholeModules = ["norm"] }
      let model = try LanguageModel(store: try WeightStore.open(golden(name)))
      let (arena, method) = try reserve(configuration, for: model)
      try withExtendedLifetime(arena) {
        let entries = method.trainables.entries
        for entry in entries {
          let expected: Double = entry.isVector || entry.name.contains("lora_B") ? 16 : 1
          #expect(entry.learningRateFactor == expected, "\(entry.name)")
        }
        try #require(entries.contains { $0.isVector && $0.name.hasSuffix("bias") })
      }
    }
  }

  /// A draw of 0, which comes once in 2^24: of this seed at once.
  @Test func noStartIsOutsideTheNumbers() throws {
    let seed: UInt64 = 0x61C8_8646_80B5_83EB
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    var gaussian = LowRankConfiguration(rank: 2)
    gaussian.initialisation = .gaussian
    let configurations: [any TuningConfiguration] = [
      gaussian, BottleneckConfiguration(), PrefixConfiguration(count: 1), PromptConfiguration(count: 1),
    ]
    for configuration in configurations {
      let (arena, method) = try reserve(configuration, for: model)
      withExtendedLifetime(arena) {
        method.initialize(seed: seed)
        #expect(method.trainables.parameters.sumOfSquares().isFinite, "\(configuration)")
      }
    }
  }

  /// PEFT's file of (IA)³ has no numbers of layers.
  @Test func factorsOfSomeLayersAreReadAgain() throws {
    let configuration = ScalingConfiguration(selection: TargetSelection(layers: [1]))
    try expectRoundTrip(configuration, for: tinyLlama)
    try expectRoundTrip(configuration, for: golden("bert"))
  }

  /// What LoRA-FA computes once is in the plan: of a large rank it is as large as the factors.
  @Test func correctionsOfLoRAFAHaveTheirRoom() throws {
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    var configuration = LowRankConfiguration(rank: 64, targetModules: .allLinear)
    configuration.freezesA = true
    let (arena, method) = try reserve(configuration, for: model)
    withExtendedLifetime(method) {
      let corrections = arena.buffers.filter { $0.name == "correction of a gradient" }
      #expect(corrections.map(\.byteCount) == [Int](repeating: 64 * 64 * 4, count: 28))
    }
  }

  /// As transformers' `Trainer` does, and only where there is decay: else nothing has to be taken apart.
  @Test func biasesDoNotDecay() throws {
    let model = try LanguageModel(store: try WeightStore.open(golden("roberta")))
    let (arena, method) = try reserve(BottleneckConfiguration(), for: model)
    withExtendedLifetime(arena) {
      let trainables = method.trainables
      #expect(trainables.updateParts(hasDecay: false).isEmpty)
      let fixed = zip(trainables.entries, trainables.updateParts(hasDecay: true)).filter { !$1.decays }.map(\.0.name)
      #expect(fixed == trainables.entries.map(\.name).filter { $0.hasSuffix("bias") } && fixed.count == 6)
    }
  }
}
