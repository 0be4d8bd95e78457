import CKernels

/// Rows of floats that wait for the way back, as they are or in fewer bits; a view, it owns nothing.
public struct KeptMatrix: @unchecked Sendable {
  // @unchecked: as for `Matrix`.

  /// How an element is kept.
  public enum Format: Sendable {
    case f32
    /// The upper half of a float, rounded to nearest even.
    case bf16
    /// IEEE 754's binary16, rounded to nearest even; what is too large becomes the largest.
    case f16

    var byteCount: Int { self == .f32 ? 4 : 2 }
  }

  let base: UnsafeMutableRawPointer
  public let rows: Int
  public let columns: Int
  public let format: Format
  /// Distance between two rows, in elements.
  let stride: Int

  /// - Parameter base: `byteCount(rows:columns:format:)` bytes, aligned to the elements
  public init(_ base: UnsafeMutableRawPointer, rows: Int, columns: Int, format: Format) {
    self.init(base, rows: rows, columns: columns, format: format, stride: columns)
  }

  private init(_ base: UnsafeMutableRawPointer, rows: Int, columns: Int, format: Format, stride: Int) {
    precondition(rows >= 0 && columns >= 0 && stride >= columns, "a matrix with impossible sizes")
    self.stride = stride
    self.base = base
    self.rows = rows
    self.columns = columns
    self.format = format
  }

  /// Memory of a matrix, in bytes.
  public static func byteCount(rows: Int, columns: Int, format: Format) -> Int { rows * columns * format.byteCount }

  /// The rows `range`, as a view of the same memory.
  public func rows(_ range: Range<Int>) -> KeptMatrix {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of a matrix of \(rows)")
    return KeptMatrix(
      base + range.lowerBound * stride * format.byteCount, rows: range.count, columns: columns, format: format,
      stride: stride)
  }

  /// The columns `range`, as a view of the same memory.
  public func columns(_ range: Range<Int>) -> KeptMatrix {
    precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of a matrix of \(columns)")
    return KeptMatrix(
      base + range.lowerBound * format.byteCount, rows: rows, columns: range.count, format: format, stride: stride)
  }

  /// The memory itself where it holds floats.
  public var floats: Matrix? {
    format == .f32
      ? Matrix(base.assumingMemoryBound(to: Float.self), rows: rows, columns: columns, stride: stride) : nil
  }

  /// Keeps `x`, `[rows, columns]`.
  public func store(_ x: Matrix, pool: ThreadPool) {
    precondition(x.rows == rows && x.columns == columns, "matrices of one shape")
    if let floats { return VectorOperations.copy(x, into: floats, pool: pool) }
    let kernels = KernelTables.float
    VectorOperations.forEachRow(rows, pool: pool) { row in
      let values = x.base + row * x.stride
      if format == .f16 {
        kernels.pointee.to_half(columns, values, codes(row))
      } else {
        kernels.pointee.to_bfloat(columns, values, codes(row))
      }
    }
  }

  /// Writes what is kept to `x`, `[rows, columns]`.
  public func load(into x: Matrix, pool: ThreadPool) {
    precondition(x.rows == rows && x.columns == columns, "matrices of one shape")
    if let floats { return VectorOperations.copy(floats, into: x, pool: pool) }
    let kernels = KernelTables.float
    VectorOperations.forEachRow(rows, pool: pool) { row in
      let values = x.base + row * x.stride
      if format == .f16 {
        kernels.pointee.from_half(columns, codes(row), values)
      } else {
        kernels.pointee.from_bfloat(columns, codes(row), values)
      }
    }
  }

  /// The elements of a row in 16 bits.
  func codes(_ row: Int) -> UnsafeMutablePointer<UInt16> {
    base.assumingMemoryBound(to: UInt16.self) + row * stride
  }
}
