import Kernels
import Memory

/// How the frozen products are computed.
public enum Precision: String, Sendable, CaseIterable {
  /// Both operands in 8 bits with a scale per row and block; the default.
  case int8
  /// Weights decoded to fp32, OpenBLAS products: the reference.
  case f32
}

/// The rows of one matrix, ready to be multiplied with several frozen weights.
public struct PreparedRows {
  public let values: Matrix
  let quantized: QuantizedRows?
  let rowsPerSequence: Int
}

/// Thread pool, precision and the scratch memory of the frozen products.
///
/// One object for a run; the buffers come from the run's arena and are sized for the largest product.
public final class ComputeEngine {
  /// Columns of a product's input that stay in float because they are outliers; per group of rows.
  public static let exactColumnCount = 8

  public let precision: Precision
  public let pool: ThreadPool
  private let rowStorage: Scratch
  private let workerScratch: [Scratch]

  /// The products that an engine must have room for.
  public struct Demands {
    /// Largest number of rows in one product.
    public var rows: Int
    /// Every frozen matrix that is multiplied.
    public var weights: [StoredMatrix]
    /// Whether input gradients are computed.
    public var gradients: Bool
    /// Rows of the vocabulary head's products, and the head's matrix.
    public var headRows: Int
    public var head: StoredMatrix

    public init(rows: Int, weights: [StoredMatrix], gradients: Bool, headRows: Int, head: StoredMatrix) {
      self.rows = rows
      self.weights = weights
      self.gradients = gradients
      self.headRows = headRows
      self.head = head
    }
  }

  public init(precision: Precision, pool: ThreadPool, demands: Demands, arena: Arena) {
    self.precision = precision
    self.pool = pool
    let all = demands.weights.map { ($0, demands.rows) } + [(demands.head, demands.headRows)]
    var rowBytes = 64
    var scratchBytes = 64
    for (weight, rows) in all {
      switch precision {
      case .int8:
        rowBytes = max(
          rowBytes,
          QuantizedRows.byteCount(
            rows: rows, columns: weight.columns, block: weight.reductionBlock, exactColumns: Self.exactColumnCount))
        scratchBytes = max(scratchBytes, MatrixProduct.forwardScratchByteCount(weight, rows: rows))
        if demands.gradients {
          rowBytes = max(
            rowBytes,
            QuantizedRows.byteCount(
              rows: rows, columns: weight.rows, block: weight.gradientBlock, exactColumns: 0))
          scratchBytes = max(scratchBytes, MatrixProduct.gradientScratchByteCount(weight, rows: rows))
        }
      case .f32:
        scratchBytes = max(scratchBytes, ReferenceProduct.scratchByteCount(weight))
      }
    }
    rowStorage = Scratch(
      arena.allocate("quantised rows", kind: .panels, byteCount: rowBytes), byteCount: rowBytes)
    workerScratch = (0..<pool.threadCount).map { worker in
      Scratch(
        arena.allocate("weight panel of thread \(worker)", kind: .panels, byteCount: scratchBytes),
        byteCount: scratchBytes)
    }
  }

  /// Quantises `x` once for the products that share it; valid until the next call of `prepare` or `inputGradient`.
  ///
  /// - Parameters:
  ///   - x: `[tokens, in]`
  ///   - weight: one of the weights it will meet
  ///   - rowsPerSequence: outlier columns are chosen within a sequence, so micro-batches may be split between rows
  func prepare(_ x: Matrix, for weight: StoredMatrix, rowsPerSequence: Int) -> PreparedRows {
    guard precision == .int8 else {
      return PreparedRows(values: x, quantized: nil, rowsPerSequence: rowsPerSequence)
    }
    let quantized = QuantizedRows.quantize(
      x, block: weight.reductionBlock, exactColumns: Self.exactColumnCount, rowsPerSequence: rowsPerSequence,
      storage: rowStorage, pool: pool)
    return PreparedRows(values: x, quantized: quantized, rowsPerSequence: rowsPerSequence)
  }

  /// `y (+)= x Wᵀ`; `x`: `[tokens, in]`, `weight`: `[out, in]`, `y`: `[tokens, out]`.
  func product(_ x: PreparedRows, _ weight: StoredMatrix, into y: Matrix, accumulate: Bool) {
    guard var quantized = x.quantized else {
      ReferenceProduct.forward(x.values, weight, into: y, accumulate: accumulate, pool: pool, scratch: workerScratch)
      return
    }
    if quantized.block != weight.reductionBlock,
      let again = prepare(
        x.values, for: weight, rowsPerSequence: x.rowsPerSequence
      ).quantized
    {
      quantized = again
    }
    MatrixProduct.forward(quantized, weight, into: y, accumulate: accumulate, pool: pool, scratch: workerScratch)
  }

  /// `dx (+)= dy W`; `dy`: `[tokens, out]`, `weight`: `[out, in]`, `dx`: `[tokens, in]`.
  /// - Parameter dither: seed of stochastic rounding; 0 rounds to nearest
  func inputGradient(_ dy: Matrix, _ weight: StoredMatrix, into dx: Matrix, accumulate: Bool, dither: UInt32 = 0) {
    guard precision == .int8 else {
      ReferenceProduct.inputGradient(dy, weight, into: dx, accumulate: accumulate, pool: pool, scratch: workerScratch)
      return
    }
    let quantized = QuantizedRows.quantize(
      dy, block: weight.gradientBlock, exactColumns: 0, rowsPerSequence: dy.rows, dither: dither,
      storage: rowStorage, pool: pool)
    MatrixProduct.inputGradient(quantized, weight, into: dx, accumulate: accumulate, pool: pool, scratch: workerScratch)
  }
}
