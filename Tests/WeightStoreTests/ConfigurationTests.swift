import Formats
import Testing
import WeightStore

private let valid = """
  {"architectures":["LlamaForCausalLM"],"hidden_size":64,"intermediate_size":192,"num_hidden_layers":2,
  "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":512,"rms_norm_eps":1e-5,"rope_theta":10000.0}
  """

@Test func aConfigurationIsRead() throws {
  let configuration = try ModelConfiguration(json: JSONValue.parse(valid, file: "test"), file: "test")
  #expect(configuration.headSize == 16)
  #expect(configuration.keyValueHeadCount == 2)
}

@Test(arguments: [
  ("\"hidden_size\":64", "\"hidden_size\":65"), ("Llama", "Bloom"),
  ("\"num_key_value_heads\":2", "\"num_key_value_heads\":3"),
  ("\"vocab_size\":512", "\"vocab_size\":-1"), ("\"intermediate_size\":192,", ""),
])
func aWrongConfigurationIsRefused(from: String, to: String) throws {
  let json = try JSONValue.parse(valid.replacing(from, with: to), file: "test")
  #expect(throws: ModelConfiguration.Invalid.self) { try ModelConfiguration(json: json, file: "test") }
}
