import Foundation
import Testing

private let bert = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("TransformerTests/Golden/bert").path
private let manager = FileManager.default

/// Models with labels, as a user trains and asks them.
struct LabelTests {
  /// Calls `body` with a folder that has `model`: a random BERT of 24 positions and three labels, whose words are single letters.
  private func withModel(_ body: (String) throws -> Void) throws {
    let folder = manager.temporaryDirectory.appendingPathComponent("labels-\(UUID().uuidString)").path
    try manager.createDirectory(atPath: "\(folder)/model", withIntermediateDirectories: true)
    defer { try? manager.removeItem(atPath: folder) }
    for name in ["config.json", "model.safetensors"] {
      try manager.copyItem(atPath: "\(bert)/\(name)", toPath: "\(folder)/model/\(name)")
    }
    let tokenizer = """
      {"added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
       "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
       "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "b": 2}}}
      """
    try write(tokenizer, "\(folder)/model/tokenizer.json")
    try body(folder)
  }

  private func write(_ text: String, _ path: String) throws {
    try text.write(toFile: path, atomically: true, encoding: .utf8)
  }

  @discardableResult
  private func run(_ arguments: [String], in folder: String) throws -> Program.Result {
    let result = try Program.run(arguments, in: folder)
    #expect(result.code == 0, "\(arguments): \(result.error)")
    return result
  }

  /// What stands in front of a text takes some of the model's positions.
  @Test(arguments: ["prefix_tuning", "prompt_tuning"]) func longTextsAreEvaluatedBehindAPrefix(method: String) throws {
    try withModel { folder in
      let text = String(repeating: "a b ", count: 30)
      try write("text,label\n\(text),up\na,down\nb,level\n", "\(folder)/rows.csv")
      try run(
        [
          "train", "--model", "model", "--data", "rows.csv", "--method", method, "--num-virtual-tokens", "4",
          "--output", "adapter", "--threads", "1",
        ], in: folder)
      let result = try run(
        ["evaluate", "--model", "model", "--adapter", "adapter", "--data", "rows.csv", "--threads", "1"], in: folder)
      #expect(result.error.contains("1 samples cut at 20 tokens"), "\(result.error)")
    }
  }

  /// Five labels on a model that has a head for three.
  @Test func aModelLearnsOtherLabelsThanItKnows() throws {
    try withModel { folder in
      try write("text,label\na,v\nb,w\na b,x\nb a,y\na a,z\n", "\(folder)/rows.csv")
      let train = ["train", "--model", "model", "--data", "rows.csv", "--output", "adapter", "--threads", "1"]
      let refused = try Program.run(train, in: folder)
      #expect(refused.code == 65 && refused.error.contains("--labels v,w,x,y,z"), "\(refused.error)")
      let trained = try run(train + ["--labels", "v,w,x,y,z"], in: folder)
      #expect((trained.output + trained.error).contains("new head: classifier"), "\(trained.error)")
      try run(["merge", "--model", "model", "--adapter", "adapter", "-o", "merged", "--threads", "1"], in: folder)
      for arguments in [["--model", "model", "--adapter", "adapter"], ["--model", "merged"]] {
        let result = try run(["predict", "--text", "a b", "--threads", "1"] + arguments, in: folder)
        #expect(["v", "w", "x", "y", "z"].allSatisfy { result.output.contains("\"\($0)\":") }, "\(result.output)")
      }
    }
  }
}
