import Formats
import Memory
import Testing
import Transformer
import Tuning
import WeightStore

/// Adapters beside, under and between each other. What they compute is judged by PEFT in `Tools/check-methods`.
struct SeveralAdaptersTests {
  private func reserve(
    _ configuration: any TuningConfiguration, for model: LanguageModel, trains: Bool = true
  ) throws -> (arena: Arena, method: any TuningMethod) {
    let (arena, method) = try Arena.filled {
      try configuration.reserve(for: model, in: TuningRoom(arena: $0, trainingTokens: trains ? 8 : 0))
    }
    return (arena, method)
  }

  private func tiny() throws -> LanguageModel { try LanguageModel(store: try WeightStore.open(tinyLlama)) }

  /// Runs `body` with folders of LoRA adapters whose factors are all random.
  private func withAdapters(_ configurations: [LowRankConfiguration], _ body: ([String]) throws -> Void) throws {
    let model = try tiny()
    try withTemporaryFolder { root in
      let folders = try configurations.enumerated().map { index, configuration in
        let folder = "\(root)/adapter-\(index)"
        try OutputFolder.create(folder)
        let (arena, method) = try reserve(configuration, for: model)
        try withExtendedLifetime(arena) {
          method.initialize(seed: UInt64(index))
          for entry in method.trainables.entries {
            entry.assign((0..<entry.count).map { Float(($0 &* 37 &+ index &* 11) % 101) / 100 - 0.5 })
          }
          try method.save(to: folder, baseModel: "tiny")
        }
        return folder
      }
      try body(folders)
    }
  }

  private var experts: [LowRankConfiguration] {
    [
      LowRankConfiguration(rank: 4, alpha: 8), LowRankConfiguration(rank: 2, alpha: 3),
      LowRankConfiguration(rank: 3, targetModules: .names(["q_proj", "o_proj"])),
    ]
  }

