/// Element types of safetensors files.
public enum ElementType: String, Sendable, CaseIterable {
  case f64 = "F64"
  case f32 = "F32"
  case f16 = "F16"
  case bf16 = "BF16"
  case i64 = "I64"
  case i32 = "I32"
  case i16 = "I16"
  case i8 = "I8"
  case u8 = "U8"
  case bool = "BOOL"

  /// Bytes of one element.
  public var byteCount: Int {
    switch self {
    case .f64, .i64: 8
    case .f32, .i32: 4
    case .f16, .bf16, .i16: 2
    case .i8, .u8, .bool: 1
    }
  }
}

/// Names go into messages, where a terminal obeys control characters and a line break ends an error early.
enum TensorNaming {
  static func isUnprintable(_ name: String) -> Bool {
    name.unicodeScalars.contains { $0.value < 0x20 || (0x7F...0x9F).contains($0.value) }
  }
}

/// A tensor in a mapped file.
public struct StoredTensor: Sendable {
  public let name: String
  public let elementType: ElementType
  /// Outermost dimension first; empty for a scalar.
  public let shape: [Int]
  public let file: MappedFile
  public let byteOffset: Int
  public let byteCount: Int

  public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: file.bytes[byteOffset..<byteOffset + byteCount])
  }

  public var elementCount: Int { byteCount / elementType.byteCount }

  /// Elements as floats.
  /// - Parameters:
  ///   - range: flat elements
  ///   - target: as many floats as the range has elements
  public func copyFloats(range: Range<Int>, into target: UnsafeMutableBufferPointer<Float>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= elementCount && target.count >= range.count, "in bounds")
    let bytes = bytes
    @inline(__always) func copy<T>(_ type: T.Type, _ convert: (T) -> Float) {
      let start = range.lowerBound * MemoryLayout<T>.size
      for place in 0..<range.count {
        target[place] = convert(bytes.loadUnaligned(fromByteOffset: start + place * MemoryLayout<T>.size, as: T.self))
      }
    }
    switch elementType {
    case .f64: copy(Double.self) { Float($0) }
    case .f32: copy(Float.self) { $0 }
    case .f16: copy(UInt16.self, HalfPrecision.float)
    case .bf16: copy(UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
    case .i64: copy(Int64.self) { Float($0) }
    case .i32: copy(Int32.self) { Float($0) }
    case .i16: copy(Int16.self) { Float($0) }
    case .i8: copy(Int8.self) { Float($0) }
    case .u8, .bool: copy(UInt8.self) { Float($0) }
    }
  }

  /// All elements as floats.
  public func floats() -> [Float] {
    [Float](unsafeUninitializedCapacity: elementCount) { buffer, count in
      copyFloats(range: 0..<elementCount, into: UnsafeMutableBufferPointer(rebasing: buffer[0..<elementCount]))
      count = elementCount
    }
  }
}

/// IEEE 754 half precision by its bits, because not every platform's Swift has `Float16`.
public enum HalfPrecision {
  /// The value of a bit pattern.
  @inlinable
  public static func float(_ bits: UInt16) -> Float {
    // The exponent is moved by a multiplication, which also gets subnormals right. No branch: loops become vectors.
    let value = Float(bitPattern: UInt32(bits & 0x7FFF) << 13) * 0x1p112
    let special: UInt32 = bits & 0x7C00 == 0x7C00 ? 0x7F80_0000 : 0
    return Float(bitPattern: value.bitPattern | special | UInt32(bits & 0x8000) << 16)
  }

  /// The nearest half; ties go to even, too large becomes infinity.
  @inlinable
  public static func bits(_ value: Float) -> UInt16 {
    let sign = UInt16(truncatingIfNeeded: value.bitPattern >> 16) & 0x8000
    let magnitude = value.bitPattern & 0x7FFF_FFFF
    if magnitude > 0x7F80_0000 { return sign | 0x7E00 }
    if magnitude >= 0x477F_F000 { return sign | 0x7C00 }
    if magnitude < 0x3880_0000 {
      // subnormal: adding 0.5 puts the rounded mantissa into the low bits
      let shifted = Float(bitPattern: magnitude) + 0.5
      return sign | UInt16(truncatingIfNeeded: shifted.bitPattern &- 0x3F00_0000)
    }
    let odd = (magnitude >> 13) & 1
    return sign | UInt16(truncatingIfNeeded: (magnitude &- 0x3800_0000 &+ 0xFFF &+ odd) >> 13)
  }

  /// The nearest bfloat16; ties go to even.
  @inlinable
  public static func brainBits(_ value: Float) -> UInt16 {
    if value.isNaN { return 0x7FC0 }
    let bits = value.bitPattern
    return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ ((bits >> 16) & 1)) >> 16)
  }
}
