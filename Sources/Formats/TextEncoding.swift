/// What the first bytes of a text file say about its encoding.
enum TextEncoding {
  /// The name of an encoding that is not UTF-8 and that the text has: by its mark, or by zeros where UTF-16 has them.
  static func foreign(_ bytes: UnsafeRawBufferPointer) -> String? {
    guard bytes.count >= 2 else { return nil }
    let first = (bytes[0], bytes[1])
    if bytes.count >= 4, first == (0xFF, 0xFE), bytes[2] == 0, bytes[3] == 0 { return "UTF-32" }
    if first == (0xFF, 0xFE) || first == (0xFE, 0xFF) { return "UTF-16" }
    if (first.0 == 0) != (first.1 == 0) { return "UTF-16 without a mark" }
    return nil
  }

  /// Bytes of the mark that some programs put before UTF-8.
  static func markLength(_ bytes: UnsafeRawBufferPointer) -> Int { bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0 }
}
