/// Qwen2: Llama's parts with biases of queries, keys and values, and perhaps a window in the upper layers.
///
/// Source: Yang et al. 2024, arXiv 2407.10671.
enum Qwen2 {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let parts = try LlamaParts(
      reader, .qwen2, queryBias: true, keyValueHeadCount: 32, maximumPositions: 32_768)
    return try parts.qwen(normsHeads: false)
  }
}

/// Qwen3: norms of queries and keys take the place of the biases, and the head size is its own.
///
/// Source: Yang et al. 2025, arXiv 2505.09388.
enum Qwen3 {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let bias = try reader.flag("attention_bias", default: false)
    let parts = try LlamaParts(
      reader, .qwen3, queryBias: bias, outputBias: bias, headSize: 128, keyValueHeadCount: 32,
      maximumPositions: 32_768)
    return try parts.qwen(normsHeads: true)
  }
}

extension LlamaParts {
  fileprivate func qwen(normsHeads: Bool) throws -> ModelDescription {
    let window =
      try reader.flag("use_sliding_window", default: false)
      ? try reader.integer("sliding_window", 1...1 << 40, default: 4096) : nil
    let firstWindowed = try reader.integer("max_window_layers", 0...100_000, default: 28)
    let windowed =
      window == nil
      ? [Bool](repeating: false, count: layerCount)
      : try reader.windowedLayers(count: layerCount) { $0 >= firstWindowed }
    return try model(
      layers: (0..<layerCount).map { layer in
        LayerDescription(
          attention: attention(
            layer, normsHeads: normsHeads,
            span: reader.span(window: windowed[layer] ? window : nil, maximumPositions: maximumPositions)),
          feedForward: feedForward(layer))
      })
  }
}
