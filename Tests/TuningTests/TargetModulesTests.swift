import Architectures
import Testing
import Transformer
import Tuning
import WeightStore

struct TargetModulesTests {
  /// A small model of every family.
  static let models: [(family: Family, variant: String)] = [
    (.llama, "llama"), (.mistral, "mistral-window"), (.qwen2, "qwen2-window"), (.qwen3, "qwen3"), (.smollm3, "smollm3"),
    (.phi3, "phi3"), (.gpt2, "gpt2"), (.opt, "opt"), (.gemma3, "gemma3"), (.gptNeoX, "neox"), (.bert, "bert"),
    (.distilBERT, "distilbert"), (.roberta, "roberta"), (.xlmRoberta, "xlm-roberta"),
  ]

  /// PEFT 0.21's `TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING`, which lacks SmolLM3, Phi-3 and DistilBERT.
  private static let defaults: [Family: [String]] = [
    .llama: ["q_proj", "v_proj"], .mistral: ["q_proj", "v_proj"], .qwen2: ["q_proj", "v_proj"],
    .qwen3: ["q_proj", "v_proj"], .gpt2: ["c_attn"], .opt: ["q_proj", "v_proj"], .gemma3: ["q_proj", "v_proj"],
    .gptNeoX: ["query_key_value"], .smollm3: ["q_proj", "v_proj"], .phi3: ["qkv_proj"], .bert: ["query", "value"],
    .distilBERT: ["q_lin", "v_lin"], .roberta: ["query", "value"], .xlmRoberta: ["query", "value"],
  ]

  @Test func everyFamilyHasAModelHere() { #expect(Set(Self.models.map(\.family)) == Set(Family.allCases)) }

  @Test(arguments: models.indices) func defaultsAreThoseOfPEFT(index: Int) throws {
    let (family, variant) = Self.models[index]
    let model = try LanguageModel(store: try WeightStore.open(golden(variant)))
    #expect(model.description.family == family)
    let names = try #require(Self.defaults[family])
    let found = try TargetModules.familyDefault.locations(in: model)
    #expect(found == model.linearLocations.filter { location in names.contains { location.name.hasSuffix(".\($0)") } })
    #expect(found.count == names.count * model.layers.count)
  }

  @Test(arguments: models.indices) func allLinearIsEveryLinearLayerButTheHead(index: Int) throws {
    let model = try LanguageModel(store: try WeightStore.open(golden(Self.models[index].variant)))
    let found = try TargetModules("all-linear").locations(in: model)
    #expect(found.map(\.name) == model.description.linears.map(\.path))
    #expect(!found.contains { $0.name.contains("lm_head") || $0.name.contains("embed") })
  }

  @Test func namesAndPatternsChooseAsInPEFT() throws {
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    func names(_ text: String) throws -> [String] { try TargetModules(text).locations(in: model).map(\.name) }
    #expect(try names("o_proj").count == 4)
    #expect(try names("up_proj,o_proj").prefix(2) == ["model.layers.0.self_attn.o_proj", "model.layers.0.mlp.up_proj"])
    #expect(try names("model.layers.2.mlp.up_proj") == ["model.layers.2.mlp.up_proj"])
    #expect(try names(#"model\.layers\.[13]\.mlp\.(up|down)_proj"#).count == 4)
    #expect(try names(#".*\.q_proj|.*3\.mlp\.down_proj"#).count == 5)
  }

  @Test func whatMatchesNothingIsRefusedWithTheKnownNames() throws {
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    func refusal(_ text: String) -> String {
      do {
        _ = try TargetModules(text).locations(in: model)
        return "nothing was thrown"
      } catch {
        return "\(error)"
      }
    }
    for text in ["c_attn", "q_proj,c_attn", "_proj", "layers[0-9]"] {
      #expect(
        refusal(text).contains("known are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"), "\(text)")
    }
    #expect(refusal("q_proj(").contains("target modules: q_proj("))
  }
}
