/// Element types of GGUF tensors that can be read; raw values are GGML's type numbers.
public enum GGMLType: UInt32, Sendable, CaseIterable {
  case f32 = 0
  case f16 = 1
  case q40 = 2
  case q41 = 3
  case q50 = 6
  case q51 = 7
  case q80 = 8
  case q4K = 12
  case q5K = 13
  case q6K = 14
  case bf16 = 30

  /// GGML's name: `Q4_1`, `Q6_K`, ...
  public var name: String {
    let text = "\(self)".uppercased()
    return text.hasPrefix("Q") ? "\(text.prefix(2))_\(text.suffix(1))" : text
  }

  /// Elements of a block.
  public var blockSize: Int {
    switch self {
    case .f32, .f16, .bf16: 1
    case .q40, .q41, .q50, .q51, .q80: 32
    case .q4K, .q5K, .q6K: 256
    }
  }

  /// Bytes of a block.
  public var blockByteCount: Int {
    switch self {
    case .f32: 4
    case .f16, .bf16: 2
    case .q40: 18
    case .q41: 20
    case .q50: 22
    case .q51: 24
    case .q80: 34
    case .q4K: 144
    case .q5K: 176
    case .q6K: 210
    }
  }

  /// Floats of whole blocks. The order of the fp32 operations is that of the `gguf` Python package, so the bits are too.
  ///
  /// Source of the layouts: `ggml-common.h` and `ggml-quants.c` in ggml-org/ggml.
  func dequantize(_ bytes: UnsafeRawBufferPointer, into target: UnsafeMutableBufferPointer<Float>) {
    let blocks = target.count / blockSize
    for index in 0..<blocks {
      let block = UnsafeRawBufferPointer(rebasing: bytes[index * blockByteCount..<(index + 1) * blockByteCount])
      let out = UnsafeMutableBufferPointer(rebasing: target[index * blockSize..<(index + 1) * blockSize])
      switch self {
      case .f32: out[0] = Float(bitPattern: UInt32(littleEndian: block.loadUnaligned(as: UInt32.self)))
      case .f16: out[0] = block.half(0)
      case .bf16: out[0] = Float(bitPattern: UInt32(UInt16(littleEndian: block.loadUnaligned(as: UInt16.self))) << 16)
      case .q80: for i in 0..<32 { out[i] = Float(Int8(bitPattern: block[2 + i])) * block.half(0) }
      case .q40: for i in 0..<32 { out[i] = block.half(0) * Float(block.nibble(2, i) - 8) }
      case .q41: for i in 0..<32 { out[i] = block.half(0) * Float(block.nibble(4, i)) + block.half(2) }
      case .q50: for i in 0..<32 { out[i] = block.half(0) * Float((block.nibble(6, i) | block.fifthBit(2, i)) - 16) }
      case .q51:
        for i in 0..<32 { out[i] = block.half(0) * Float(block.nibble(8, i) | block.fifthBit(4, i)) + block.half(2) }
      case .q4K, .q5K: Self.dequantizeWithMinima(block, fiveBits: self == .q5K, into: out)
      case .q6K: Self.dequantizeSixBits(block, into: out)
      }
    }
  }

  /// Eight groups of 32, each with a 6-bit scale and a 6-bit minimum.
  private static func dequantizeWithMinima(
    _ block: UnsafeRawBufferPointer, fiveBits: Bool, into out: UnsafeMutableBufferPointer<Float>
  ) {
    let d = block.half(0)
    let dmin = block.half(2)
    let quants = fiveBits ? 48 : 16
    for group in 0..<8 {
      let scale: Int
      let minimum: Int
      if group < 4 {
        scale = Int(block[4 + group] & 0x3F)
        minimum = Int(block[8 + group] & 0x3F)
      } else {
        scale = Int(block[8 + group] & 0x0F) | Int(block[group] >> 6) << 4
        minimum = Int(block[8 + group] >> 4) | Int(block[4 + group] >> 6) << 4
      }
      let groupScale = d * Float(scale)
      let groupMinimum = dmin * Float(minimum)
      for i in 0..<32 {
        var code = Int(block[quants + group / 2 * 32 + i] >> (group % 2 == 0 ? 0 : 4) & 0x0F)
        if fiveBits { code |= Int(block[16 + i] >> group & 1) << 4 }
        out[group * 32 + i] = groupScale * Float(code) - groupMinimum
      }
    }
  }

  /// Sixteen groups of 16 with an 8-bit scale.
  private static func dequantizeSixBits(_ block: UnsafeRawBufferPointer, into out: UnsafeMutableBufferPointer<Float>) {
    let d = block.half(208)
    for index in 0..<256 {
      let half = index / 128
      let quarter = index % 128 / 32
      let i = index % 32
      let low = Int(block[half * 64 + quarter % 2 * 32 + i] >> (quarter < 2 ? 0 : 4) & 0x0F)
      let high = Int(block[128 + half * 32 + i] >> (2 * quarter) & 3)
      let scale = d * Float(Int8(bitPattern: block[192 + index / 16]))
      out[index] = scale * Float((low | high << 4) - 32)
    }
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func half(_ offset: Int) -> Float {
    HalfPrecision.float(UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
  }

  /// Element `i` of 32: the low nibbles hold the first 16, the high ones the rest.
  fileprivate func nibble(_ offset: Int, _ i: Int) -> Int {
    Int(i < 16 ? self[offset + i] & 15 : self[offset + i - 16] >> 4)
  }

  fileprivate func fifthBit(_ offset: Int, _ i: Int) -> Int { Int(self[offset + i / 8] >> (i % 8) & 1) << 4 }
}
