import Architectures
import Formats
import Foundation

/// A store of any size whose weights are a hole in a file: for plans, which look at no weight.
///
/// - Parameters:
///   - shape: name of a file in `Models/shapes`
///   - change: what its configuration should say instead
func withSparseStore<Result>(
  _ shape: String, _ change: (inout JSONObject) -> Void = { _ in }, _ body: (String) throws -> Result
) throws -> Result {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("shape-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let path = root.appendingPathComponent("Models/shapes/\(shape).json").path
  var json = try JSONValue.parse(contentsOf: path).objectValue ?? JSONObject()
  change(&json)
  try JSONValue.object(json).serialized().write(
    to: folder.appendingPathComponent("config.json"), atomically: true, encoding: .utf8)
  let description = try ModelDescription(json: .object(json), file: path)
  var header = JSONObject()
  var offset = 0
  for tensor in description.tensors {
    let byteCount = 2 * tensor.shape.reduce(1, *)
    header[tensor.name] = .object(
      JSONObject([
        ("dtype", .string("F16")), ("shape", .array(tensor.fileShape.map { .integer($0) })),
        ("data_offsets", .array([.integer(offset), .integer(offset + byteCount)])),
      ]))
    offset += byteCount
  }
  var text = JSONValue.object(header).serialized()
  text += String(repeating: " ", count: (8 - text.utf8.count % 8) % 8)
  let file = folder.appendingPathComponent("model.safetensors")
  try (withUnsafeBytes(of: UInt64(text.utf8.count).littleEndian) { Data($0) } + Data(text.utf8)).write(to: file)
  let handle = try FileHandle(forWritingTo: file)
  try handle.truncate(atOffset: UInt64(8 + text.utf8.count + offset))
  try handle.close()
  return try body(folder.path)
}
