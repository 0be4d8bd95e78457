import Kernels

/// Cross-entropy of a wave, slice by slice of the vocabulary: first all sums of the softmax, then all gradients.
protocol VocabularyLoss {
  typealias Chunk = LanguageModelHead.Chunk
  typealias Wave = LanguageModelHead.Wave

  /// Takes the logits of a slice into the sums of the softmax, or leaves them where they stay.
  ///
  /// - Parameter x: input of the chunk
  func accumulate(_ x: PreparedRows, _ chunk: Chunk, _ slice: Range<Int>, keepsLogits: Bool)

  /// Sum of the losses of a wave, after all slices.
  func loss(_ wave: Wave) -> Double

  /// Of the logits of a row of the wave, after all slices.
  func logSumExp(_ row: Int) -> Float

  /// What a slice adds to the gradient of a chunk's input, but for the labels' elements, which are returned.
  ///
  /// - Parameters:
  ///   - x: input of the chunk; `nil` if its logits stayed
  ///   - scale: of the losses
  func gradient(_ x: PreparedRows?, _ chunk: Chunk, _ slice: Range<Int>, scale: Float) -> [CrossEntropy.Element]
}
