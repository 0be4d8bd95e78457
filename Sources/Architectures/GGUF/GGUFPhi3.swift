import Formats

/// Phi-3 and Phi-4-mini.
enum GGUFPhi3 {
  static func configuration(_ metadata: GGUFMetadata) throws -> JSONObject {
    var json = try GGUFLlama.configuration(metadata, .phi3, isPartial: true)
    if var rope = json["rope_parameters"]?.objectValue {
      // transformers looks for it at the top.
      json["original_max_position_embeddings"] = .integer(try metadata.originalPositions())
      rope["original_max_position_embeddings"] = nil
      json["rope_parameters"] = .object(rope)
    }
    // 0 says that there is none.
    let window = try metadata.integer("attention.sliding_window", default: 0)
    json["sliding_window"] = window > 0 ? .integer(window) : .null
    return json
  }
}
