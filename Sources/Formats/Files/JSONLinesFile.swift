#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file with an object in every line.
public enum JSONLinesFile {
  /// Puts a line behind those of a file, which is made if it is not there.
  ///
  /// - Throws: `FileError`, also where the file is one of another kind, which a line more would damage
  public static func append(_ value: JSONValue, to path: String) throws {
    let line = Array((value.serialized() + "\n").utf8)
    guard System.isThere(path) else {
      let file = try OutputFile(path: path)
      try file.append(line)
      return try file.finish()
    }
    let file = try MappedFile(path: path)
    let bytes = file.bytes
    let isOpen = withExtendedLifetime(file) { bytes.last.map { $0 != UInt8(ascii: "\n") } ?? false }
    let start = withExtendedLifetime(file) { String(decoding: bytes.prefix(1000), as: UTF8.self) }
    let first = start.unicodeScalars.first { $0 != "\u{FEFF}" && !$0.properties.isWhitespace }
    guard bytes.isEmpty || first == "{" else {
      throw FileError.cannotWrite(file: path, reason: "it holds no JSON lines; name another file")
    }
    let growing = try GrowingFile(path: path)
    try growing.append((isOpen ? [UInt8(ascii: "\n")] : []) + line)
    try growing.synchronize()
  }
}
