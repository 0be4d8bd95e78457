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
  let meanByRow: Bool
}

/// Thread pool, precision and the scratch memory of the frozen products.
///
/// One object for a run; the buffers come from the run's arena and are sized for the largest product.
public final class ComputeEngine {
  /// Inputs of products keep four outlier columns per group of rows.
  public static let input = input(meanByRow: false)

  private static func input(meanByRow: Bool) -> QuantizedRows.Role { .input(exactColumns: 4, meanByRow: meanByRow) }

  public let precision: Precision
  public let pool: ThreadPool
  private let trains: Bool
  private let rowStorage: Scratch
  private let workerScratch: [Scratch]
  private var rowsAreTexts = false

  /// Asked again and again while frozen products and attention are computed. What it throws is kept until
  /// `checkInterruption` throws it, and no more of them is computed meanwhile, so that a pass comes to its next check in no
  /// time; what it made is worth nothing then.
  public var interruption: (() throws -> Void)?
  private var interrupted: (any Error)?

  /// A product that an engine must have room for.
  public struct Demand {
    public let weight: StoredMatrix
    /// The most rows of its input.
    public let rows: Int
    /// The most rows of the weight that are used together.
    public let weightRows: Int
    /// Whether input gradients are computed.
    public let hasGradient: Bool

    public init(weight: StoredMatrix, rows: Int, weightRows: Int, hasGradient: Bool) {
      self.weight = weight
      self.rows = rows
      self.weightRows = weightRows
      self.hasGradient = hasGradient
    }
  }

