import Formats
import Foundation
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()
private let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path
private let data = root.appendingPathComponent("Models/home-control/held-out.jsonl").path
private let manager = FileManager.default

/// The program where limits, names and folders are not what they usually are.
struct SurroundingsTests {
  private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = manager.temporaryDirectory.appendingPathComponent("surroundings-\(UUID().uuidString)")
    try manager.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? manager.removeItem(at: folder) }
    try body(folder.path)
  }

  /// Trains a step, with its output in the working directory.
  private func train(_ output: String, in folder: String, _ others: [String] = []) throws -> Program.Result {
    let result = try Program.run(
      [
        "train", "--model", tinyLlama, "--data", data, "--max-length", "32", "--threads", "1", "--max-steps", "1",
        "--output", output,
      ] + others, in: folder)
    #expect(result.code == 0, "\(result.error)")
    return result
  }

  private func expect(_ arguments: [String], in folder: String, code: Int32, _ text: String) throws {
    let result = try Program.run(arguments, in: folder)
    let isSaid = text.isEmpty || result.error.contains(text)
    #expect(result.code == code && isSaid, "\(arguments): \(result.code) \(result.error)")
  }

  @Test func aFileBeyondTheLimitIsAnErrorAndLeavesNothing() throws {
    try withFolder { folder in
      let words = ["quantize", tinyLlama, "-o", "store", "--threads", "1"]
      let result = try Program.run(words, in: folder, after: "ulimit -f 8")
      #expect(result.code == 74 && result.error.contains("File too large; `ulimit -f`"), "\(result.error)")
      #expect(try manager.contentsOfDirectory(atPath: folder).isEmpty)
    }
  }

  @Test func aReportReplacesReportsAlone() throws {
    try withFolder { folder in
      _ = try train("run", in: folder)
      for file in ["run/metrics.jsonl", "run/adapter_config.json"] {
        let old = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(file)"))
        for option in ["--csv", "--output"] {
          try expect(["report", "run", option, file, "--force"], in: folder, code: 73, "is not replaced")
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(file)")) == old)
      }
      for _ in 0..<2 { try expect(["report", "run", "-o", "a.html"], in: folder, code: 0, "") }
      for _ in 0..<2 { try expect(["report", "run", "--csv", "a.csv", "--force"], in: folder, code: 0, "") }
    }
  }

  @Test func theNextCommandIsQuotedForAShell() throws {
    try withFolder { folder in
      let trained = try train("my run", in: folder)
      #expect(trained.output.contains("--adapter 'my run'"), "\(trained.output)")
    }
  }

  @Test func aRunWithoutAnAdapterYetIsToldWithItsCheckpoint() throws {
    try withFolder { folder in
      for step in [9, 12] { try OutputFolder.create("\(folder)/run/checkpoint-\(step)") }
      for words in [["adapters", "run"], ["generate", "--model", tinyLlama, "--adapter", "run", "--prompt", "a"]] {
        try expect(words, in: folder, code: 66, "edge-lora train --resume --output run ends it; run/checkpoint-12")
      }
    }
  }

  @Test func aFolderOfTwoMethodsIsInspectedWhole() throws {
    try withFolder { folder in
      _ = try train("run", in: folder, ["--method", "bottleneck+lora"])
      let text = try Program.run(["inspect", "run"], in: folder).output
      #expect(text.contains("lora_A.weight") && text.contains("adapter_down"), "\(text)")
      _ = try train("both", in: folder, ["--method", "bottleneck", "--adapter-config", "seq_bn+par_bn"])
      try expect(["inspect", "both"], in: folder, code: 0, "")
    }
  }

  @Test func namesOfFoldersMayLookLikeWeightsAndNames() throws {
    try withFolder { folder in
      _ = try train("run:2", in: folder)
      _ = try train("rate=1e-3", in: folder)
      let ask = ["--model", tinyLlama, "--prompt", "a", "--max-new-tokens", "1"]
      try expect(["generate", "--adapter", "run:2"] + ask, in: folder, code: 0, "")
      try expect(["chat", "--model", tinyLlama, "--adapter", "rate=1e-3"], in: folder, code: 0, "")
      // where no folder can be made for the sum
      let words = ["generate", "--adapter", "run:2:0.5"] + ask
      let result = try Program.run(words, in: folder, after: "export TMPDIR=/nonexistent")
      #expect(result.code == 73 && result.error.contains("TMPDIR names another place"), "\(result.error)")
    }
  }

  @Test func settingsMayHoldObjectsAndNameAnOptionOnce() throws {
    try withFolder { folder in
      func write(_ text: String) throws { try OutputFile.write(text, to: "\(folder)/settings.json") }
      let schedule = #""lr_scheduler": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}"#
      try write(#"{"rank_pattern": {"q_proj": 2}, \#(schedule)}"#)
      _ = try train("run", in: folder, ["--settings", "settings.json"])
      let made = try JSONValue.parse(contentsOf: "\(folder)/run/adapter_config.json")
      #expect(made["rank_pattern"]?.serialized().contains("2") == true, "\(made)")
      let words = ["train", "--settings", "settings.json"]
      try write(#"{"rank_pattern": {"q_proj": "two"}}"#)
      try expect(words, in: folder, code: 2, "rank_pattern does not take")
      try write(#"{"learning_rate": 1e-3, "learning-rate": 1e-4}"#)
      try expect(words, in: folder, code: 2, "learning-rate gives --learning-rate, which another key gives as well")
    }
  }

  @Test func resumingWithoutARunSaysSo() throws {
    try withFolder { folder in
      let words = ["train", "--resume", "--output", "nothing"]
      try expect(words, in: folder, code: 2, "nothing holds no run to go on from; no model here")
      try expect(words + ["--model", tinyLlama], in: folder, code: 2, "to go on from; no train.jsonl")
    }
  }
}
