import Formats
import Foundation
import Testing

@Suite struct PEFTAdapterConfigTests {
  private func load(_ changes: String) throws -> PEFTAdapterConfig {
    try withTemporaryFolder { folder in
      var json = try #require(
        try JSONValue.parse(
          #"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "use_rslora": true}"#,
          file: "base"
        ).objectValue)
      for (key, value) in try JSONValue.parse(changes, file: "changes").objectValue?.entries ?? [] { json[key] = value }
      try OutputFile.write(JSONValue.object(json).serialized(), to: "\(folder)/adapter_config.json")
      return try PEFTAdapterConfig.load(directory: folder)
    }
  }

  @Test func whatHasNoEffectIsAccepted() throws {
    let found = try load(
      #"""
      {"modules_to_save": null, "exclude_modules": [], "layers_pattern": "", "rank_pattern": {}, "bias": "none",
       "init_lora_weights": "gaussian", "lora_bias": false, "use_dora": false}
      """#)
    #expect(found.rank == 4 && found.alpha == 8 && found.useRSLoRA && found.targetModules == .names(["q_proj"]))
  }

  @Test(arguments: [
    (#"{"peft_type": "IA3"}"#, "peft_type is IA3"), (#"{"use_dora": true}"#, "use_dora"),
    (#"{"bias": "all"}"#, "bias is all"), (#"{"lora_bias": true}"#, "lora_bias"),
    (#"{"modules_to_save": ["lm_head"]}"#, "modules_to_save"), (#"{"exclude_modules": ["v_proj"]}"#, "exclude_modules"),
    (#"{"exclude_modules": "v.*"}"#, "exclude_modules"), (#"{"rank_pattern": {"q_proj": 8}}"#, "rank_pattern"),
    (#"{"alpha_pattern": {"q_proj": 8}}"#, "alpha_pattern"), (#"{"layers_to_transform": [0]}"#, "layers_to_transform"),
    (#"{"layer_replication": [[0, 4], [2, 5]]}"#, "layer_replication"),
    (#"{"init_lora_weights": "pissa_niter_4"}"#, "changes the base model"), (#"{"r": 0}"#, "r is not a rank"),
    (#"{"r": 1e30}"#, "r is not a rank"), (#"{"lora_alpha": 1e300}"#, "lora_alpha"),
    (#"{"lora_alpha": "8"}"#, "lora_alpha"), (#"{"lora_dropout": 1}"#, "lora_dropout"),
    (#"{"lora_dropout": -0.1}"#, "lora_dropout"), (#"{"target_modules": []}"#, "target_modules"),
  ])
  func whatWouldBeIgnoredOrIsOutOfRangeIsRefused(changes: String, expected: String) {
    let text = message { _ = try load(changes) }
    #expect(text.contains("adapter_config.json: ") && text.contains(expected), "\(text)")
  }
}