  public init(precision: Precision, pool: ThreadPool, demands: [Demand], arena: Arena) {
    self.precision = precision
    trains = demands.contains { $0.hasGradient }
    self.pool = pool
    var rowBytes = 64
    var scratchBytes = 64
    for demand in demands {
      let weight = demand.weight
      switch precision {
      case .int8:
        rowBytes = max(
          rowBytes,
          QuantizedRows.byteCount(
            rows: demand.rows, columns: weight.columns, block: weight.reductionBlock, as: Self.input,
            threadCount: pool.threadCount))
        scratchBytes = max(scratchBytes, MatrixProduct.forwardScratchByteCount(weight, rows: demand.rows))
        if demand.hasGradient {
          rowBytes = max(
            rowBytes,
            QuantizedRows.byteCount(
              rows: demand.rows, columns: demand.weightRows, block: weight.gradientBlock, as: .gradient,
              threadCount: pool.threadCount))
          scratchBytes = max(scratchBytes, MatrixProduct.gradientScratchByteCount(weight, rows: demand.rows))
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

  private var isInterrupted: Bool {
    if interrupted == nil { do { try interruption?() } catch { interrupted = error } }
    return interrupted != nil
  }

  /// Runs `loops` of the pool, as far as nothing interrupts them.
  func interruptibly(_ loops: () -> Void) {
    if isInterrupted { return }
    pool.abandoning(when: { isInterrupted }, loops)
  }

  /// Asked before every layer of a micro-batch, and wherever what a pass made is to be used.
  /// - Throws: what has interrupted it
  public func checkInterruption() throws {
    guard isInterrupted, let error = interrupted else { return }
    interrupted = nil
    throw error
  }

  /// Runs `body`, in which every row is a token of a text of its own: what becomes of it does not depend on the others.
  func withRowsOfTexts<Result>(_ body: () throws -> Result) rethrows -> Result {
    precondition(!trains, "texts are written, not learnt")
    rowsAreTexts = true
    defer { rowsAreTexts = false }
    return try body()
  }

  /// Quantises `x` once for the products that share it; valid until the next call of `prepare` or `inputGradient`.
  ///
  /// - Parameters:
  ///   - x: `[tokens, in]`
  ///   - weight: one of the weights it will meet
  ///   - rowsPerSequence: outlier columns are chosen within a sequence, so micro-batches may be split between rows
  ///   - meanByRow: whether the error of each row is to be small beside that row, however small it is
  func prepare(_ x: Matrix, for weight: StoredMatrix, rowsPerSequence: Int, meanByRow: Bool = false) -> PreparedRows {
    var quantized: QuantizedRows?
    if precision == .int8 {
      quantized = QuantizedRows.quantize(
        x, as: Self.input(meanByRow: meanByRow), block: weight.reductionBlock,
        rowsPerSequence: rowsAreTexts ? 1 : rowsPerSequence, storage: rowStorage, pool: pool)
    }
    return PreparedRows(values: x, quantized: quantized, rowsPerSequence: rowsPerSequence, meanByRow: meanByRow)
  }

  /// `y (+)= x Wᵀ`; `x`: `[tokens, in]`, `weight`: `[out, in]`, `y`: `[tokens, out]`.
  ///
  /// - Parameters:
  ///   - rows: rows of `weight`, and so columns of `y`, if not all; begins at a multiple of 64
  ///   - term: joins the whole of `y`
  ///   - scaled: where the columns of `y` go besides
  func product(
    _ x: PreparedRows, _ weight: StoredMatrix, rows: Range<Int>? = nil, into y: Matrix, accumulate: Bool,
    adding term: LowRankTerm? = nil, scaled: ScaledColumns? = nil
  ) {
    let rows = rows ?? 0..<weight.rows
    guard var quantized = x.quantized else {
      interruptibly {
        ReferenceProduct.forward(
          x.values, weight, rows: rows, into: y, accumulate: accumulate, pool: pool, scratch: workerScratch)
      }
      term?.add(to: y, pool: pool)
      scaled?.take(y, pool: pool)
      return
    }
    if quantized.block != weight.reductionBlock,
      let again = prepare(
        x.values, for: weight, rowsPerSequence: x.rowsPerSequence, meanByRow: x.meanByRow
      ).quantized
    {
      quantized = again
    }
    interruptibly {
      MatrixProduct.forward(
        quantized, weight, rows: rows, into: y, accumulate: accumulate, adding: term, scaled: scaled,
        few: trains ? .likeMany : rowsAreTexts ? .alone : .fast,
        pool: pool, scratch: workerScratch)
    }
  }

  /// The same for several whole weights, which share a loop where they can.
  func products(
    _ x: PreparedRows, _ outputs: [(weight: StoredMatrix, y: Matrix, term: LowRankTerm?, scaled: ScaledColumns?)]
  ) {
    guard let quantized = x.quantized, trains, outputs.allSatisfy({ $0.weight.reductionBlock == quantized.block })
    else {
      for (weight, y, term, scaled) in outputs {
        product(x, weight, into: y, accumulate: false, adding: term, scaled: scaled)
      }
      return
    }
    interruptibly {
      MatrixProduct.forward(
        quantized, outputs.map { .init($0.weight, into: $0.y, accumulate: false, adding: $0.term, scaled: $0.scaled) },
        pool: pool, scratch: workerScratch)
    }
  }

  /// The same with everything around it, for measuring how long it takes; `x` is one sequence.
  public func product(_ x: Matrix, _ weight: StoredMatrix, rows: Range<Int>, into y: Matrix) {
    product(prepare(x, for: weight, rowsPerSequence: x.rows), weight, rows: rows, into: y, accumulate: false)
  }

  /// What a softmax needs of the products with some rows of `weight`, without keeping them; in 8 bits.
  ///
  /// - Parameters:
  ///   - x: `[rows, in]`
  ///   - start: first of the rows of `weight` that `gradient` has columns for
  ///   - gradient: takes codes, if they are wanted
  func exponentials(
    _ x: PreparedRows, _ weight: StoredMatrix, rows: Range<Int>, from start: Int, labels: [Int32],
    through loss: StreamedCrossEntropy, softmax: StreamedCrossEntropy.Sums, into gradient: QuantizedRows?,
    dither: UInt32, replacing replace: (@Sendable (_ columns: Range<Int>, _ logits: Matrix) -> Void)? = nil
  ) {
    guard let quantized = x.quantized else { preconditionFailure("rows are quantised") }
    interruptibly {
      loss.exponentials(
        quantized, weight, columns: rows, from: start, labels: labels, softmax: softmax, into: gradient, dither: dither,
        pool: pool, scratch: workerScratch, replacing: replace)
    }
  }

  /// `dx (+)= dy W` of a gradient in 8 bits, for some rows of `weight`.
  ///
  /// - Parameter start: column of `dy` that belongs to the first of them
  func inputGradient(
    _ dy: QuantizedRows, _ weight: StoredMatrix, rows: Range<Int>, from start: Int, into dx: Matrix, accumulate: Bool
  ) {
    interruptibly {
      MatrixProduct.inputGradient(
        dy, weight, rows: rows, from: start, into: dx, accumulate: accumulate, pool: pool, scratch: workerScratch)
    }
  }

  /// `dx (+)= dy W`; `dy`: `[tokens, out]`, `weight`: `[out, in]`, `dx`: `[tokens, in]`.
  ///
  /// - Parameters:
  ///   - rows: rows of `weight`, and so columns of `dy`, if not all; begins at a multiple of 64
  ///   - term: joins the whole of `dx`
  func inputGradient(
    _ dy: Matrix, _ weight: StoredMatrix, rows: Range<Int>? = nil, into dx: Matrix, accumulate: Bool,
    adding term: LowRankTerm? = nil
  ) {
    let rows = rows ?? 0..<weight.rows
    guard precision == .int8 else {
      interruptibly {
        ReferenceProduct.inputGradient(
          dy, weight, rows: rows, into: dx, accumulate: accumulate, pool: pool, scratch: workerScratch)
      }
      term?.add(to: dx, pool: pool)
      return
    }
    let quantized = QuantizedRows.quantize(
      dy, as: .gradient, block: weight.gradientBlock, rowsPerSequence: dy.rows, storage: rowStorage,
      pool: pool)
    interruptibly {
      MatrixProduct.inputGradient(
        quantized, weight, rows: rows, into: dx, accumulate: accumulate, adding: term, pool: pool,
        scratch: workerScratch)
    }
  }

  /// The sum of the input gradients of several whole weights, which share a loop where the memory for quantised rows holds
  /// the gradients of all their outputs.
  func inputGradients(_ sources: [(dy: Matrix, weight: StoredMatrix, term: LowRankTerm?)], into dx: Matrix) {
    let sizes = sources.map { source in
      QuantizedRows.byteCount(
        rows: source.dy.rows, columns: source.weight.rows, block: source.weight.gradientBlock, as: .gradient,
        threadCount: pool.threadCount)
    }
    guard precision == .int8, sizes.reduce(0, +) <= rowStorage.byteCount else {
      for (index, source) in sources.enumerated() {
        inputGradient(source.dy, source.weight, into: dx, accumulate: index > 0, adding: source.term)
      }
      return
    }
    var place = rowStorage.base
    let quantized = zip(sources, sizes).map { source, size -> MatrixProduct.Source in
      defer { place += size }
      let rows = QuantizedRows.quantize(
        source.dy, as: .gradient, block: source.weight.gradientBlock, rowsPerSequence: source.dy.rows,
        storage: Scratch(place, byteCount: size), pool: pool)
      return .init(rows, source.weight, adding: source.term)
    }
    interruptibly {
      MatrixProduct.inputGradient(quantized, into: dx, accumulate: false, pool: pool, scratch: workerScratch)
    }
  }
}
