/// Mistral: Llama's parts and, in its first version, a window over the last tokens.
///
/// Source: Jiang et al. 2023, arXiv 2310.06825.
enum Mistral {
  static func describe(_ reader: ConfigurationReader) throws -> ModelDescription {
    let parts = try LlamaParts(
      reader, .mistral, keyValueHeadCount: 8, maximumPositions: 131_072, alternatesHalves: true)
    // An absent key means the window of the first version, null none.
    let window =
      reader.json["sliding_window"] == .null ? nil : try reader.integer("sliding_window", 1...1 << 40, default: 4096)
    let span = reader.span(window: window, maximumPositions: parts.maximumPositions)
    return try parts.model(
      layers: (0..<parts.layerCount).map {
        LayerDescription(attention: parts.attention($0, span: span), feedForward: parts.feedForward($0))
      })
  }
}

extension ConfigurationReader {
  /// A window that is no shorter than the longest text hides nothing.
  func span(window: Int?, maximumPositions: Int) -> AttentionSpan {
    guard let window, window < maximumPositions else { return .causal }
    return .window(window)
  }
}
