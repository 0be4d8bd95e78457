import CKernels

/// Thin products with a frozen weight, or with the difference of two, in fp32: a tile of rows is decoded at a time, never the
/// whole. Every sum has a fixed order.
public struct DecodedProduct: Sendable {
  private static let tileRows = 16
  /// Parts of the rows whose sums are made apart.
  private static let parts = 8

  private let weight: StoredMatrix
  private let minus: StoredMatrix?

  /// - Parameter minus: what is taken off, of the same shape
  public init(_ weight: StoredMatrix, minus: StoredMatrix? = nil) {
    precondition(minus.map { $0.rows == weight.rows && $0.columns == weight.columns } ?? true, "weights of one shape")
    self.weight = weight
    self.minus = minus
  }

  public var rows: Int { weight.rows }
  public var columns: Int { weight.columns }

  /// `q Wᵀ`; `q`: `[count, in]`, the result `[out, count]`, row by row.
  public func project(_ q: [Float], count: Int, pool: ThreadPool) -> [Float] {
    precondition(q.count == count * columns, "shapes of a thin product")
    let kernels = KernelTables.float
    var result = [Float](repeating: 0, count: rows * count)
    result.withUnsafeMutableBufferPointer { result in
      q.withUnsafeBufferPointer { q in
        guard let y = result.baseAddress, let q = q.baseAddress else { return }
        let (y0, q0) = (UInt(bitPattern: y), UInt(bitPattern: q))
        pool.run((rows + Self.tileRows - 1) / Self.tileRows, as: .adapter) { task, _ in
          guard let y = UnsafeMutablePointer<Float>(bitPattern: y0), let q = UnsafePointer<Float>(bitPattern: q0)
          else { return }
          withTile(task) { rows, tile in
            kernels.pointee.gemm_rows(
              rows.count, count, columns, 1, tile.base, tile.stride, q, columns, 0, y + rows.lowerBound * count, count)
          }
        }
      }
    }
    return result
  }

  /// `yᵀ W`; `y`: `[out, count]`, the result `[count, in]`, row by row.
  public func projectBack(_ y: [Float], count: Int, pool: ThreadPool) -> [Float] {
    precondition(y.count == count * rows, "shapes of a thin product")
    let kernels = KernelTables.float
    let size = count * columns
    var sums = [Float](repeating: 0, count: Self.parts * size)
    let tiles = (rows + Self.tileRows - 1) / Self.tileRows
    sums.withUnsafeMutableBufferPointer { sums in
      y.withUnsafeBufferPointer { y in
        guard let z = sums.baseAddress, let y = y.baseAddress else { return }
        let (z0, y0) = (UInt(bitPattern: z), UInt(bitPattern: y))
        pool.run(Self.parts, as: .adapter) { part, _ in
          guard let z = UnsafeMutablePointer<Float>(bitPattern: z0), let y = UnsafePointer<Float>(bitPattern: y0)
          else { return }
          for task in part * tiles / Self.parts..<(part + 1) * tiles / Self.parts {
            withTile(task) { rows, tile in
              kernels.pointee.gemm(
                count, columns, rows.count, 1, y + rows.lowerBound * count, 1, count, tile.base, tile.stride, 1,
                z + part * size, columns)
            }
          }
        }
      }
    }
    return (0..<size).map { index in (0..<Self.parts).reduce(Float(0)) { $0 + sums[$1 * size + index] } }
  }

  private func withTile(_ task: Int, _ body: (Range<Int>, Matrix) -> Void) {
    let rows = task * Self.tileRows..<min((task + 1) * Self.tileRows, weight.rows)
    withUnsafeTemporaryAllocation(byteCount: 2 * rows.count * columns * 4, alignment: 64) { bytes in
      guard let base = bytes.baseAddress?.assumingMemoryBound(to: Float.self) else { return }
      let tile = Matrix(base, rows: rows.count, columns: columns)
      weight.decode(rows: rows, into: tile)
      if let minus {
        let other = Matrix(base + rows.count * columns, rows: rows.count, columns: columns)
        minus.decode(rows: rows, into: other)
        VectorOperations.add(other.elements, scaledBy: -1, to: tile.elements)
      }
      body(rows, tile)
    }
  }
}
