/// `adapter_interface.json` beside an adapter of AdapterHub's `adapters`: by which names it finds the parts of a model that it
/// has no classes of its own for, and so where its bottlenecks stand.
///
/// Source: `AdapterModelInterface` of adapters 1.3, which `adapters.init(model, interface=...)` takes.
public struct AdapterHubInterface: Sendable, Equatable {
  public var modelType: String
  /// By AdapterHub's keys.
  public var names: [String: String]

  public init(modelType: String, names: [String: String]) {
    precondition(names.keys.allSatisfy(Self.keys.contains), "AdapterHub's keys")
    self.modelType = modelType
    self.names = names
  }

  public static let fileName = "adapter_interface.json"

  private static let keys = [
    "attn_k_proj", "attn_o_proj", "attn_q_proj", "attn_qkv_proj", "attn_v_proj", "base_model", "layer_cross_attn",
    "layer_intermediate_proj", "layer_ln_1", "layer_ln_2", "layer_output_proj", "layer_pre_cross_attn",
    "layer_pre_ffn", "layer_pre_self_attn", "layer_self_attn", "model_embeddings", "model_layers",
  ]

  /// Those that say where bottlenecks stand, and what they read.
  private static let places = [
    "layer_self_attn", "attn_o_proj", "layer_output_proj", "layer_pre_self_attn", "layer_pre_ffn", "layer_ln_1",
    "layer_ln_2",
  ]

  /// - Throws: `UnsupportedAdapter`
  public init(json: JSONValue, file: String) throws {
    var fields = try PEFTFields(json, file: file)
    modelType = try fields.text("model_type") ?? ""
    guard let interface = fields.value("interface") else { throw fields.refuse("interface is missing") }
    var own = try PEFTFields(interface, file: file)
    names = [:]
    for key in Self.keys { names[key] = try own.text(key) }
  }

  /// Checks that bottlenecks stand where they do by `wanted`.
  ///
  /// - Throws: `UnsupportedAdapter`
  public func check(against wanted: AdapterHubInterface, file: String) throws {
    for key in Self.places where names[key] != wanted.names[key] {
      func text(_ name: String?) -> String { name.map { String($0.prefix(60)) } ?? "null" }
      throw UnsupportedAdapter(
        file: file,
        reason: "\(key) is \(text(names[key])), expected \(text(wanted.names[key])); bottlenecks of another interface "
          + "stand elsewhere")
    }
  }

  public var json: JSONValue {
    let methods = ["bottleneck", "lora", "reft", "invertible"]
    let own: [(String, JSONValue)] =
      [("adapter_methods", .array(methods.map { .string($0) }))] + Self.keys.map { ($0, .optional(names[$0])) }
    return .object(
      JSONObject([
        ("interface", .object(JSONObject(own))), ("model_type", .string(modelType)),
        ("version", .string(AdapterHubConfiguration.version)),
      ]))
  }

  public func write(to directory: String) throws {
    try OutputFile.write(json.serialized(pretty: true) + "\n", to: "\(directory)/\(Self.fileName)")
  }
}
