import Architectures
import Formats
import Foundation

private let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

/// The folder of golden vectors.
let golden = here.appendingPathComponent("Golden").path

/// Tiny models of every family, with their configurations and weights.
let models = here.deletingLastPathComponent().appendingPathComponent("TransformerTests/Golden").path

/// A configuration with `changes`, an object, over a small Llama.
func configuration(_ changes: String, over base: String = tinyLlama) throws -> JSONValue {
  var json = try JSONValue.parse(base, file: "base").objectValue ?? JSONObject()
  for (key, value) in try JSONValue.parse(changes, file: "changes").objectValue?.entries ?? [] { json[key] = value }
  return .object(json)
}

func description(_ changes: String, over base: String = tinyLlama) throws -> ModelDescription {
  try ModelDescription(json: try configuration(changes, over: base), file: "config.json")
}

let tinyLlama = """
  {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
   "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 128,
   "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": false, "dtype": "float16"}
  """

/// The text of the error that `body` throws.
func message(_ body: () throws -> Void) -> String {
  do {
    try body()
    return "nothing was thrown"
  } catch {
    return "\(error)"
  }
}

extension JSONValue {
  var numbers: [Double] { arrayValue?.compactMap(\.doubleValue) ?? [] }
  var integers: [Int] { arrayValue?.compactMap(\.intValue) ?? [] }
}
