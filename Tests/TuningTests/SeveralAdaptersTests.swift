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

  /// What is refused of an adapter, and `nil` where nothing is.
  private func refusal(_ body: () throws -> Void) -> String? {
    do { try body() } catch { return "\(error)" }
    return nil
  }

  @Test func anAdapterThatIsNotFiniteIsRefusedByItsTensor() throws {
    try withAdapters([LowRankConfiguration(rank: 2)]) { folders in
      let path = "\(folders[0])/adapter_model.safetensors"
      let file = try SafetensorsFile(path: path)
      let all = file.tensorNames.compactMap(file.tensor).map { (name: $0.name, shape: $0.shape, values: $0.floats()) }
      let bad = try #require(all.first).name
      let tensors = all.map { tensor in
        let values: [Float] = tensor.name == bad ? [Float.infinity] + tensor.values.dropFirst() : tensor.values
        return (name: tensor.name, shape: tensor.shape, values: values)
      }
      try SafetensorsWriter.write(tensors, to: path)
      let expected = "\(path): tensor \(bad): element 0 of \(all[0].values.count) is not finite"
      let model = try tiny()
      let opening = refusal { _ = try AdapterFolder.open(folders[0], for: model) }
      #expect(opening?.contains(expected) == true, "\(opening ?? "")")
      try withTemporaryFolder { sum in
        let adapters = folders.map { WeightedAdapter(directory: $0, weight: 0.5) }
        let adding = refusal { try AdapterCombination(kind: .cat).combine(adapters, to: sum) }
        #expect(adding?.contains(expected) == true, "\(adding ?? "")")
      }
    }
  }

  @Test func whatStandsBeneathIsNamedByItsOwnFolder() throws {
    var weightDecomposed = LowRankConfiguration(rank: 2)
    weightDecomposed.useDoRA = true
    try withAdapters([weightDecomposed, LowRankConfiguration(rank: 2)]) { folders in
      try withTemporaryFolder { union in
        try AdapterUnion.link(folders.map { WeightedAdapter($0) }, in: union)
        let refused = refusal { _ = try AdapterFolder.configuration(of: union) }
        #expect(refused?.hasPrefix("\(folders[0])/adapter_config.json: a DoRA adapter") == true, "\(refused ?? "")")
      }
    }
  }

  @Test func aWeightFollowsAFolderThatIsThere() throws {
    try withTemporaryFolder { root in
      try OutputFolder.create("\(root)/run:2")
      let (whole, weighted) = (WeightedAdapter("\(root)/run:2"), WeightedAdapter("\(root)/run:2:0.5"))
      #expect(whole.directory == "\(root)/run:2" && whole.weight == 1)
      #expect(weighted.directory == "\(root)/run:2" && weighted.weight == 0.5)
      #expect(WeightedAdapter("\(root)/run:3").weight == 3)
    }
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

  /// A GGUF LoRA is none.
  @Test func aFileIsNoFolderOfAnAdapter() throws {
    try withTemporaryFolder { folder in
      let file = "\(folder)/lora.gguf"
      try OutputFile.write("GGUF", to: file)
      let reads: [() throws -> Void] = [
        { _ = try AdapterFolder.areLowRank([file]) }, { _ = try AdapterFolder.configuration(of: file) },
        { _ = try AdapterSummary(of: file) }, { _ = try FrozenAdapters([WeightedAdapter(file)]) },
      ]
      for read in reads {
        do {
          try read()
          Issue.record("a file was read as a folder")
        } catch let error as AdapterError {
          #expect("\(error)".contains("expected the folder of an adapter"))
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
    try withTemporaryFolder { folder in
      try withExtendedLifetime(arena) { try method.save(to: folder, baseModel: "tiny") }
      #expect(try AdapterFolder.labelling(of: folder, base: model.description) == model.description.labelling)
      let json = try JSONValue.parse(contentsOf: "\(folder)/adapter_config.json")
      #expect(json["task_type"]?.stringValue == "SEQ_CLS")
    }
    // Of two that were trained apart, each with a head, that of the bottleneck counts.
    let others: [any TuningConfiguration] = [
      PrefixConfiguration(count: 2), ScalingConfiguration(), LowRankConfiguration(rank: 2),
    ]
    for other in others {
      try withTemporaryFolder { root in
        let folders = try [BottleneckConfiguration(), other].enumerated().map { index, configuration in
          let folder = "\(root)/\(index)"
          try OutputFolder.create(folder)
          let (arena, method) = try reserve(configuration, for: model)
          try withExtendedLifetime(arena) {
            method.initialize(seed: UInt64(index))
            try method.save(to: folder, baseModel: "tiny")
          }
          return WeightedAdapter(folder)
        }
        let both = "\(root)/both"
        try OutputFolder.create(both)
        try AdapterUnion.link(folders, in: both)
        let (arena, found) = try AdapterFolder.open(both, for: model)
        withExtendedLifetime(arena) {
          #expect(found.trainables.entries.count { $0.name.contains("score") } == 1)
        }
      }
    }
  }

  /// Writes an adapter with numbers of its own.
  @discardableResult
  private func write(_ configuration: any TuningConfiguration, seed: Int, to folder: String) throws -> [[Float]] {
    try OutputFolder.create(folder)
    let (arena, method) = try reserve(configuration, for: try tiny())
    return try withExtendedLifetime(arena) {
      for (index, entry) in method.trainables.entries.enumerated() {
        entry.assign((0..<entry.count).map { Float(($0 &* 37 &+ (index + seed) &* 11) % 101) / 100 - 0.5 })
      }
      try method.save(to: folder, baseModel: "tiny")
      return method.trainables.entries.map(\.values)
    }
  }

  private func read(_ folder: String) throws -> (method: any TuningMethod, values: [[Float]]) {
    let (arena, method) = try AdapterFolder.open(folder, for: try tiny())
    return withExtendedLifetime(arena) { (method, method.trainables.entries.map(\.values)) }
  }

  /// What was trained while LoRA adapters took part is used with them.
  @Test func othersStandOnTheSumOfLowRankOnes() throws {
    try withAdapters(experts) { folders in
      try withTemporaryFolder { root in
        let (prefix, bottleneck, scaled) = ("\(root)/prefix", "\(root)/bottleneck", "\(root)/scaled")
        let above = try write(PrefixConfiguration(count: 3), seed: 2, to: prefix)
        try write(BottleneckConfiguration(), seed: 3, to: bottleneck)
        try write(ScalingConfiguration(), seed: 4, to: scaled)
        for (index, words) in [
          [folders[0], prefix], [folders[0] + ":0.5", folders[1], prefix], [folders[1] + ":2", bottleneck],
          [folders[0], folders[1], folders[2], bottleneck, prefix],
        ].enumerated() {
          let link = "\(root)/link-\(index)"
          try OutputFolder.create(link)
          try AdapterUnion.link(words.map { WeightedAdapter($0) }, in: link)
          let model = try tiny()
          let (arena, method) = try AdapterFolder.open(link, for: model)
          withExtendedLifetime(arena) {
            let columns = model.linearLocations.map { method.keptColumns(at: $0) }.max()
            #expect(columns == [4, 6, 2, 9][index])
            #expect(method.prefixCount == (index == 2 ? 0 : 3))
            let values = method.trainables.entries.map(\.values)
            #expect(index == 2 || values.suffix(above.count) == above[...])
          }
        }
        // What no sum has stands on the others.
        var whole = LowRankConfiguration(rank: 2)
        whole.wholeModules = ["norm"]
        try write(whole, seed: 5, to: "\(root)/whole")
        let adapters = [WeightedAdapter(folders[0] + ":0.5"), WeightedAdapter("\(root)/whole")]
        #expect(!AdapterCombination.canSum(adapters))
        #expect(AdapterCombination.canSum(folders.map { WeightedAdapter($0) }))
        try OutputFolder.create("\(root)/whole-link")
        try AdapterUnion.link(adapters, in: "\(root)/whole-link")
        let model = try tiny()
        let (arena, method) = try AdapterFolder.open("\(root)/whole-link", for: model)
        withExtendedLifetime(arena) {
          #expect(model.linearLocations.map { method.keptColumns(at: $0) }.max() == 6)
          #expect(method.trainables.entries.contains { $0.name.hasSuffix("model.norm.weight") })
        }
        for words in [[folders[0], prefix, prefix], [folders[0], bottleneck + ":2"]] {
          let link = "\(root)/wrong"
          try OutputFolder.create(link)
          #expect(throws: AdapterError.self, "\(words)") {
            try AdapterUnion.link(words.map { WeightedAdapter($0) }, in: link)
          }
        }
        let link = "\(root)/scaled-link"
        try OutputFolder.create(link)
        try AdapterUnion.link([WeightedAdapter(folders[0]), WeightedAdapter(scaled)], in: link)
        #expect(throws: AdapterError.self) { try AdapterFolder.open(link, for: try tiny()) }
      }
    }
  }

  /// A serial and a parallel bottleneck of one folder, and those of two folders by their names.
  @Test func twoBottlenecksAtOnceHaveFilesEach() throws {
    let serial = BottleneckConfiguration(kind: .sequential, reductionFactor: 4, leaveOut: [0, 2, 3])
    let parallel = BottleneckConfiguration(kind: .parallel, reductionFactor: 8, name: "parallel")
    try withTemporaryFolder { root in
      let both = "\(root)/both"
      let values = try write(
        CombinedConfiguration(BottleneckConfiguration.together(serial: serial, parallel: parallel)), seed: 1, to: both)
      let names = try ["adapter", "parallel_adapter"].map {
        try SafetensorsFile(path: "\(both)/\($0).safetensors").tensorNames
      }
      #expect(names[0].count == 4 && names[0].allSatisfy { $0.contains(".1.output_adapters.adapters.adapter.") })
      #expect(names[1].count == 16 && names[1].allSatisfy { $0.contains(".output_adapters.adapters.parallel.") })
      #expect(try read(both).values == values)
      let lines = try AdapterSummary(of: both).lines
      #expect(lines.contains { $0.value == "bottleneck and parallel bottleneck" })

      // The same by the names of two, whatever their order, and a prefix with them.
      let (one, other, prefix) = ("\(root)/serial", "\(root)/parallel", "\(root)/prefix")
      let apart = try write(serial, seed: 1, to: one) + write(parallel, seed: 5, to: other)
      try write(PrefixConfiguration(count: 3), seed: 2, to: prefix)
      for (index, folders) in [[one, other], [other, one], [prefix, other, one], [both, prefix]].enumerated() {
        let link = "\(root)/link-\(index)"
        try OutputFolder.create(link)
        try AdapterUnion.link(folders.map { WeightedAdapter($0) }, in: link)
        let found = try read(link)
        let wanted = index == 3 ? values : apart
        #expect(Array(found.values.prefix(20)) == wanted, "\(folders)")
        #expect(found.method.prefixCount == (index < 2 ? 0 : 3))
      }
      for folders in [[one, one], [both, other], [one, both], [prefix, prefix, one]] {
        let link = "\(root)/wrong"
        try OutputFolder.create(link)
        #expect(throws: AdapterError.self, "\(folders)") {
          try AdapterUnion.link(folders.map { WeightedAdapter($0) }, in: link)
        }
      }
    }
  }

  @Test func aFolderOfTwoBottlenecksWithoutOneIsRefused() throws {
    try withTemporaryFolder { root in
      let both = "\(root)/both"
      try write(
        CombinedConfiguration(
          BottleneckConfiguration.together(
            serial: BottleneckConfiguration(),
            parallel: BottleneckConfiguration(kind: .parallel, name: "parallel"))), seed: 1, to: both)
      let path = "\(both)/adapter_config.json"
      let json = try JSONValue.parse(contentsOf: path)
      for second in [.object(JSONObject([])), .string("par_bn"), json] as [JSONValue] {
        var object = try #require(json.objectValue)
        object["parallel_adapter"] = second
        try OutputFile.write(JSONValue.object(object).serialized(), to: path)
        #expect(throws: UnsupportedAdapter.self) { try AdapterFolder.configuration(of: both) }
      }
      try OutputFile.write(json.serialized(), to: path)
      try OutputFile.write("", to: "\(both)/parallel_adapter.safetensors")
      #expect(throws: (any Error).self) { try read(both) }
    }
  }

  /// Of layers that are left out a file has nothing.
  @Test func aPrefixMayBeInSomeLayers() throws {
    try withTemporaryFolder { folder in
      var configuration = PrefixConfiguration(count: 3)
      let whole = try write(configuration, seed: 4, to: "\(folder)/whole")
      configuration.leaveOut = [0]
      let some = try write(configuration, seed: 4, to: "\(folder)/some")
      #expect(4 * some[0].count == 3 * whole[0].count)
      let json = try JSONValue.parse(contentsOf: "\(folder)/some/adapter_config.json")
      #expect(json["num_layers"]?.intValue == 3 && json["leave_out"]?.arrayValue?.count == 1)
      #expect(try read("\(folder)/some").values == some)
      configuration.leaveOut = [0, 1, 2, 3]
      #expect(throws: AdapterError.self) { try reserve(configuration, for: try tiny()) }
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
