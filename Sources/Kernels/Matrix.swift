/// A view of floats laid out row by row; it owns nothing.
///
/// Whoever made the memory (an arena, a test) keeps it alive for as long as the view is used.
public struct Matrix: @unchecked Sendable {
  // @unchecked: the view is a plain address; the parallel loops that share it write disjoint rows or columns.

  /// First element of the first row.
  public let base: UnsafeMutablePointer<Float>
  public let rows: Int
  public let columns: Int
  /// Distance between two rows, in elements; at least `columns`.
  public let stride: Int

  public init(_ base: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int? = nil) {
    precondition(rows >= 0 && columns >= 0 && (stride ?? columns) >= columns, "a matrix view with impossible sizes")
    self.base = base
    self.rows = rows
    self.columns = columns
    self.stride = stride ?? columns
  }

  /// The rows `range`, as a view of the same memory.
  public func rows(_ range: Range<Int>) -> Matrix {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of a matrix of \(rows)")
    return Matrix(base + range.lowerBound * stride, rows: range.count, columns: columns, stride: stride)
  }

  /// The columns `range`, as a view of the same memory.
  public func columns(_ range: Range<Int>) -> Matrix {
    precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of a matrix of \(columns)")
    return Matrix(base + range.lowerBound, rows: rows, columns: range.count, stride: stride)
  }

  /// All elements in order; the rows lie end to end.
  public var elements: Vector {
    precondition(stride == columns || rows <= 1, "the rows of a matrix lie end to end")
    return Vector(base, count: rows * columns)
  }

  /// One row as a vector.
  public func row(_ index: Int) -> Vector {
    precondition(index >= 0 && index < rows, "row \(index) of a matrix of \(rows)")
    return Vector(base + index * stride, count: columns)
  }
}

/// A view of contiguous floats; it owns nothing.
public struct Vector: @unchecked Sendable {
  // @unchecked: as for `Matrix`.

  public let base: UnsafeMutablePointer<Float>
  public let count: Int

  public init(_ base: UnsafeMutablePointer<Float>, count: Int) {
    precondition(count >= 0, "a vector view with a negative count")
    self.base = base
    self.count = count
  }

  /// The elements `range`, as a view of the same memory.
  public func part(_ range: Range<Int>) -> Vector {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "elements \(range) of a vector of \(count)")
    return Vector(base + range.lowerBound, count: range.count)
  }

  /// The same memory as a matrix of `rows` x `columns`.
  public func matrix(rows: Int, columns: Int) -> Matrix {
    precondition(rows * columns <= count, "a vector of \(count) cannot hold \(rows) x \(columns)")
    return Matrix(base, rows: rows, columns: columns)
  }
}

/// A piece of 64-byte aligned working memory, given by the caller; it owns nothing.
public struct Scratch: @unchecked Sendable {
  // @unchecked: as for `Matrix`.

  public let base: UnsafeMutableRawPointer
  public let byteCount: Int

  public init(_ base: UnsafeMutableRawPointer, byteCount: Int) {
    precondition(UInt(bitPattern: base) % 64 == 0, "scratch memory is aligned to 64 bytes")
    self.base = base
    self.byteCount = byteCount
  }

  /// So many bytes as whole cache lines, which keep what follows aligned.
  static func aligned(_ byteCount: Int) -> Int { (byteCount + 63) / 64 * 64 }

  /// Runs `body` on the bytes.
  public func withBytes<R>(_ body: (UnsafeMutableRawBufferPointer) throws -> R) rethrows -> R {
    try body(UnsafeMutableRawBufferPointer(start: base, count: byteCount))
  }
}
