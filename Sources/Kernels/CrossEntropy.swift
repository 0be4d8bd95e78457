import CKernels

/// Softmax cross-entropy over rows of logits.
public enum CrossEntropy {
  /// `losses[i] = log(sum(exp(logits[i]))) - logits[i][labels[i]]`; `logits`: `[rows, vocabulary]`.
  public static func loss(_ logits: Matrix, labels: [Int32], into losses: Vector, pool: ThreadPool) {
    precondition(labels.count == logits.rows && losses.count >= logits.rows, "one label per row")
    let kernels = VectorOperations.kernels
    pool.run(logits.rows) { row, _ in
      let line = logits.base + row * logits.stride
      losses.base[row] = kernels.log_sum_exp(logits.columns, line) - line[Int(labels[row])]
    }
  }

  /// The same, and the gradient of `scale * sum(losses)` in place of the logits, except that the element of the label is
  /// zero there and stands in `labelGradient` instead: `[rows]`.
  public static func lossAndGradient(
    _ logits: Matrix, labels: [Int32], scale: Float, losses: Vector, labelGradient: Vector, pool: ThreadPool
  ) {
    precondition(labels.count == logits.rows && losses.count >= logits.rows, "one label per row")
    let kernels = VectorOperations.kernels
    pool.run(logits.rows) { row, _ in
      let line = logits.base + row * logits.stride
      let label = Int(labels[row])
      let total = kernels.log_sum_exp(logits.columns, line)
      losses.base[row] = total - line[label]
      _ = kernels.exp_shifted(logits.columns, total, scale, line)
      labelGradient.base[row] = line[label] - scale
      line[label] = 0
    }
  }
}
