/// The same products in fp32, with OpenBLAS: the truth that the 8-bit path is measured against.
public enum ReferenceProduct {
  /// Rows of `W` that are decoded at once; fixed, so that sums do not depend on the number of threads.
  private static let tileRows = 64

  /// Loads OpenBLAS, which products then use. Call it where somebody asks for this path: there the error can be told.
  ///
  /// - Throws: an error that says which package to install
  public static func prepare() throws { _ = try OpenBLAS.shared.get() }

  private static var library: OpenBLAS {
    switch OpenBLAS.shared {
    case .success(let library): library
    case .failure(let failure): fatalError("\(failure)")  // `prepare` has thrown this before
    }
  }

  /// Scratch of one worker, in bytes.
  public static func scratchByteCount(_ weight: StoredMatrix) -> Int {
    Scratch.aligned(tileRows * weight.columns * 4)
  }

  /// `y (+)= x Wᵀ`, or some of its columns; `x`: `[tokens, in]`, `weight`: `[out, in]`, `y`: `[tokens, rows]`.
  /// - Parameter slice: rows of `weight`, from a multiple of `MatrixProduct.sliceAlignment`; `nil` for all
  public static func forward(
    _ x: Matrix, _ weight: StoredMatrix, rows slice: Range<Int>? = nil, into y: Matrix, accumulate: Bool,
    pool: ThreadPool, scratch: [Scratch]
  ) {
    let library = library
    let slice = MatrixProduct.checked(slice, of: weight)
    precondition(y.columns == slice.count && y.rows == x.rows, "output fits")
    pool.run((slice.count + tileRows - 1) / tileRows, as: .referenceProduct) { task, worker in
      let first = slice.lowerBound + task * tileRows
      let rows = first..<min(first + tileRows, slice.upperBound)
      let tile = Matrix(
        scratch[worker].base.assumingMemoryBound(to: Float.self), rows: rows.count, columns: weight.columns)
      weight.decode(rows: rows, into: tile)
      let part = y.columns(task * tileRows..<task * tileRows + rows.count)
      library.multiply(x, transposed: tile, into: part, accumulate: accumulate)
    }
  }

  /// `dx (+)= dy W`, or the part that some rows of `W` make; `dy`: `[tokens, rows]`, `weight`: `[out, in]`, `dx`:
  /// `[tokens, in]`.
  /// - Parameter slice: as in `forward`
  public static func inputGradient(
    _ dy: Matrix, _ weight: StoredMatrix, rows slice: Range<Int>? = nil, into dx: Matrix, accumulate: Bool,
    pool: ThreadPool, scratch: [Scratch]
  ) {
    let library = library
    let slice = MatrixProduct.checked(slice, of: weight)
    precondition(dy.columns == slice.count && dx.rows == dy.rows, "gradients fit")
    // Tasks are tiles of tokens: each adds up the tiles of W in order.
    let tokens = max(32, (dy.rows + 15) / 16)
    pool.run((dy.rows + tokens - 1) / tokens, as: .referenceProduct) { task, worker in
      let range = task * tokens..<min((task + 1) * tokens, dy.rows)
      for first in stride(from: 0, to: slice.count, by: tileRows) {
        let rows = slice.lowerBound + first..<min(slice.lowerBound + first + tileRows, slice.upperBound)
        let tile = Matrix(
          scratch[worker].base.assumingMemoryBound(to: Float.self), rows: rows.count, columns: weight.columns)
        weight.decode(rows: rows, into: tile)
        library.multiply(
          dy.rows(range).columns(first..<first + rows.count), tile, into: dx.rows(range),
          accumulate: accumulate || first > 0)
      }
    }
  }
}
