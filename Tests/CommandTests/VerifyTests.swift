import Formats
import Foundation
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()
private let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path
private let data = root.appendingPathComponent("Models/home-control/held-out.jsonl").path
private let manager = FileManager.default

/// `verify`, as a user runs it on what is whole and on what is not.
struct VerifyTests {
  private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = manager.temporaryDirectory.appendingPathComponent("verify-\(UUID().uuidString)")
    try manager.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? manager.removeItem(at: folder) }
    try body(folder.path)
  }

  private func run(_ arguments: [String]) throws {
    let result = try Program.run(arguments)
    #expect(result.code == 0, "\(arguments): \(result.error)")
  }

  /// Flips a bit of a file.
  private func damage(_ path: String, at place: Int) throws {
    var bytes = try #require(manager.contents(atPath: path))
    bytes[place < 0 ? bytes.count + place : place] ^= 4
    try bytes.write(to: URL(fileURLWithPath: path))
  }

  private func expectRefusal(_ path: String, _ expected: String) throws {
    let result = try Program.run(["verify", path])
    #expect(result.code == 65 && result.error.contains(expected), "\(result.code): \(result.error)")
  }

  @Test(arguments: ["nf4", "int8", "f16"]) func aStoreIsSoundUntilABitIsFlipped(format: String) throws {
    try withFolder { folder in
      let store = "\(folder)/store"
      try run(["quantize", tinyLlama, "-o", store, "--format", format])
      let sound = try Program.run(["verify", store])
      #expect(sound.code == 0 && sound.output.contains("checksums hold"), "\(sound.output)\(sound.error)")
      #expect(sound.output.contains("\(store) is sound"))
      for (file, place) in [("model.safetensors", -1), ("model.safetensors", -5000), ("tokenizer.json", 900)] {
        let path = "\(store)/\(file)"
        try damage(path, at: place)
        try expectRefusal(store, "\(path): its checksum is not that of what was written")
        try damage(path, at: place)
      }
      try damage("\(store)/checksums.json", at: 30)
      #expect(try Program.run(["verify", store]).code == 65)
      try damage("\(store)/checksums.json", at: 30)
      try run(["verify", store, "--quiet"])
      try manager.removeItem(atPath: "\(store)/tokenizer_config.json")
      try expectRefusal(store, "tokenizer_config.json: is missing")
    }
  }

  @Test func checksumsCoverTheFoldersOfAStore() throws {
    try withFolder { folder in
      let (model, store) = ("\(folder)/model", "\(folder)/store")
      try manager.copyItem(atPath: tinyLlama, toPath: model)
      try manager.createDirectory(atPath: "\(model)/additional_chat_templates", withIntermediateDirectories: true)
      let name = "additional_chat_templates/tool_use.jinja"
      try Data("{{ messages }}".utf8).write(to: URL(fileURLWithPath: "\(model)/\(name)"))
      try run(["quantize", model, "-o", store])
      // what comes later in a folder is somebody's own
      try manager.createDirectory(atPath: "\(store)/runs", withIntermediateDirectories: true)
      try Data("x".utf8).write(to: URL(fileURLWithPath: "\(store)/runs/note"))
      let sound = try Program.run(["verify", store])
      #expect(sound.code == 0 && !sound.output.contains("note"), "\(sound.output)\(sound.error)")
      try damage("\(store)/\(name)", at: 3)
      try expectRefusal(store, "\(store)/\(name): its checksum is not that of what was written")
      try manager.removeItem(atPath: "\(store)/\(name)")
      try expectRefusal(store, "\(store)/\(name): is missing")
    }
  }

  /// As a store of another program: structure and numbers are checked alone.
  @Test func aStoreWithoutChecksumsIsReadThrough() throws {
    try withFolder { folder in
      let store = "\(folder)/store"
      try run(["quantize", tinyLlama, "-o", store, "--format", "f16"])
      try manager.removeItem(atPath: "\(store)/checksums.json")
      let sound = try Program.run(["verify", store])
      #expect(sound.code == 0 && sound.output.contains("has no checksums.json"), "\(sound.error)")
      let path = "\(store)/model.safetensors"
      let file = try SafetensorsFile(path: path)
      let tensor = try #require(file.tensor("model.layers.1.mlp.up_proj.weight"))
      var bytes = try #require(manager.contents(atPath: path))
      let place = tensor.byteOffset + 2 * 77
      bytes.replaceSubrange(place..<place + 2, with: [0x00, 0x7C])
      try bytes.write(to: URL(fileURLWithPath: path))
      try expectRefusal(store, "tensor model.layers.1.mlp.up_proj.weight, element 77 of")
      try bytes.dropLast().write(to: URL(fileURLWithPath: path))
      #expect(try Program.run(["verify", store]).code == 65)
    }
  }

  @Test func aRunIsSoundWithItsCheckpointsAndItsBase() throws {
    try withFolder { folder in
      let output = "\(folder)/adapter"
      try run([
        "train", "--model", tinyLlama, "--data", data, "--max-length", "64", "--rank", "2", "--threads", "1",
        "--max-steps", "2", "--save-steps", "1", "--output", output,
      ])
      let sound = try Program.run(["verify", output, "--model", tinyLlama])
      #expect(sound.code == 0 && sound.output.contains("fits \(tinyLlama)"), "\(sound.output)\(sound.error)")
      #expect(sound.output.contains("checkpoint-1: checksums hold"))
      try run(["verify", "\(output)/checkpoint-2"])
      try damage("\(output)/checkpoint-2/optimizer.safetensors", at: -3)
      try expectRefusal(output, "checkpoint-2/optimizer.safetensors: its checksum is wrong")
      try expectRefusal("\(output)/checkpoint-2", "its checksum is wrong")
    }
  }

  @Test func theFolderOfASearchIsNoModel() throws {
    try withFolder { folder in
      try manager.createDirectory(atPath: "\(folder)/trial-000", withIntermediateDirectories: true)
      try "{}".write(toFile: "\(folder)/ledger.json", atomically: true, encoding: .utf8)
      let result = try Program.run(["verify", folder])
      let expected = "is the folder of a search: name the run of a trial in it, such as \(folder)/trial-000"
      #expect(result.code == 66 && result.error.contains(expected), "\(result.error)")
    }
  }

  @Test func whatIsNotThereIsNamed() throws {
    #expect(try Program.run(["verify"]).code == 2)
    #expect(try Program.run(["verify", "/nonexistent/x.gguf"]).code == 66)
    try withFolder { folder in
      try expectRefusal(folder, "no model.safetensors")
    }
  }
}
