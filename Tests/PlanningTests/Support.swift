import Foundation

/// The repository.
let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

/// The trained tiny checkpoint.
let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path
