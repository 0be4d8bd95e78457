import CKernels

/// How the products with and for the weights of the softmax are computed: in floats, or twice as fast in pairs of
/// bfloat16, each pair a word. Sums are floats.
struct AttentionArithmetic: @unchecked Sendable {
  // @unchecked: the tables are constant data.
  private let pairs: UnsafePointer<el_pair_kernels>?
  let words: UnsafePointer<el_word_kernels>?

  /// - Parameter isExact: floats, whatever the processor offers
  init(shape: AttentionShape, isExact: Bool) {
    let isExact = isExact || shape.headSize % 32 != 0
    pairs = isExact ? nil : KernelTables.float.pointee.pairs
    words = isExact ? nil : KernelTables.float.pointee.words
  }

  var packs: Bool { pairs != nil }
  var roundsScores: Bool { words != nil }

  /// `x` for products that sum over its columns: `[rows, words]`, in `space` unless it is `x` itself.
  func rows(_ x: Matrix, in space: Matrix) -> Matrix {
    guard let pairs else { return x }
    pairs.pointee.pack_rows(x.rows, x.columns, x.base, x.stride, space.base, space.stride)
    return Matrix(space.base, rows: x.rows, columns: (x.columns + 1) / 2, stride: space.stride)
  }

  /// Some columns of what `rows` returned; `range` begins at an even one.
  func part(_ packed: Matrix, _ range: Range<Int>) -> Matrix {
    packed.columns(packs ? range.lowerBound / 2..<(range.upperBound + 1) / 2 : range)
  }

  /// `x` for products that sum over its rows: `[words, columns]`.
  func columns(_ x: Matrix, in space: Matrix) -> Matrix {
    guard let pairs else { return x }
    pairs.pointee.pack_columns(
      x.rows, AttentionLayout.wholeVectors(x.columns), x.base, x.stride, space.base, space.stride)
    return Matrix(space.base, rows: (x.rows + 1) / 2, columns: x.columns, stride: space.stride)
  }

  /// Some rows of what `columns` returned; `range` begins at an even one.
  func rowPart(_ packed: Matrix, _ range: Range<Int>) -> Matrix {
    packed.rows(packs ? range.lowerBound / 2..<(range.upperBound + 1) / 2 : range)
  }

  /// `c (+)= a b`, for some columns of `b`.
  func multiply(_ a: Matrix, _ b: Matrix, columns: Int, into c: Matrix, accumulate: Bool = false) {
    multiply(
      a.rows, columns, a.columns, a, rowStride: a.stride, columnStride: 1, b, beta: accumulate ? 1 : 0, c)
  }

  /// `c += aᵀ b`
  func multiplyTransposed(_ a: Matrix, _ b: Matrix, addingTo c: Matrix) {
    multiply(a.columns, b.columns, a.rows, a, rowStride: 1, columnStride: a.stride, b, beta: 1, c)
  }

  private func multiply(
    _ m: Int, _ n: Int, _ k: Int, _ a: Matrix, rowStride: Int, columnStride: Int, _ b: Matrix, beta: Float,
    _ c: Matrix
  ) {
    if let pairs {
      pairs.pointee.gemm(m, n, k, 1, a.base, rowStride, columnStride, b.base, b.stride, beta, c.base, c.stride)
    } else {
      KernelTables.float.pointee.gemm(
        m, n, k, 1, a.base, rowStride, columnStride, b.base, b.stride, beta, c.base, c.stride)
    }
  }

  /// `y = xᵀ`
  static func transpose(_ x: Matrix, into y: Matrix) {
    KernelTables.float.pointee.transpose(x.rows, x.columns, x.base, x.stride, y.base, y.stride)
  }
}
