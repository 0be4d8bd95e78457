/// The characters by which byte-level models write bytes: printable ones stand for themselves, the others for
/// characters from U+0100 on.
///
/// Source: `bytes_to_unicode` in OpenAI's GPT-2 encoder.
enum ByteAlphabet {
  /// The character of each byte.
  static let scalars: [UInt32] = {
    var next: UInt32 = 0x100
    return (0..<256).map { (byte: UInt32) in
      if (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE { return byte }
      defer { next += 1 }
      return next
    }
  }()

  /// The byte of each character from 0 on, or -1.
  private static let bytes: [Int16] = {
    var result = [Int16](repeating: -1, count: 0x144)
    for (byte, scalar) in scalars.enumerated() { result[Int(scalar)] = Int16(byte) }
    return result
  }()

  /// The byte that a character stands for.
  static func byte(of scalar: UInt32) -> UInt8? {
    scalar < bytes.count && bytes[Int(scalar)] >= 0 ? UInt8(bytes[Int(scalar)]) : nil
  }

  /// Each byte as a character.
  static func characters(of text: Bytes) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.count * 2)
    for byte in text {
      let scalar = scalars[Int(byte)]
      if scalar < 0x80 {
        result.append(UInt8(scalar))
      } else {
        result.append(UInt8(0xC0 | scalar >> 6))
        result.append(UInt8(0x80 | scalar & 0x3F))
      }
    }
    return result
  }

  /// The bytes that the characters of a token stand for; `nil` if one of them stands for none.
  static func bytes(of token: Bytes) -> [UInt8]? {
    var result: [UInt8] = []
    result.reserveCapacity(token.count)
    var position = 0
    while position < token.count {
      let (scalar, length) = token.scalar(at: position)
      guard let byte = byte(of: scalar) else { return nil }
      result.append(byte)
      position += length
    }
    return result
  }
}