  @Test func aMixtureIsWrittenWithItsExpertsAndReadAgain() throws {
    try withAdapters(experts) { folders in
      let model = try tiny()
      try withTemporaryFolder { mixture in
        var combination = AdapterCombination(kind: .arrow)
        combination.topK = 2
        try combination.combine(folders.map { WeightedAdapter($0) }, to: mixture)
        let found = try AdapterFolder.configuration(of: mixture)
        let configuration = try #require(found as? MixtureConfiguration)
        #expect(configuration.topK == 2 && configuration.temperature == 1)
        let (arena, method) = try reserve(configuration, for: model)
        try withExtendedLifetime(arena) {
          try method.load(from: mixture)
          // A prototype for each expert that the layer has, of length 1: the third one knows other layers.
          let shapes = method.trainables.entries.map {
            "\($0.name.split(separator: ".").suffix(3).first ?? "-") \($0.shape[0])"
          }
          #expect(Set(shapes) == ["q_proj 3", "v_proj 2", "o_proj 1"])
          for entry in method.trainables.entries {
            for row in 0..<entry.matrix.rows { #expect(abs(entry.matrix.row(row).sumOfSquares() - 1) < 1e-5) }
          }
          try withTemporaryFolder { again in
            try method.save(to: again, baseModel: "tiny")
            let before = try SafetensorsFile(path: "\(mixture)/adapter_model.safetensors")
            let after = try SafetensorsFile(path: "\(again)/adapter_model.safetensors")
            #expect(before.tensorNames.count > 3 && Set(before.tensorNames) == Set(after.tensorNames))
            for name in before.tensorNames { #expect(before.tensor(name)?.floats() == after.tensor(name)?.floats()) }
          }
        }
      }
    }
  }

  @Test func anExpertOfAnotherModelIsRefused() throws {
    try withAdapters([experts[0]]) { folders in
      let experts = try FrozenAdapters([WeightedAdapter(folders[0]), WeightedAdapter(folders[0])])
      let other = try LanguageModel(store: try WeightStore.open(golden("gpt2")))
      #expect(throws: AdapterError.self) { try reserve(MixtureConfiguration(experts: experts), for: other) }
    }
  }

  /// Layers that only the frozen one knows take part, and belong to no file.
  @Test func whatIsUnderAnAdapterIsNotWritten() throws {
    try withAdapters([LowRankConfiguration(rank: 4, targetModules: .allLinear)]) { folders in
      var configuration = LowRankConfiguration(rank: 2, alpha: 8, targetModules: .names(["v_proj"]))
      configuration.frozen = try FrozenAdapters([WeightedAdapter(folders[0] + ":0.5")])
      let model = try tiny()
      let (arena, method) = try reserve(configuration, for: model)
      try withExtendedLifetime(arena) {
        #expect(method.trainables.entries.allSatisfy { $0.name.contains("v_proj") })
        let kept = model.linearLocations.map {
          "\($0.name.split(separator: ".").last ?? "-") \(method.keptColumns(at: $0))"
        }
        #expect(Set(kept).contains("v_proj 6") && Set(kept).contains("down_proj 4"))
        method.initialize(seed: 3)
        try withTemporaryFolder { folder in
          try method.save(to: folder, baseModel: "tiny")
          let file = try SafetensorsFile(path: "\(folder)/adapter_model.safetensors")
          #expect(file.tensorNames.count == method.trainables.entries.count)
          #expect(try LowRankConfiguration.load(from: folder).frozen == nil)
          try method.load(from: folder)
        }
      }
    }
  }

  @Test func twoMethodsAtOnePlaceAreRefused() throws {
    let both = CombinedConfiguration([
      .init(name: "lora", configuration: LowRankConfiguration()),
      .init(name: "ia3", configuration: ScalingConfiguration()),
    ])
    let model = try tiny()
    do {
      _ = try reserve(both, for: model)
      Issue.record("two methods at one place")
    } catch let error as AdapterError {
      #expect("\(error)".contains("Merge one of them"))
    }
  }

  /// A head is trained once, with the first method.
  @Test func aHeadBelongsToOneOfTwoMethods() throws {
    let model = try LanguageModel(store: try WeightStore.open(golden("qwen3-labels")))
    let both = CombinedConfiguration([
      .init(name: "bottleneck", configuration: BottleneckConfiguration()),
      .init(name: "prefix_tuning", configuration: PrefixConfiguration(count: 2)),
    ])
    let (arena, method) = try reserve(both, for: model)
    withExtendedLifetime(arena) {
      #expect(method.trainables.entries.count { $0.name.contains("score") } == 1)
      #expect(method.prefixCount == 2 && model.linearLocations.contains { !method.blockAdapters(at: $0).isEmpty })
    }
  }

  /// Its folder is one of AdapterHub's and one of PEFT's, and so is one that stands for two.
  @Test func theFolderOfTwoIsThatOfBoth() throws {
    let model = try tiny()
    try withTemporaryFolder { root in
      let (bottlenecks, prefixes, both) = ("\(root)/bottleneck", "\(root)/prefix", "\(root)/both")
      for folder in [bottlenecks, prefixes, both] { try OutputFolder.create(folder) }
      let parts: [(any TuningConfiguration, String)] = [
        (BottleneckConfiguration(), bottlenecks), (PrefixConfiguration(count: 3), prefixes),
      ]
      for (configuration, folder) in parts {
        let (arena, method) = try reserve(configuration, for: model)
        try withExtendedLifetime(arena) {
          method.initialize(seed: 9)
          try method.save(to: folder, baseModel: "tiny")
        }
      }
      try AdapterUnion.link([WeightedAdapter(bottlenecks), WeightedAdapter(prefixes)], in: both)
      let json = try JSONValue.parse(contentsOf: "\(both)/adapter_config.json")
      #expect(json["peft_type"]?.stringValue == "PREFIX_TUNING" && json["config"]?["reduction_factor"] != nil)
      let (arena, method) = try AdapterFolder.open(both, for: model)
      withExtendedLifetime(arena) {
        #expect(method.prefixCount == 3 && method.trainables.entries.contains { $0.name.contains("adapter_down") })
      }
      #expect(try !AdapterFolder.areLowRank([both]))
      #expect(throws: AdapterError.self) {
        try AdapterUnion.link([WeightedAdapter(prefixes), WeightedAdapter(prefixes)], in: both)
      }
      #expect(throws: AdapterError.self, "two already") {
        try AdapterUnion.link([WeightedAdapter(both), WeightedAdapter(prefixes)], in: both)
      }
    }
  }
}
