import CKernels

extension Vector {
  /// Copies `values`, as many as the vector holds.
  public func assign(_ values: [Float]) {
    precondition(values.count == count, "\(values.count) values for a vector of \(count)")
    for (index, value) in values.enumerated() { base[index] = value }
  }

  /// Copies `other`, which is as long.
  public func copy(_ other: Vector) {
    precondition(count == other.count, "vectors of one length")
    base.update(from: other.base, count: count)
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
  public func sumOfSquares() -> Double { KernelTables.float.pointee.sum_of_squares(count, base) }

  /// Index of the largest element; of equals the first.
  public func indexOfLargest() -> Int { KernelTables.float.pointee.argmax(count, base) }

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
