import Formats

/// Phi-3 and Phi-4-mini: Llama's blocks with one product for queries, keys and values and one for gate and up.
///
/// Source: Abdin et al. 2024, arXiv 2404.14219.
enum Phi3 {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let parts = try LlamaParts(reader, .phi3, maximumPositions: 4096, epsilon: 1e-5)
    let (hidden, inner) = (parts.hidden, parts.inner)
    let window = reader["sliding_window"] == nil ? nil : try reader.integer("sliding_window", 1...1 << 40)
    let span = reader.span(window: window, maximumPositions: parts.maximumPositions)
    let layers = (0..<parts.layerCount).map { layer in
      let (path, blk) = ("model.layers.\(layer)", "blk.\(layer)")
      var attention = parts.attention(layer, span: span)
      attention.projections = .fused(
        LinearDescription(
          "\(path).self_attn.qkv_proj", out: (parts.headCount + 2 * parts.keyValueHeadCount) * parts.headSize,
          in: hidden, gguf: "\(blk).attn_qkv"))
      var feedForward = parts.feedForward(layer)
      feedForward.inner = .fusedGated(
        LinearDescription("\(path).mlp.gate_up_proj", out: 2 * inner, in: hidden, gguf: "\(blk).ffn_up"))
      return LayerDescription(attention: attention, feedForward: feedForward)
    }
    let rope = try reader.rotaryParameters()
    let inside = ConfigurationReader(json: rope, file: reader.file)
    let part = try inside.number(
      "partial_rotary_factor", 0...1, default: try reader.number("partial_rotary_factor", 0...1, default: 1))
    var parameters = rope
    // transformers reads these older names as the same.
    if let type = (rope["rope_type"] ?? rope["type"])?.stringValue, ["su", "yarn"].contains(type),
      var object = rope.objectValue
    {
      object["rope_type"] = .string("longrope")
      parameters = .object(object)
    }
    let rotary = try reader.rotary(
      parameters, headSize: parts.headSize, part: part,
      theta: try reader.number("rope_theta", 1...1e12, default: 10_000), maximumPositions: parts.maximumPositions,
      originalPositions: 4096)
    return try parts.model(layers: layers, rotary: rotary)
  }
}
