import Formats
import WeightStore

extension StoreFormat {
  /// `quantization_config` of `config.json`.
  ///
  /// - Parameter plain: linear layers that are kept as they are
  func quantizationConfiguration(keeping plain: [String] = []) -> JSONValue? {
    func object(_ entries: [(String, JSONValue)]) -> JSONValue { .object(JSONObject(entries.map { ($0.0, $0.1) })) }
    func compressedTensors(format: String, weights: [(String, JSONValue)], activations: JSONValue) -> JSONValue {
      object([
        (
          "config_groups",
          object([
            (
              "group_0",
              object([
                ("input_activations", activations),
                ("output_activations", .null),
                ("targets", .array([.string("Linear")])),
                (
                  "weights",
                  object(
                    weights + [
                      ("dynamic", .bool(false)), ("observer", .string("minmax")), ("symmetric", .bool(true)),
                      ("type", .string("int")),
                    ])
                ),
              ])
            )
          ])
        ),
        ("format", .string(format)),
        ("ignore", .array((plain.isEmpty ? ["lm_head"] : plain).map { .string($0) })),
        ("quant_method", .string("compressed-tensors")),
        ("quantization_status", .string("compressed")),
      ])
    }
    switch self {
    case .nf4(let doubleQuantization):
      return object([
        ("bnb_4bit_compute_dtype", .string("float32")),
        ("bnb_4bit_quant_storage", .string("uint8")),
        ("bnb_4bit_quant_type", .string("nf4")),
        ("bnb_4bit_use_double_quant", .bool(doubleQuantization)),
        ("llm_int8_skip_modules", plain.isEmpty ? .null : .array(plain.map { .string($0) })),
        ("load_in_4bit", .bool(true)),
        ("load_in_8bit", .bool(false)),
        ("quant_method", .string("bitsandbytes")),
      ])
    case .int8:
      return compressedTensors(
        format: "int-quantized",
        weights: [("num_bits", .integer(8)), ("strategy", .string("channel"))],
        activations: object([
          ("dynamic", .bool(true)), ("num_bits", .integer(8)), ("strategy", .string("token")),
          ("symmetric", .bool(true)), ("type", .string("int")),
        ]))
    case .int4(let groupSize):
      return compressedTensors(
        format: "pack-quantized",
        weights: [
          ("group_size", .integer(groupSize)), ("num_bits", .integer(4)), ("strategy", .string("group")),
        ], activations: .null)
    case .f16, .bf16: return nil
    }
  }
}
