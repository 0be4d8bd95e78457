import CKernels
import Glibc

/// Softmax cross-entropy over rows of logits, by slices of the vocabulary: the loss of a row is
/// `logSumExp - logits[label]`, the gradient of a logit its probability, less one at the label.
public enum CrossEntropy {
  /// An element of the gradient that is kept exact.
  public struct Element: Sendable {
    public let row: Int
    /// Column in the whole vocabulary.
    public let column: Int
    public let value: Float
  }

  /// Slices begin at multiples of this; sums are made block by block, so they do not depend on the slices.
  public static let blockColumns = 512

  /// Takes one slice of the logits into the sums. The first slice, whose columns begin at 0, starts them.
  ///
  /// - Parameters:
  ///   - logits: `[rows, columns.count]`
  ///   - columns: which of the vocabulary
  ///   - labels: `[rows]`
  ///   - logSumExp: `log(sum(exp(logits)))` of the slices so far, `[rows]`
  ///   - labelLogits: the logit of each label, once its slice was there, `[rows]`
  public static func accumulate(
    _ logits: Matrix, columns: Range<Int>, labels: [Int32], logSumExp: Vector, labelLogits: Vector, pool: ThreadPool
  ) {
    precondition(labels.count == logits.rows && logits.columns == columns.count, "one label per row")
    precondition(logSumExp.count >= logits.rows && labelLogits.count >= logits.rows, "one sum per row")
    precondition(columns.lowerBound % blockColumns == 0, "slices begin at a block")
    let kernels = KernelTables.float
    pool.run(logits.rows) { row, _ in
      let line = logits.base + row * logits.stride
      let label = Int(labels[row])
      if columns.contains(label) { labelLogits.base[row] = line[label - columns.lowerBound] }
      for first in stride(from: 0, to: logits.columns, by: blockColumns) {
        let part = kernels.pointee.log_sum_exp(min(blockColumns, logits.columns - first), line + first)
        let sum = logSumExp.base[row]
        let isFirst = columns.lowerBound + first == 0
        logSumExp.base[row] = isFirst ? part : max(sum, part) + log1p(exp(-abs(sum - part)))
      }
    }
  }

  /// Turns one slice of the logits into the gradient of `scale * sum(losses)`, but for the labels' elements, which are
  /// returned: those are far larger than the others of their row, and zero in the matrix, so that the others keep
  /// their bits.
  public static func gradient(
    _ logits: Matrix, columns: Range<Int>, labels: [Int32], logSumExp: Vector, scale: Float, pool: ThreadPool
  ) -> [Element] {
    let kernels = KernelTables.float
    pool.run(logits.rows) { row, _ in
      _ = kernels.pointee.exp_shifted(logits.columns, logSumExp.base[row], scale, logits.base + row * logits.stride)
    }
    return (0..<logits.rows).compactMap { row in
      let label = Int(labels[row])
      guard columns.contains(label) else { return nil }
      let place = logits.base + row * logits.stride + label - columns.lowerBound
      defer { place.pointee = 0 }
      return Element(row: row, column: label, value: place.pointee - scale)
    }
  }
}
