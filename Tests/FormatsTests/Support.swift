import Foundation
import Testing

/// The folder of golden vectors.
let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden").path

/// Runs `body` with a folder that is gone afterwards.
func withTemporaryFolder<T>(_ body: (String) throws -> T) throws -> T {
  let path = NSTemporaryDirectory() + "formats-\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try body(path)
}

/// The text of the error that `body` throws.
func message(_ body: () throws -> Void) -> String {
  do {
    try body()
    return "nothing was thrown"
  } catch {
    return "\(error)"
  }
}

/// The bytes of a safetensors file.
func safetensors(_ header: String, data: [UInt8]) -> Data {
  withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Data($0) } + Data(header.utf8) + Data(data)
}
