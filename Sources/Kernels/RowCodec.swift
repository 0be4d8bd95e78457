import CKernels

/// Rows of floats in fewer bits, for activations that wait for the way back.
public enum RowCodec {
  /// Codes of -127 ... 127 and, behind those of a row, its scales: one for each block of columns. A block that holds what is
  /// not finite has a scale that is no number.
  public static func encodeInt8(
    _ x: Matrix, block: Int, into target: UnsafeMutableRawPointer, rowByteCount: Int, pool: ThreadPool
  ) {
    let target = Scratch(unaligned: target)
    let blocks = (x.columns + block - 1) / block
    VectorOperations.forEachRow(x.rows, pool: pool) { row in
      let codes = (target.base + row * rowByteCount).assumingMemoryBound(to: Int8.self)
      let scales = (target.base + row * rowByteCount + blocks * block).assumingMemoryBound(to: Float.self)
      for index in 0..<blocks {
        let columns = index * block..<min((index + 1) * block, x.columns)
        let source = x.base + row * x.stride
        var largest: Float = 0
        for column in columns { largest = max(largest, abs(source[column])) }
        // Of what is smaller the inverse is not finite.
        let inverse = largest > 1e-36 ? 127 / largest : 0
        var isFinite = true
        for column in columns {
          let code = (source[column] * inverse).rounded(.toNearestOrEven)
          let fits = abs(code) <= 127  // not a number that is not finite
          codes[column] = fits ? Int8(code) : 1
          isFinite = isFinite && fits
        }
        scales[index] = isFinite ? largest / 127 : .nan
      }
    }
  }

  /// The inverse, `y`: `[rows, columns]`.
  public static func decodeInt8(
    _ source: UnsafeMutableRawPointer, rowByteCount: Int, block: Int, into y: Matrix, pool: ThreadPool
  ) {
    let source = Scratch(unaligned: source)
    let blocks = (y.columns + block - 1) / block
    VectorOperations.forEachRow(y.rows, pool: pool) { row in
      let codes = (source.base + row * rowByteCount).assumingMemoryBound(to: Int8.self)
      let scales = (source.base + row * rowByteCount + blocks * block).assumingMemoryBound(to: Float.self)
      let out = y.base + row * y.stride
      for column in 0..<y.columns { out[column] = Float(codes[column]) * scales[column / block] }
    }
  }
}

extension Scratch {
  /// An address that a parallel loop may write: its rows are disjoint.
  fileprivate init(unaligned base: UnsafeMutableRawPointer) {
    self.base = base
    byteCount = 0
  }
}
