/// Looks for elements that are infinite or no number, a piece at a time; pages that have been read go again.
extension StoredTensor {
  private static let pieceBytes = 1 << 20

  /// The first such element; `nil` where there is none, or where elements are whole numbers.
  ///
  /// - Parameter piece: is called for every piece that has been read
  public func firstNotFinite(piece: (_ byteCount: Int) throws -> Void = { _ in }) rethrows -> Int? {
    switch elementType {
    case .f64: try first(withExponent: 0x7FF0_0000_0000_0000 as UInt64, piece)
    case .f32: try first(withExponent: 0x7F80_0000 as UInt32, piece)
    case .f16: try first(withExponent: 0x7C00 as UInt16, piece)
    case .bf16: try first(withExponent: 0x7F80 as UInt16, piece)
    case .i64, .i32, .i16, .i8, .u8, .bool: nil
    }
  }

  /// - Parameter mask: the bits of the exponent, which are all set in what is not finite
  private func first<Bits: FixedWidthInteger>(withExponent mask: Bits, _ piece: (Int) throws -> Void) rethrows -> Int? {
    let size = MemoryLayout<Bits>.size
    let bytes = bytes
    func isNotFinite(_ place: Int) -> Bool {
      bytes.loadUnaligned(fromByteOffset: place * size, as: Bits.self) & mask == mask
    }
    for start in stride(from: 0, to: elementCount, by: Self.pieceBytes / size) {
      let range = start..<min(start + Self.pieceBytes / size, elementCount)
      // No early exit: the loop becomes vectors.
      var isAny = false
      for place in range where isNotFinite(place) { isAny = true }
      if isAny { return range.first(where: isNotFinite) }
      file.dropPages(offset: byteOffset + range.lowerBound * size, count: range.count * size)
      try piece(range.count * size)
    }
    return nil
  }
}

extension GGUFFile {
  /// The first row of a tensor that has such an element when it is decoded; `nil` where there is none.
  ///
  /// - Parameter piece: is called for every piece that has been read
  public func firstRowNotFinite(
    of tensor: GGUFTensor, piece: (_ byteCount: Int) throws -> Void = { _ in }
  ) rethrows -> Int? {
    guard tensor.rows > 0, tensor.columns > 0 else { return nil }
    let most = max(1, (1 << 18) / tensor.columns)
    var values = [Float](repeating: 0, count: min(most, tensor.rows) * tensor.columns)
    for start in stride(from: 0, to: tensor.rows, by: most) {
      let rows = start..<min(start + most, tensor.rows)
      let place = values.withUnsafeMutableBufferPointer { buffer in
        dequantize(tensor, rows: rows, into: buffer)
        return buffer[..<(rows.count * tensor.columns)].firstIndex { !$0.isFinite }
      }
      if let place { return start + place / tensor.columns }
      try piece(tensor.type.byteCount(elements: rows.count * tensor.columns))
    }
    dropPages(of: tensor)
    return nil
  }
}
