/// Heads inside a matrix: head `h` is `size` columns from `offset + h * stride` of each row. Where one product makes queries,
/// keys and values, each of the three is such a view of its output. A view; it owns nothing.
public struct HeadMatrix: Sendable {
  /// Where the heads lie.
  public let matrix: Matrix
  /// Columns of a head.
  public let size: Int
  /// Number of heads.
  public let count: Int
  /// First column of the first head.
  public let offset: Int
  /// Columns from one head to the next.
  public let stride: Int

  /// Heads that fill the matrix, one after the other.
  public init(_ matrix: Matrix, size: Int) {
    precondition(size > 0 && matrix.columns % size == 0, "\(matrix.columns) columns are whole heads of \(size)")
    self.init(matrix, size: size, count: matrix.columns / size, offset: 0, stride: size)
  }

  /// Heads that lie anywhere in the rows of `matrix`, at equal distances.
  public init(_ matrix: Matrix, size: Int, count: Int, offset: Int, stride: Int) {
    precondition(
      size > 0 && count > 0 && offset >= 0 && stride >= size && offset + (count - 1) * stride + size <= matrix.columns,
      "\(count) heads of \(size) columns lie inside a row of \(matrix.columns)")
    self.matrix = matrix
    self.size = size
    self.count = count
    self.offset = offset
    self.stride = stride
  }

  /// Number of rows, one per token.
  public var rows: Int { matrix.rows }

  /// The rows `range`, as a view of the same memory.
  public func rows(_ range: Range<Int>) -> HeadMatrix {
    HeadMatrix(matrix.rows(range), size: size, count: count, offset: offset, stride: stride)
  }

  /// One head, `[rows, size]`, as a view of the same memory.
  public func head(_ index: Int) -> Matrix {
    precondition(index >= 0 && index < count, "head \(index) of \(count)")
    let first = offset + index * stride
    return matrix.columns(first..<first + size)
  }

  /// First element of a head in a row.
  func address(row: Int, head: Int) -> UnsafeMutablePointer<Float> {
    matrix.base + row * matrix.stride + offset + head * stride
  }
}
