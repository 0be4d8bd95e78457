import Formats
import FoundationEssentials
import Glibc

/// A matrix written to a file with rows and columns exchanged, and mapped: it takes memory only as far as it is used.
enum TransposedCopy {
  /// - Throws: `FileError` when the folder for temporary files (`TMPDIR`, else `/var/tmp`) has no room
  static func make<T>(_ source: UnsafePointer<T>, rows: Int, columns: Int) throws -> MappedFile {
    let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/var/tmp"
    let path = "\(folder)/edge-lora-\(getpid())-\(UUID().uuidString)"
    let output = try OutputFile(path: path)
    defer { unlink(path) }
    var row = [T](repeating: source[0], count: rows)
    for column in 0..<columns {
      for index in 0..<rows { row[index] = source[index * columns + column] }
      try row.withUnsafeBytes { try output.append($0) }
    }
    try output.finish()
    return try MappedFile(path: path)
  }
}
