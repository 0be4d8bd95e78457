import Formats
import Foundation
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()
private let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path
private let homeControl = root.appendingPathComponent("Models/home-control/held-out.jsonl")
private let manager = FileManager.default

/// Models, adapters and rows as people publish them: what says the same computes the same, and what cannot be used is named.
struct AsPublishedTests {
  /// A folder with a copy of the tiny model and some rows.
  private func withModel(_ body: (_ model: String, _ data: String) throws -> Void) throws {
    let folder = manager.temporaryDirectory.appendingPathComponent("published-\(UUID().uuidString)").path
    try manager.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? manager.removeItem(atPath: folder) }
    try manager.copyItem(atPath: tinyLlama, toPath: "\(folder)/model")
    let rows = try String(contentsOf: homeControl, encoding: .utf8).split(separator: "\n").prefix(8)
    try write(rows.joined(separator: "\n"), "\(folder)/rows.jsonl")
    try body("\(folder)/model", "\(folder)/rows.jsonl")
  }

  private func write(_ text: String, _ path: String) throws {
    try text.write(toFile: path, atomically: true, encoding: .utf8)
  }

  /// Replaces some keys of a JSON file; `nil` removes one.
  private func edit(_ path: String, _ changes: [(String, JSONValue?)]) throws {
    var object = try #require(try JSONValue.parse(contentsOf: path).objectValue)
    for (key, value) in changes { object[key] = value }
    try write(JSONValue.object(object).serialized(), path)
  }

  private func loss(_ model: String, _ data: String, adapter: String? = nil) throws -> Double {
    let result = try Program.run(
      ["evaluate", "--model", model, "--data", data, "--json", "--threads", "1"]
        + (adapter.map { ["--adapter", $0] } ?? []))
    #expect(result.code == 0, "\(result.error)")
    return try #require(try JSONValue.parse(result.output, file: "output")["loss"]?.doubleValue)
  }

  @Test func anArchitectureIsKnownByItsOldNameAndByTheModelTypeAlone() throws {
    try withModel { model, data in
      let expected = try loss(model, data)
      try edit("\(model)/config.json", [("architectures", .array([.string("LLaMAForCausalLM")]))])
      #expect(try loss(model, data) == expected)
      try edit("\(model)/config.json", [("architectures", nil)])
      #expect(try loss(model, data) == expected)
    }
  }

  @Test func anIndexMayListAHeadThatIsTied() throws {
    try withModel { model, data in
      let expected = try loss(model, data)
      let names = try SafetensorsFile(path: "\(model)/model.safetensors").tensorNames
      try manager.moveItem(atPath: "\(model)/model.safetensors", toPath: "\(model)/model-00001-of-00001.safetensors")
      let map = (names + ["lm_head.weight"]).map { ($0, JSONValue.string("model-00001-of-00001.safetensors")) }
      try write(
        JSONValue.object(JSONObject([("weight_map", .object(JSONObject(map)))])).serialized(),
        "\(model)/model.safetensors.index.json")
      #expect(try loss(model, data) == expected)
    }
  }

  @Test func theEndOfTextIsFoundWhereOlderFilesHaveIt() throws {
    try withModel { model, _ in
      let data = "\(model)/text.jsonl"
      try write(#"{"text": "turn on the lights"}"#, data)
      let expected = try loss(model, data)
      let path = "\(model)/tokenizer_config.json"
      let end = try #require(try JSONValue.parse(contentsOf: path)["eos_token"])
      try edit(path, [("eos_token", nil)])
      #expect(try loss(model, data) != expected)
      try write(
        JSONValue.object(JSONObject([("eos_token", end)])).serialized(), "\(model)/special_tokens_map.json")
      #expect(try loss(model, data) == expected)
    }
  }

  @Test func anAdapterMayNameTargetsThatTheModelLacks() throws {
    try withModel { model, data in
      let adapter = "\(model)/adapter"
      let trained = try Program.run([
        "train", "--model", model, "--data", data, "--max-steps", "2", "--rank", "2", "--threads", "1", "--output",
        adapter, "--learning-rate", "1e-2",
      ])
      #expect(trained.code == 0, "\(trained.error)")
      let expected = try loss(model, data, adapter: adapter)
      #expect(try expected != loss(model, data))
      let path = "\(adapter)/adapter_config.json"
      let targets = try #require(try JSONValue.parse(contentsOf: path)["target_modules"]?.arrayValue)
      try edit(path, [("target_modules", .array(targets + [.string("query_key_value")]))])
      #expect(try loss(model, data, adapter: adapter) == expected)
    }
  }

  /// The model is of no use without one, so `quantize` says so before somebody takes the store to a board.
  @Test func aTokenizerThatIsNotThereIsToldWhenAStoreIsMade() throws {
    try withModel { model, _ in
      let tokenizer = "\(model)/tokenizer.json"
      try write(
        "version https://git-lfs.github.com/spec/v1\noid sha256:\(String(repeating: "0", count: 64))\nsize 22078\n",
        tokenizer)
      let pointer = try Program.run(["quantize", model, "-o", "\(model)/store"])
      #expect(pointer.code == 65 && pointer.error.contains("git-lfs pointer"), "\(pointer.error)")
      try manager.removeItem(atPath: tokenizer)
      try manager.createSymbolicLink(atPath: tokenizer, withDestinationPath: "/nonexistent/blob")
      #expect(try Program.run(["quantize", model, "-o", "\(model)/store"]).code != 0)
      try manager.removeItem(atPath: tokenizer)
      let none = try Program.run(["quantize", model, "-o", "\(model)/store"])
      #expect(none.code == 0 && none.error.contains("has no tokenizer"), "\(none.error)")
    }
  }

  @Test func aGGUFIsNoFolderToTrainOn() throws {
    try withModel { model, data in
      let exported = try Program.run(["export", "--model", model, "-o", "\(model)/tiny.gguf", "--format", "f16"])
      #expect(exported.code == 0, "\(exported.error)")
      let refused = try Program.run(["evaluate", "--model", "\(model)/tiny.gguf", "--data", data])
      #expect(refused.code == 2 && refused.error.contains("edge-lora quantize"), "\(refused.error)")
    }
  }
}
