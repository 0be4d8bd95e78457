/// Attention over samples that lie end to end, with grouped queries; what a token sees is a `Visibility`, and in front of
/// every sample's keys there may be a prefix. Only a tile of query rows meets the keys that it sees at a time. For the way
/// back the weights of short samples are kept as halves; of longer ones the logarithm of each row's sum, and the scores are
/// computed again.
///
/// Sources: Dao et al. 2022, arXiv 2205.14135; Beltagy et al. 2020, arXiv 2004.05150 (windows); Li & Liang 2021, arXiv
/// 2101.00190 (prefixes).
public enum Attention {
  /// Virtual keys and values that all samples have in front of their own; their number is p.
  public struct Prefix: Sendable {
    let key: HeadMatrix
    let value: HeadMatrix

    /// - Parameters:
    ///   - key: `[p, key-value heads * head size]`
    ///   - value: as `key`
    public init(key: Matrix, value: Matrix, shape: AttentionShape) {
      precondition(key.rows == value.rows && key.columns == value.columns, "as many values as keys")
      self.key = HeadMatrix(key, size: shape.headSize)
      self.value = HeadMatrix(value, size: shape.headSize)
      precondition(self.key.count == shape.keyValueHeadCount, "a prefix for every key-value head")
    }

    var count: Int { key.rows }
  }

  /// Where the gradient of a prefix goes. It is the sum over samples in their order, one after the other, so that it
  /// depends neither on threads nor on how many samples come together.
  public struct PrefixGradient: Sendable {
    let key: HeadMatrix
    let value: HeadMatrix
    let samples: Scratch

    /// Memory of `samples`, in bytes, for a prefix of `count`.
    public static func byteCount(shape: AttentionShape, count: Int) -> Int {
      Scratch.aligned(2 * sampleCount * count * shape.keyValueHeadCount * shape.headSize * 4)
    }

    /// Samples that are in work at the same time.
    static let sampleCount = 8

    /// - Parameters:
    ///   - key: `[p, key-value heads * head size]`; added to
    ///   - value: as `key`
    ///   - samples: working memory of `byteCount` bytes
    public init(key: Matrix, value: Matrix, shape: AttentionShape, samples: Scratch) {
      precondition(samples.byteCount >= Self.byteCount(shape: shape, count: key.rows), "memory of a prefix's gradient")
      let prefix = Prefix(key: key, value: value, shape: shape)
      self.key = prefix.key
      self.value = prefix.value
      self.samples = samples
    }

    /// What sample number `index` of those in work adds to the gradients of keys and of values.
    func sample(_ index: Int) -> (key: HeadMatrix, value: HeadMatrix) {
      let (rows, columns) = (key.rows, key.matrix.columns)
      let base = samples.base.assumingMemoryBound(to: Float.self) + 2 * index * rows * columns
      return (
        HeadMatrix(Matrix(base, rows: rows, columns: columns), size: key.size),
        HeadMatrix(Matrix(base + rows * columns, rows: rows, columns: columns), size: key.size)
      )
    }
  }

  /// What `forward` leaves for `backward`.
  public struct Kept: Sendable {
    /// `[heads * tokens]`: logarithm of each row's sum, or where the weights are kept its inverse.
    let sums: Vector
    /// `[tokens, weightsPerToken]`, in halves, before they are divided by the row's sum; empty where scores are computed
    /// again. A sample's heads lie one after the other, and of each its tiles.
    let weights: KeptMatrix

    public init(sums: Vector, weights: KeptMatrix) {
      self.sums = sums
      self.weights = weights
    }

    /// One head's part of what a sample of the tokens `segment` leaves.
    func head(_ index: Int, _ segment: Range<Int>, tokens: Int, shape: AttentionShape) -> KeptHead {
      let perHead = weights.columns / shape.headCount
      return KeptHead(
        sums: sums.part(index * tokens + segment.lowerBound..<index * tokens + segment.upperBound),
        weights: perHead == 0
          ? nil : weights.codes(segment.lowerBound) + index * segment.count * perHead)
    }
  }

  /// What one head leaves of one sample.
  struct KeptHead {
    let sums: Vector  // [length]
    let weights: UnsafeMutablePointer<UInt16>?
  }

  /// Halves per token for the weights of samples of at most `length` tokens; none where they would take more memory than
  /// queries, keys and values do.
  public static func weightsPerToken(
    shape: AttentionShape, length: Int, visibility: Visibility = .causal, prefixCount: Int = 0
  ) -> Int {
    let layout = AttentionLayout(shape: shape, visibility: visibility, prefixCount: prefixCount)
    // A shorter sample has no more per token: its rows see no more keys.
    let perHead = (layout.weightCount(rowsBefore: length, of: length) + max(length, 1) - 1) / max(length, 1)
    let floats = (shape.headCount + 2 * shape.keyValueHeadCount) * shape.headSize
    return 2 * shape.headCount * perHead > 4 * floats ? 0 : shape.headCount * perHead
  }

  /// Scratch of one worker for samples of at most `length` tokens, in bytes.
  public static func scratchByteCount(
    shape: AttentionShape, length: Int, visibility: Visibility = .causal, prefixCount: Int = 0, hasGradient: Bool
  ) -> Int {
    AttentionTiles.byteCount(
      AttentionLayout(shape: shape, visibility: visibility, prefixCount: prefixCount), length: length,
      hasGradient: hasGradient)
  }
}
