import Deployment
import Formats
import Foundation
import Kernels
import Memory
import Quantization
import Testing
import Transformer
import Tuning
import WeightStore

struct MergerTests {
  private func merger(force: Bool = false) -> Merger {
    Merger(quantizer: Quantizer(format: .f16, force: force, pool: ThreadPool(threadCount: 2)))
  }

  /// Weights of each family's kind: separate and tied, transposed as `Conv1D`, fused, head by head, with projections.
  @Test(arguments: ["llama", "gpt2", "phi3", "neox", "opt-350m", "gemma3"])
  func mergedWeightsAreBasePlusProductRoundedOnce(variant: String) throws {
    try withTemporaryFolder { folder in
      let base = golden(variant)
      _ = try merger().merge(modelDirectory: base, adapter: "\(base)/adapter", to: "\(folder)/merged") { _, _ in }
      let (before, after, adapter) = try (
        SafetensorsFile(path: "\(base)/model.safetensors"), SafetensorsFile(path: "\(folder)/merged/model.safetensors"),
        SafetensorsFile(path: "\(base)/adapter/adapter_model.safetensors")
      )
      let config = try JSONValue.parse(contentsOf: "\(base)/adapter/adapter_config.json")
      let rank = try #require(config["r"]?.intValue)
      let scaling = try #require(config["lora_alpha"]?.doubleValue) / Double(rank)
      let isTransposed = config["fan_in_fan_out"]?.boolValue ?? false
      #expect(isTransposed == (variant == "gpt2"))
      var merged = 0
      for name in after.tensorNames {
        let found = try #require(after.tensor(name))
        let original = try #require(before.tensor(name), "\(name)")
        let stem = "base_model.model.\(name.dropLast(".weight".count))"
        guard let a = adapter.tensor("\(stem).lora_A.weight")?.floats(),
          let b = adapter.tensor("\(stem).lora_B.weight")?.floats()
        else {
          #expect(found.floats() == original.floats(), "\(name)")
          continue
        }
        merged += 1
        let (inputs, outputs) = (a.count / rank, b.count / rank)
        #expect(
          found.shape == original.shape && found.shape == (isTransposed ? [inputs, outputs] : [outputs, inputs]))
        let (values, old) = (found.floats(), original.floats())
        for out in 0..<outputs {
          for input in 0..<inputs {
            let place = isTransposed ? input * outputs + out : out * inputs + input
            let product = (0..<rank).reduce(0.0) { $0 + Double(b[out * rank + $1]) * Double(a[$1 * inputs + input]) }
            let expected = Double(old[place]) + scaling * product
            // Half a unit in the last place of a half, and what fp32 rounds on the way.
            #expect(abs(Double(values[place]) - expected) <= abs(expected) * 0x1.01p-11 + 0x1p-24)
          }
        }
      }
      #expect(merged == adapter.tensorNames.count / 2 && merged > 0)
    }
  }

  /// Where the model ties head and embedding and they now differ, the folder has both.
  @Test(arguments: ["gpt2", "gemma3"], [["wte", "embed_tokens"], ["lm_head"], ["ln_f", "norm"]])
  func wholeModulesAreMerged(variant: String, candidates: [String]) throws {
    try withTemporaryFolder { folder in
      let base = golden(variant)
      let model = try LanguageModel(store: try WeightStore.open(base))
      var configuration = LowRankConfiguration(rank: 2)
      configuration.wholeModules = [
        candidates.count == 1 ? candidates[0] : variant == "gpt2" ? candidates[0] : candidates[1]
      ]
      let (arena, method) = try Arena.filled {
        try LowRankMethod(configuration: configuration, model: model, in: TuningRoom(arena: $0, trainingTokens: 0))
      }
      try withExtendedLifetime(arena) {
        method.initialize(seed: 3)
        for entry in method.trainables.entries where !entry.name.contains("lora_") {
          entry.assign(entry.values.map { 1.5 * $0 })
        }
        try method.save(to: folder, baseModel: base)
      }
      _ = try merger().merge(modelDirectory: base, adapter: folder, to: "\(folder)/merged") { _, _ in }
      let merged = "\(folder)/merged"
      let (before, after) = try (
        SafetensorsFile(path: "\(base)/model.safetensors"), SafetensorsFile(path: "\(merged)/model.safetensors")
      )
      let embedding = model.description.embedding.tokens.name
      let unties = configuration.wholeModules[0] != "ln_f" && configuration.wholeModules[0] != "norm"
      #expect((after.tensor("lm_head.weight") != nil) == unties)
      let store = try WeightStore.open(merged)
      #expect(store.description.head.isTied != unties)
      let own = try #require(before.tensor(embedding)).floats()
      // Tables are rounded to 8 bits at the least.
      func isNear(_ values: [Float]?, _ factor: Float) -> Bool {
        guard let values else { return false }
        return zip(values, own).allSatisfy { value, own -> Bool in
          let wanted = factor * own
          let bound: Float = 0x1p-8 * abs(wanted) + 1e-6
          return abs(value - wanted) <= bound
        }
      }
      #expect(
        isNear(
          after.tensor(embedding)?.floats(),
          configuration.wholeModules[0] == embedding.split(separator: ".").dropLast().last.map(String.init) ? 1.5 : 1))
      if unties { #expect(isNear(after.tensor("lm_head.weight")?.floats(), candidates == ["lm_head"] ? 1.5 : 1)) }
    }
  }

  @Test func aMergedModelGivesTheLossOfBaseAndAdapter() throws {
    try withTemporaryFolder { folder in
      let base = golden("llama")
      _ = try merger().merge(modelDirectory: base, adapter: "\(base)/adapter", to: "\(folder)/merged") { _, _ in }
      let expected = try SafetensorsFile(path: "\(base)/expected").tensor("loss")
      let store = try WeightStore.open("\(folder)/merged")
      let loss = try Reference.loss(store)
      // Weights are rounded to 11 bits once more.
      let reference = Double(try #require(expected).floats()[0])
      #expect(abs(loss - reference) < 2e-3)
    }
  }

  @Test func aGGUFLoRAIsMergedAsTheFolderThatItStandsFor() throws {
    try withTemporaryFolder { folder in
      let base = golden("qwen3")
      _ = try AdapterExporter.export(
        adapter: "\(base)/adapter", base: base, to: "\(folder)/lora.gguf", force: false)
      for (adapter, output) in [("\(base)/adapter", "one"), ("\(folder)/lora.gguf", "two")] {
        _ = try merger().merge(modelDirectory: base, adapter: adapter, to: "\(folder)/\(output)") { _, _ in }
      }
      let files = try ["one", "two"].map {
        try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\($0)/model.safetensors"))
      }
      #expect(files[0] == files[1])
    }
  }

  @Test func aMergeIsWholeOrNothing() throws {
    struct Stop: Error {}
    try withTemporaryFolder { folder in
      let base = golden("llama")
      func merge(
        _ output: String, force: Bool = false, check: (String) throws -> Void = { _ in },
        progress: @escaping (Int, Int) throws -> Void = { _, _ in }
      ) throws {
        _ = try merger(force: force).merge(
          modelDirectory: base, adapter: "\(base)/adapter", to: output, check: check, progress: progress)
      }
      var calls = 0
      #expect(throws: Stop.self) {
        try merge(
          "\(folder)/merged",
          progress: { done, all in
            calls += 1
            if done > all / 2 { throw Stop() }
          })
      }
      #expect(calls > 1)
      #expect(throws: Stop.self) { try merge("\(folder)/merged", check: { _ in throw Stop() }) }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
      var seen = ""
      try merge("\(folder)/merged", check: { seen = $0 })
      #expect(!seen.isEmpty && !FileManager.default.fileExists(atPath: seen))
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["merged"])
      let whole = try #require(FileManager.default.contents(atPath: "\(folder)/merged/model.safetensors"))
      #expect(throws: FileError.self) { try merge("\(folder)/merged") }
      #expect(throws: Stop.self) { try merge("\(folder)/merged", force: true, check: { _ in throw Stop() }) }
      #expect(FileManager.default.contents(atPath: "\(folder)/merged/model.safetensors") == whole)
    }
  }
}
