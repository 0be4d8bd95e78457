import CKernels

/// Element-wise and row-wise work, spread over fixed tiles of rows.
public enum VectorOperations {
  private static let tileRows = 16

  static var kernels: el_float_kernels { InstructionSet.current.float.pointee }

  /// Runs `body` for every row, a tile of rows per task.
  static func forEachRow(_ rows: Int, pool: ThreadPool, _ body: (Int) -> Void) {
    pool.run((rows + tileRows - 1) / tileRows) { task, _ in
      for row in task * tileRows..<min((task + 1) * tileRows, rows) { body(row) }
    }
  }

  /// `y = x / rms(x) * weight` row by row; `inverseRMS`: `[rows]`. `y` may be `x`.
  public static func rmsNorm(
    _ x: Matrix, weight: Vector, epsilon: Float, into y: Matrix, keeping inverseRMS: Vector, pool: ThreadPool
  ) {
    precondition(weight.count == x.columns && y.columns == x.columns && inverseRMS.count >= x.rows, "shapes of a norm")
    let kernels = kernels
    forEachRow(x.rows, pool: pool) { row in
      inverseRMS.base[row] = kernels.rms_norm(
        x.columns, x.base + row * x.stride, weight.base, epsilon, y.base + row * y.stride)
    }
  }

  /// `dx += inverseRMS * (w·dy - x̂ mean(w·dy·x̂))` row by row.
  public static func rmsNormBackward(
    _ dy: Matrix, x: Matrix, weight: Vector, inverseRMS: Vector, addingTo dx: Matrix, pool: ThreadPool
  ) {
    let kernels = kernels
    forEachRow(x.rows, pool: pool) { row in
      kernels.rms_norm_backward(
        x.columns, dy.base + row * dy.stride, x.base + row * x.stride, weight.base, inverseRMS.base[row],
        dx.base + row * dx.stride)
    }
  }

  /// `h = silu(gate) * up`, all `[rows, columns]`; `h` may be `gate`.
  public static func siluGate(gate: Matrix, up: Matrix, into h: Matrix, pool: ThreadPool) {
    let kernels = kernels
    forEachRow(gate.rows, pool: pool) { row in
      kernels.silu_gate(gate.columns, gate.base + row * gate.stride, up.base + row * up.stride, h.base + row * h.stride)
    }
  }

  /// The same of a gate that was kept, in floats or halves.
  public static func siluGate(gate: KeptMatrix, up: KeptMatrix, into h: Matrix, pool: ThreadPool) {
    if let gate = gate.floats, let up = up.floats { return siluGate(gate: gate, up: up, into: h, pool: pool) }
    precondition(gate.format == .f16 && up.format == .f16, "gate and up are kept alike")
    let kernels = kernels
    forEachRow(gate.rows, pool: pool) { row in
      kernels.silu_gate_half(gate.columns, gate.codes(row), up.codes(row), h.base + row * h.stride)
    }
  }

  /// On entry `dh` is the gradient of `silu(gate) * up`, on return that of `gate`; `du` becomes that of `up`.
  public static func siluGateBackward(
    _ dh: Matrix, gate: KeptMatrix, up: KeptMatrix, into du: Matrix, pool: ThreadPool
  ) {
    precondition(gate.format == up.format && gate.format != .bf16, "gate and up are kept alike")
    let kernels = kernels
    if let gate = gate.floats, let up = up.floats {
      forEachRow(gate.rows, pool: pool) { row in
        kernels.silu_gate_backward(
          gate.columns, gate.base + row * gate.stride, up.base + row * up.stride, dh.base + row * dh.stride,
          du.base + row * du.stride)
      }
      return
    }
    forEachRow(gate.rows, pool: pool) { row in
      kernels.silu_gate_backward_half(
        gate.columns, gate.codes(row), up.codes(row), dh.base + row * dh.stride, du.base + row * du.stride)
    }
  }

  /// `y[row] += bias` for every row.
  public static func addBias(_ bias: Vector, to y: Matrix, pool: ThreadPool) {
    let kernels = kernels
    forEachRow(y.rows, pool: pool) { row in kernels.add_scaled(y.columns, 1, bias.base, y.base + row * y.stride) }
  }

  /// `y += x`
  public static func add(_ x: Matrix, to y: Matrix, pool: ThreadPool) {
    let kernels = kernels
    forEachRow(y.rows, pool: pool) { row in
      kernels.add_scaled(y.columns, 1, x.base + row * x.stride, y.base + row * y.stride)
    }
  }

  /// `y += scale * x`
  public static func add(_ x: Vector, scaledBy scale: Float, to y: Vector) {
    precondition(x.count == y.count, "vectors of one length")
    kernels.add_scaled(y.count, scale, x.base, y.base)
  }

