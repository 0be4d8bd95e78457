import Formats
import Foundation
import Kernels
import Testing
import WeightStore

@Suite struct ConfigurationTests {
  private func configuration(_ changes: String) throws -> ModelConfiguration {
    var json = try #require(try JSONValue.parse(tinyConfiguration, file: "config.json").objectValue)
    for (key, value) in try JSONValue.parse(changes, file: "changes").objectValue?.entries ?? [] {
      json[key] = value
    }
    return try ModelConfiguration(json: .object(json), file: "config.json")
  }

  @Test func defaultsAreThoseOfTransformers() throws {
    let found = try configuration(#"{"architectures": ["LlamaForCausalLM"], "num_key_value_heads": null}"#)
    #expect(found.keyValueHeadCount == 4 && found.headSize == 16 && found.ropeTheta == 10_000)
    #expect(found.ropeScaling == .none && !found.attentionBias && !found.tiedEmbeddings)
  }

  @Test(arguments: [
    (#"{"rope_scaling": {"type": "linear", "factor": 2.0}}"#, RopeScaling.linear(factor: 2)),
    (#"{"rope_scaling": {"rope_type": "linear", "factor": 4}, "rope_parameters": null}"#, .linear(factor: 4)),
    (#"{"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}"#, .none),
    (
      """
      {"rope_parameters": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
       "original_max_position_embeddings": 8192}}
      """, .llama3(factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaximumPositions: 8192)
    ),
  ])
  func rotaryScalingIsReadInItsOldAndNewForms(changes: String, expected: RopeScaling) throws {
    #expect(try configuration(changes).ropeScaling == expected)
  }

  @Test func thetaIsReadWhereEitherVersionOfTransformersPutsIt() throws {
    #expect(try configuration(#"{"rope_theta": 500000}"#).ropeTheta == 500_000)
    #expect(try configuration(#"{"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}"#).ropeTheta == 1e6)
  }

  @Test func mistralIsReadUnlessItsWindowIsShorterThanItsContext() throws {
    let name = #""architectures": ["MistralForCausalLM"]"#
    #expect(try configuration("{\(name), \"sliding_window\": null}").architecture == .mistral)
    #expect(try configuration("{\(name), \"sliding_window\": 128}").architecture == .mistral)
    #expect(message { _ = try configuration("{\(name), \"sliding_window\": 127}") }.contains("sliding_window of 127"))
  }

  @Test func anUnknownArchitectureIsAnsweredWithTheSupportedOnes() {
    let text = message { _ = try configuration(#"{"architectures": ["GPT2LMHeadModel"]}"#) }
    #expect(text.contains("GPT2LMHeadModel") && text.contains("LlamaForCausalLM, Qwen2ForCausalLM, MistralForCausalLM"))
  }

  @Test(arguments: [
    (#"{"hidden_size": 72}"#, "hidden_size"), (#"{"hidden_size": "64"}"#, "hidden_size"),
    (#"{"hidden_size": 96, "num_attention_heads": 5, "num_key_value_heads": 5}"#, "num_attention_heads"),
    (#"{"intermediate_size": 100}"#, "intermediate_size"), (#"{"num_hidden_layers": 0}"#, "num_hidden_layers"),
    (#"{"num_key_value_heads": 3}"#, "key-value heads"), (#"{"vocab_size": 300001}"#, "vocab_size"),
    (#"{"hidden_act": "gelu"}"#, "gelu"), (#"{"mlp_bias": true}"#, "mlp_bias"),
    (#"{"rms_norm_eps": 0}"#, "rms_norm_eps"), (#"{"rms_norm_eps": "x"}"#, "rms_norm_eps"),
    (#"{"rope_theta": -1}"#, "rope_theta"), (#"{"rope_scaling": 3}"#, "rope_parameters"),
    (#"{"rope_scaling": {"type": "yarn", "factor": 2}}"#, "yarn"), (#"{"rope_scaling": {"type": "linear"}}"#, "factor"),
    (#"{"partial_rotary_factor": 0.5}"#, "partial_rotary_factor"),
    (
      """
      {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
       "original_max_position_embeddings": 1e300}}
      """, "original_max_position_embeddings"
    ),
  ])
  func fieldsOutOfRangeAreRefusedByName(changes: String, expected: String) {
    let text = message { _ = try configuration(changes) }
    #expect(text.hasPrefix("config.json: ") && text.contains(expected))
  }
}
