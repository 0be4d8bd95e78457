import Formats
import FoundationEssentials
import Glibc

/// `config.json` of a model that comes as GGUF.
public enum GGUFConfiguration {
  private static let architectures = ["llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"]

  /// - Throws: `ModelDescription.Invalid` where the file lacks something or has what is not supported
  public static func configurationJSON(_ file: GGUFFile) throws -> JSONValue {
    let name = file.metadata["general.architecture"]?.stringValue ?? "missing"
    guard let architecture = architectures[name] else {
      throw ModelDescription.Invalid(
        file: file.path,
        reason:
          "architecture \(name) is not supported; supported are \(architectures.keys.sorted().joined(separator: ", "))")
    }
    func value(_ key: String) throws -> GGUFValue {
      guard let value = file.metadata["\(name).\(key)"] else {
        throw ModelDescription.Invalid(file: file.path, reason: "metadata \(name).\(key) is missing")
      }
      return value
    }
    func integer(_ key: String) throws -> JSONValue {
      guard let number = try value(key).intValue else {
        throw ModelDescription.Invalid(file: file.path, reason: "metadata \(name).\(key) is not a whole number")
      }
      return .integer(number)
    }
    func refuse(_ reason: String) -> ModelDescription.Invalid {
      ModelDescription.Invalid(file: file.path, reason: reason)
    }
    for key in ["attention.clamp_kqv", "attention.scale", "logit_scale", "expert_count"] {
      if let value = file.metadata["\(name).\(key)"]?.doubleValue, value != 0 {
        throw refuse("metadata \(name).\(key) is \(value), which is not supported")
      }
    }
    let heads = try integer("attention.head_count")
    let hidden = try integer("embedding_length")
    let context = try integer("context_length")
    if let window = file.metadata["\(name).attention.sliding_window"]?.intValue, window > 0,
      window < context.intValue ?? 0
    {
      throw refuse("sliding_window of \(window) is not supported")
    }
    guard let embedding = file.tensor("token_embd.weight") else {
      throw SafetensorsError.missingTensor(file: file.path, tensor: "token_embd.weight", similar: nil)
    }
    var rope = JSONObject([("rope_theta", .number(file.metadata["\(name).rope.freq_base"]?.doubleValue ?? 10_000))])
    if let scaling = file.metadata["\(name).rope.scaling.type"]?.stringValue, scaling != "none" {
      rope["rope_type"] = .string(scaling)
      rope["factor"] = .number(file.metadata["\(name).rope.scaling.factor"]?.doubleValue ?? 1)
    } else if let factor = file.metadata["\(name).rope.scale_linear"]?.doubleValue, factor != 1 {
      // The key of files from before `rope.scaling`.
      rope["rope_type"] = .string("linear")
      rope["factor"] = .number(factor)
    } else {
      rope["rope_type"] = .string("default")
    }
    if let factors = file.tensor("rope_freqs.weight") {
      for (key, value) in try llama3Scaling(factors, of: file, theta: rope["rope_theta"]?.doubleValue ?? 10_000).entries
      {
        rope[key] = value
      }
    }
    var json = JSONObject([
      ("architectures", .array([.string(architecture)])),
      ("model_type", .string(name)),
      ("hidden_size", hidden),
      ("intermediate_size", try integer("feed_forward_length")),
      ("num_hidden_layers", try integer("block_count")),
      ("num_attention_heads", heads),
      (
        "num_key_value_heads",
        file.metadata["\(name).attention.head_count_kv"] == nil ? heads : try integer("attention.head_count_kv")
      ),
      ("vocab_size", .integer(embedding.rows)),
      ("max_position_embeddings", context),
      ("rms_norm_eps", .number(try value("attention.layer_norm_rms_epsilon").doubleValue ?? 1e-6)),
      ("rope_parameters", .object(rope)),
      ("hidden_act", .string("silu")),
      ("attention_bias", .bool(false)),
      ("mlp_bias", .bool(false)),
      ("tie_word_embeddings", .bool(file.tensor("output.weight") == nil)),
      ("dtype", .string(embedding.type == .bf16 ? "bfloat16" : "float16")),
    ])
    if let size = file.metadata["\(name).attention.key_length"]?.intValue { json["head_dim"] = .integer(size) }
    if let turned = file.metadata["\(name).rope.dimension_count"]?.intValue, let heads = heads.intValue, heads > 0,
      let size = json["head_dim"]?.intValue ?? hidden.intValue.map({ $0 / heads }), turned != size
    {
      throw refuse("metadata \(name).rope.dimension_count is \(turned), expected the head size \(size)")
    }
    for (key, source) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
      if let id = file.metadata["tokenizer.ggml.\(source)_token_id"]?.intValue { json[key] = .integer(id) }
    }
    return .object(json)
  }

  /// The parameters of Llama 3's rotary scaling that give the factors in the file, by which llama.cpp divides each
  /// frequency. GGUF holds the factors only; every released Llama 3 model has the same parameters but for `factor`,
  /// the largest of them, so they are tried and checked.
  private static func llama3Scaling(_ tensor: GGUFTensor, of file: GGUFFile, theta: Double) throws -> JSONObject {
    func refuse(_ reason: String) -> ModelDescription.Invalid {
      ModelDescription.Invalid(file: file.path, reason: "rope_freqs.weight \(reason); use the safetensors model")
    }
    let count = tensor.columns
    guard tensor.rows == 1, (4...512).contains(count) else { throw refuse("has shape \(tensor.shape)") }
    var factors = [Float](repeating: 0, count: count)
    factors.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: 0..<1, into: $0) }
    let factor = Double(factors.max() ?? 1)
    let low = 1.0
    let high = 4.0
    let original = 8192.0
    guard factor.isFinite, factor >= 1 else { throw refuse("holds \(factor)") }
    for (index, found) in factors.enumerated() {
      let wavelength = 2 * Double.pi * pow(theta, Double(index) / Double(count))
      let smooth = min(max((original / wavelength - low) / (high - low), 0), 1)
      let expected = 1 / ((1 - smooth) / factor + smooth)
      guard abs(Double(found) - expected) <= 1e-4 * expected else {
        throw refuse("is not Llama 3's rotary scaling (factor \(index) is \(found), expected \(expected))")
      }
    }
    return JSONObject([
      ("rope_type", .string("llama3")), ("factor", .number(factor)), ("low_freq_factor", .number(low)),
      ("high_freq_factor", .number(high)), ("original_max_position_embeddings", .integer(Int(original))),
    ])
  }
}
