import Foundation

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

/// The trained tiny checkpoint.
let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path

/// A tiny random model of a family, with an adapter in its folder `adapter`.
func golden(_ variant: String) -> String {
  root.appendingPathComponent("Tests/TransformerTests/Golden/\(variant)").path
}

/// Runs `body` with a folder that is gone afterwards.
func withTemporaryFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("deployment-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  return try body(folder.path)
}
