import Formats
import Foundation
import Kernels
import Memory
import Testing
import Transformer
import Tuning
import WeightStore

@Test(arguments: [
  #""init_lora_weights": "pissa_niter_4""#, #""bias": "some""#,
  #""lora_bias": true"#, #""layer_replication": [[0, 4], [2, 5]]"#,
  #""r": 0"#,
  #""peft_type": "IA3""#, #""target_modules": null"#, #""lora_alpha": "x""#,
])
func anAdapterThatCannotBeHonouredIsRefused(setting: String) throws {
  try withTemporaryFolder { folder in
    let key = setting.split(separator: ":")[0]
    let plain = [
      #""peft_type": "LORA""#, #""r": 8"#, #""lora_alpha": 16"#, #""target_modules": ["q_proj"]"#,
      #""lora_bias": false"#,
      #""exclude_modules": null"#, #""init_lora_weights": true"#,
    ]
    let file = "\(folder)/adapter_config.json"
    try "{\(plain.joined(separator: ", "))}".write(toFile: file, atomically: true, encoding: .utf8)
    #expect(throws: Never.self) { try LowRankConfiguration.load(from: folder) }
    let changed = plain.filter { !$0.hasPrefix(key) } + [setting]
    try "{\(changed.joined(separator: ", "))}".write(toFile: file, atomically: true, encoding: .utf8)
    #expect(throws: (any Error).self) { try LowRankConfiguration.load(from: folder) }
  }
}

/// A method for a model, whose parameters are there.
private func method(
  _ configuration: LowRankConfiguration, for model: LanguageModel, trainingTokens: Int = 0
) throws -> (arena: Arena, method: LowRankMethod) {
  let (arena, method) = try Arena.filled {
    try LowRankMethod(
      configuration: configuration, model: model, in: TuningRoom(arena: $0, trainingTokens: trainingTokens))
  }
  return (arena, method)
}

/// What PEFT wrote is read, and written again as PEFT wrote it.
@Test(arguments: TargetModulesTests.models.map(\.variant)) func anAdapterOfPEFTComesBackAsItWas(variant: String) throws
{
  let folder = golden(variant)
  let model = try LanguageModel(store: try WeightStore.open(folder))
  let (arena, lora) = try method(try LowRankConfiguration.load(from: "\(folder)/adapter"), for: model)
  try lora.load(from: "\(folder)/adapter")
  try withExtendedLifetime(arena) {
    try withTemporaryFolder { copy in
      try lora.save(to: copy, baseModel: "tiny")
      let (old, new) = try (
        SafetensorsFile(path: "\(folder)/adapter/adapter_model.safetensors"),
        SafetensorsFile(path: "\(copy)/adapter_model.safetensors")
      )
      #expect(Set(old.tensorNames) == Set(new.tensorNames) && !old.tensorNames.isEmpty)
      for name in old.tensorNames {
        #expect(old.tensor(name)?.shape == new.tensor(name)?.shape, "\(name)")
        #expect(old.tensor(name)?.floats() == new.tensor(name)?.floats(), "\(name)")
      }
      let (before, after) = try (
        JSONValue.parse(contentsOf: "\(folder)/adapter/adapter_config.json"),
        JSONValue.parse(contentsOf: "\(copy)/adapter_config.json")
      )
      for key in ["peft_type", "task_type", "r", "fan_in_fan_out", "bias", "use_rslora"] {
        #expect(before[key] == after[key], "\(key)")
      }
      #expect(before["lora_alpha"]?.doubleValue == after["lora_alpha"]?.doubleValue)
    }
  }
}

@Test func anAdapterOfAnotherModelIsRefusedByTheTensorThatDoesNotFit() throws {
  let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
  func refusal(_ configuration: LowRankConfiguration, _ change: (inout [String: [Int]]) -> Void) throws -> String {
    let (arena, lora) = try method(configuration, for: model)
    return try withExtendedLifetime(arena) {
      try withTemporaryFolder { folder in
        var shapes = Dictionary(uniqueKeysWithValues: lora.trainables.entries.map { ($0.name, $0.shape) })
        change(&shapes)
        let writer = try SafetensorsWriter(path: "\(folder)/adapter_model.safetensors", headerByteCount: 1 << 14)
        for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) {
          try writer.write(name, .f32, shape: shape, [Float](repeating: 1, count: shape.reduce(1, *)))
        }
        try writer.finish()
        do {
          try lora.load(from: folder)
          return "nothing was thrown"
        } catch {
          return "\(error)"
        }
      }
    }
  }
  let name = "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"
  let chosen = LowRankConfiguration(rank: 4, targetModules: .names(["q_proj"]))
  #expect(try refusal(chosen) { _ in } == "nothing was thrown")
  #expect(try refusal(chosen) { $0[name] = nil }.contains("tensor \(name) is missing"))
  #expect(try refusal(chosen) { $0[name] = [2, 128] }.contains("\(name) has shape [2, 128], expected [4, 128]"))
  #expect(try refusal(chosen) { $0["lora_embedding_A"] = [4, 4] }.contains("tensor lora_embedding_A"))
}

@Test func aNewAdapterChangesNothingAndFollowsFromItsSeed() throws {
  let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
  let configuration = LowRankConfiguration(rank: 4, targetModules: .allLinear)
  let (arena, lora) = try method(configuration, for: model, trainingTokens: 8)
  withExtendedLifetime(arena) {
    lora.initialize(seed: 1)
    let first = lora.trainables.parameters.values
    lora.initialize(seed: 2)
    #expect(lora.trainables.parameters.values != first)
    lora.initialize(seed: 1)
    #expect(lora.trainables.parameters.values == first)
    for adapter in lora.adapters {
      #expect(adapter.bTransposed.row(0).values.allSatisfy { $0 == 0 })
      // PEFT's Kaiming start with `a = sqrt(5)` is uniform in ±1/sqrt(in).
      let bound = 1 / Float(adapter.a.columns).squareRoot()
      let values = adapter.a.row(3).values
      #expect(values.allSatisfy { abs($0) <= bound } && values.contains { abs($0) > 0.8 * bound })
    }
    #expect(lora.trainables.counts.reduce(0, +) == lora.trainables.parameters.count)
    #expect(lora.trainables.gradients.count == lora.trainables.parameters.count)
  }
}

@Test func scalingIsThatOfLoRAOrRankStabilised() {
  #expect(LowRankConfiguration(rank: 16, alpha: 32).scaling == 2)
  #expect(LowRankConfiguration(rank: 16, alpha: 32, useRSLoRA: true).scaling == 8)
}

/// As transformers' guides have it for DistilBERT, whose head has two layers.
@Test func layersOfAHeadAreNoModulesBesideIt() {
  let common = PEFTCommon(
    taskType: "SEQ_CLS", modulesToSave: ["pre_classifier", "classifier", "classifier.dense", "LayerNorm"])
  #expect(common.modulesBesideHead == ["LayerNorm"])
}
