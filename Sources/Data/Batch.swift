import Architectures

/// Virtual tokens in front of every sample: rows that a method puts before the embedded text.
public struct PromptPlaces: Sendable, Equatable {
  /// Virtual tokens of a sample.
  public let count: Int
  /// Whether what is said of a text is read from its first row, which then is a virtual one.
  public let takesFirstLabel: Bool

  public static let none = PromptPlaces(count: 0, takesFirstLabel: false)

  public init(count: Int, takesFirstLabel: Bool) {
    self.count = count
    self.takesFirstLabel = takesFirstLabel
  }

  /// The labels of a sample's tokens and of the virtual ones in front of them.
  fileprivate func labels(_ labels: [Int32]) -> [Int32] {
    if count == 0 { return labels }
    var all = [Int32](repeating: Label.ignored, count: count) + labels
    if takesFirstLabel { all.swapAt(0, count) }
    return all
  }
}

/// Rows of packed samples for one pass of the model.
public struct Batch: Sendable {
  /// `[rows * row length]`
  public let tokens: [Int32]
  /// The id that should follow each token, or that of its own label, or `Label.ignored`.
  public let labels: [Int32]
  /// Which text of its sample each token counts to; empty if all count to the first.
  public let typeIDs: [Int32]
  /// Numbers of the labels that are no ids.
  public let targets: [Float]
  /// Tokens of a row, padding included.
  public let rowLength: Int
  /// First token of each sample, then the number of tokens; padding counts as a sample.
  public let segments: [Int]
  /// Tokens, padding excluded.
  public let tokenCount: Int
  public let labelledTokenCount: Int

  /// - Parameters:
  ///   - rows: samples of each row, which together are not longer than `rowLength`
  ///   - prompt: what stands in front of each sample
  public init(rows: [[Sample]], rowLength: Int, paddingToken: Int32 = 0, prompt: PromptPlaces = .none) {
    let virtual = VirtualToken.ids(prompt.count)
    var tokens: [Int32] = []
    var labels: [Int32] = []
    var segments: [Int] = []
    var count = 0
    var types: [Int32] = []
    var targets: [Float] = []
    let hasTypes = rows.contains { $0.contains { !$0.typeIDs.isEmpty } }
    tokens.reserveCapacity(rows.count * rowLength)
    for (index, row) in rows.enumerated() {
      for sample in row {
        segments.append(tokens.count)
        tokens += virtual
        tokens += sample.tokens
        let own = prompt.labels(sample.labels)
        if sample.labelsFollow {
          labels += own.dropFirst()
          labels.append(Label.ignored)
        } else {
          labels += own
          targets += sample.targets
        }
        if hasTypes {
          types += [Int32](repeating: 0, count: prompt.count)
          types += sample.typeIDs.isEmpty ? [Int32](repeating: 0, count: sample.tokens.count) : sample.typeIDs
        }
        count += prompt.count + sample.tokens.count
      }
      let padding = (index + 1) * rowLength - tokens.count
      if padding > 0 {
        segments.append(tokens.count)
        tokens += [Int32](repeating: paddingToken, count: padding)
        labels += [Int32](repeating: Label.ignored, count: padding)
        if hasTypes { types += [Int32](repeating: 0, count: padding) }
      }
    }
    self.tokens = tokens
    self.labels = labels
    typeIDs = types
    self.targets = targets
    self.rowLength = rowLength
    self.segments = segments + [tokens.count]
    tokenCount = count
    labelledTokenCount = labels.reduce(0) { $1 == Label.ignored ? $0 : $0 + 1 }
  }
}