  /// `y = x`
  public static func copy(_ x: Matrix, into y: Matrix, pool: ThreadPool) {
    precondition(x.rows == y.rows && x.columns == y.columns, "matrices of one shape")
    let kernels = kernels
    forEachRow(x.rows, pool: pool) { row in
      kernels.copy(x.columns, x.base + row * x.stride, y.base + row * y.stride)
    }
  }

  /// Every element becomes `value`.
  public static func fill(_ x: Matrix, with value: Float) {
    for row in 0..<x.rows { (x.base + row * x.stride).update(repeating: value, count: x.columns) }
  }

  /// Every element becomes `value`.
  public static func fill(_ x: Vector, with value: Float) { x.base.update(repeating: value, count: x.count) }

  /// `x *= factor`
  public static func scale(_ x: Vector, by factor: Float) { kernels.scale(x.count, factor, x.base) }

  /// `y[i] = x[rows[i]]`
  public static func gatherRows(of x: Matrix, at rows: [Int], into y: Matrix, pool: ThreadPool) {
    let kernels = kernels
    forEachRow(rows.count, pool: pool) { row in
      kernels.copy(x.columns, x.base + rows[row] * x.stride, y.base + row * y.stride)
    }
  }

  /// `y[rows[i]] = x[i]`
  public static func scatterRows(_ x: Matrix, to rows: [Int], of y: Matrix, pool: ThreadPool) {
    let kernels = kernels
    forEachRow(rows.count, pool: pool) { row in
      kernels.copy(x.columns, x.base + row * x.stride, y.base + rows[row] * y.stride)
    }
  }

  /// `y = x` with the elements zeroed that `mask` chooses and the rest divided by `1 - probability`. `y` may be `x`.
  public static func dropout(_ x: Matrix, into y: Matrix, mask: DropoutMask, pool: ThreadPool) {
    forEachRow(x.rows, pool: pool) { row in
      mask.apply(row: row, of: x.columns, to: x.base + row * x.stride, count: x.columns, into: y.base + row * y.stride)
    }
  }
}

/// Which elements of a matrix dropout zeroes, each with `probability`: it depends on `seed` and the element's place alone.
public struct DropoutMask: Sendable {
  public let probability: Float
  public let seed: UInt64
  /// What the first row counts as: a part of a batch is masked as if it were whole.
  public let firstRow: Int

  public init(probability: Float, seed: UInt64, firstRow: Int) {
    self.probability = probability
    self.seed = seed
    self.firstRow = firstRow
  }

  /// Masks `count` elements of a row of `width`, from `column`.
  func apply(
    row: Int, column: Int = 0, of width: Int, to x: UnsafePointer<Float>, count: Int,
    into y: UnsafeMutablePointer<Float>
  ) {
    VectorOperations.kernels.dropout(
      count, probability, seed, UInt64((firstRow + row) * width + column), x, y)
  }
}

extension Vector {
  /// Copies `values`, as many as the vector holds.
  public func assign(_ values: [Float]) {
    precondition(values.count == count, "\(values.count) values for a vector of \(count)")
    for (index, value) in values.enumerated() { base[index] = value }
  }

  /// One element.
  public subscript(index: Int) -> Float {
    precondition(index >= 0 && index < count, "element \(index) of a vector of \(count)")
    return base[index]
  }

  /// The elements as an array.
  public var values: [Float] { Array(UnsafeBufferPointer(start: base, count: count)) }

  /// Sum of the elements.
  public func sum() -> Double { (0..<count).reduce(0) { $0 + Double(base[$1]) } }

  /// Sum of the squares of the elements.
  public func sumOfSquares() -> Double { VectorOperations.kernels.sum_of_squares(count, base) }

  /// Index of the largest element; of equals the first.
  public func indexOfLargest() -> Int { VectorOperations.kernels.argmax(count, base) }

  /// A part as a matrix.
  public func matrix(at offset: Int, rows: Int, columns: Int) -> Matrix {
    precondition(offset >= 0 && offset + rows * columns <= count, "the part lies inside the vector")
    return Matrix(base + offset, rows: rows, columns: columns)
  }

  /// Runs `body` on the bytes of the elements.
  public func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try body(UnsafeRawBufferPointer(UnsafeBufferPointer(start: base, count: count)))
  }

  /// Runs `body` on the elements.
  public func withMutableElements<R>(_ body: (UnsafeMutableBufferPointer<Float>) throws -> R) rethrows -> R {
    try body(UnsafeMutableBufferPointer(start: base, count: count))
  }
}
