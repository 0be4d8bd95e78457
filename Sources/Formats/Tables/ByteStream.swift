#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A text file that is not UTF-8, or a table that is not what it should be; the place is `file:line`.
public struct TableError: Error, CustomStringConvertible {
  public let file: String
  public let line: Int
  public let reason: String
  public var description: String { "\(file):\(line): \(reason)" }
}

/// Bytes of a file, a pipe or standard input, one after another; holds 64 KB.
struct ByteStream {
  let file: String
  private let descriptor: Int32
  private var buffer: [UInt8] = []
  private var position = 0
  private var isAtEnd = false
  /// Bytes of whole buffers that were taken.
  private var taken = 0

  /// Bytes that were taken.
  var byteCount: Int { taken + position }

  init(path: String) throws {
    file = path
    if case .directory = try PathKind(path) { throw FileError.isDirectory(file: path) }
    descriptor = System.retrying { open(path, O_RDONLY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw FileError.cannotOpen(file: path, reason: .system) }
    try begin()
  }

  /// - Parameter descriptor: stays open; this stream reads from a copy
  init(descriptor: Int32, name: String) throws {
    file = name
    self.descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard self.descriptor >= 0 else { throw FileError.cannotOpen(file: name, reason: .system) }
    try begin()
  }

  /// The owner calls it once, at its end.
  func close() {
    #if canImport(Glibc)
      Glibc.close(descriptor)
    #else
      Musl.close(descriptor)
    #endif
  }

  private mutating func begin() throws {
    do {
      // A pipe may give less than four bytes at a time; only marks are looked for here.
      while buffer.count < 4, !isAtEnd { try fill() }
      let skipped = try buffer.withUnsafeBytes { bytes in
        if let encoding = TextEncoding.foreign(bytes) {
          throw TableError(
            file: file, line: 1,
            reason: "the text is \(encoding), expected UTF-8; convert it with: iconv -f UTF-16 -t UTF-8")
        }
        return TextEncoding.markLength(bytes)
      }
      position = skipped
    } catch {
      close()
      throw error
    }
  }

  private mutating func fill() throws {
    buffer.removeSubrange(0..<position)
    taken += position
    position = 0
    let kept = buffer.count
    buffer.append(contentsOf: repeatElement(0, count: 1 << 16))
    let file = file
    let descriptor = descriptor
    let count = try buffer.withUnsafeMutableBytes { bytes in
      while true {
        let count = read(descriptor, bytes.baseAddress! + kept, 1 << 16)
        if count >= 0 { return count }
        guard errno == EINTR else { throw FileError.cannotOpen(file: file, reason: .system) }
      }
    }
    buffer.removeLast((1 << 16) - count)
    isAtEnd = count == 0
  }

  /// The next byte without taking it.
  @inline(__always)
  mutating func peek() throws -> UInt8? {
    if position == buffer.count {
      if isAtEnd { return nil }
      try fill()
      if position == buffer.count { return nil }
    }
    return buffer[position]
  }

  /// What is left of the line, without taking it; the beginning of a very long one.
  mutating func restOfLine() throws -> ArraySlice<UInt8> {
    while true {
      let rest = buffer[position...]
      if let end = rest.firstIndex(where: { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }) {
        return rest[..<end]
      }
      if isAtEnd || rest.count >= 1 << 16 { return rest }
      try fill()
    }
  }

  /// So many of the bytes that follow, without taking them, or all that there are; perhaps more.
  mutating func ahead(_ count: Int) throws -> ArraySlice<UInt8> {
    while buffer.count - position < count, !isAtEnd { try fill() }
    return buffer[position...]
  }

  /// Takes the byte that `peek` showed.
  @inline(__always)
  mutating func take() { position += 1 }
}
