import Formats

/// SmolLM3: Llama's parts, and no rotary positions in every fourth layer.
///
/// Source: the model's configuration in transformers; Yang et al. 2025, arXiv 2501.18795 (layers without positions).
enum SmolLM3 {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let bias = try reader.flag("attention_bias", default: false)
    let parts = try LlamaParts(
      reader, .smollm3, queryBias: bias, outputBias: bias, feedForwardBias: try reader.flag("mlp_bias", default: false),
      keyValueHeadCount: 4, maximumPositions: 32_768, alternatesHalves: true)
    let rotates = try rotatingLayers(reader, count: parts.layerCount)
    let window =
      try reader.flag("use_sliding_window", default: false) && reader["sliding_window"] != nil
      ? try reader.integer("sliding_window", 1...1 << 40) : nil
    let windowed =
      window == nil
      ? [Bool](repeating: false, count: parts.layerCount)
      : try reader.windowedLayers(count: parts.layerCount) { !rotates[$0] }
    return try parts.model(
      layers: (0..<parts.layerCount).map { layer in
        LayerDescription(
          attention: parts.attention(
            layer, rotary: rotates[layer] ? 0 : nil,
            span: reader.span(window: windowed[layer] ? window : nil, maximumPositions: parts.maximumPositions)),
          feedForward: parts.feedForward(layer))
      }, rotary: try parts.rotary(theta: 2_000_000), isTied: true)
  }

  /// `no_rope_layers` has a 1 for each layer that does rotate.
  private static func rotatingLayers(_ reader: ConfigurationReader, count: Int) throws -> [Bool] {
    guard let flags = reader["no_rope_layers"] else {
      let interval = try reader.integer("no_rope_layer_interval", 1...100_000, default: 4)
      return (0..<count).map { ($0 + 1) % interval != 0 }
    }
    let values = flags.arrayValue?.compactMap(\.intValue) ?? []
    guard values.count == count, values.allSatisfy({ $0 == 0 || $0 == 1 }) else {
      throw reader.refuse("no_rope_layers does not have a 0 or 1 for each of \(count) layers")
    }
    return values.map { $0 == 1 }
  }
}
