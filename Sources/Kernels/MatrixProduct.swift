import CKernels

/// Products with frozen weights in 8 bits: a few panels of `W` are decoded, then all tokens pass over them.
public enum MatrixProduct {
  /// Rows of `W` at which a slice may start.
  public static let sliceAlignment = 64

  /// Columns of the output in a panel.
  static let width = Int(EL_PANEL)

  static func checked(_ rows: Range<Int>?, of weight: StoredMatrix) -> Range<Int> {
    let slice = rows ?? 0..<weight.rows
    precondition(
      slice.lowerBound >= 0 && slice.upperBound <= weight.rows && slice.lowerBound % sliceAlignment == 0,
      "rows \(slice) of a matrix of \(weight.rows)")
    return slice
  }

  /// Addresses of what the kernels know rows and weight as.
  static func withNative(
    _ x: QuantizedRows, _ weight: StoredMatrix,
    _ body: (UncheckedPointer<el_rows>, UncheckedPointer<el_matrix>) -> Void
  ) {
    withUnsafePointer(to: x.native) { rows in
      withUnsafePointer(to: weight.native) { body(UncheckedPointer(rows), UncheckedPointer($0)) }
    }
  }
}
