import Data
import Formats
import Foundation
import Options
import Testing
import Training

private let adapterFile = "adapter_model.safetensors"

/// Answers to sample prompts while a model learns.
struct SamplePromptTests {
  private static func prompts(_ folder: String, _ text: String = "lights off\n\nmake it warmer\n") throws -> String {
    let path = "\(folder)/prompts.txt"
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    return path
  }

  /// Methods that compute something when parameters change, or put something in front of a text, and weights that pass through.
  @Test(
    arguments: [
      [:], ["use-dora": []], ["method": ["prefix_tuning"], "num-virtual-tokens": ["4"]], ["resident-layers": ["0"]],
      ["optim": ["lion"], "dropout": ["0.1"]],
    ] as [[String: [String]]])
  func trainingDoesNotNoticeThem(method: [String: [String]]) throws {
    try withFolder { folder in
      let values = method.merging(["max-steps": ["4"], "eval-steps": ["1"], "eval-split": ["0.1"]]) { $1 }
      try train("\(folder)/without", values)
      let more = ["sample-prompts": [try Self.prompts(folder)], "sample-max-new-tokens": ["5"], "threads": ["2"]]
      try train("\(folder)/with", values.merging(more) { $1 })
      #expect(
        FileManager.default.contentsEqual(
          atPath: "\(folder)/with/\(adapterFile)", andPath: "\(folder)/without/\(adapterFile)"))
      func losses(_ name: String) throws -> [JSONValue?] {
        try lines("\(folder)/\(name)/metrics.jsonl").filter { $0["samples"] == nil }.map {
          $0["loss"] ?? $0["eval_loss"]
        }
      }
      #expect(try losses("with") == losses("without"))
      let samples = try lines("\(folder)/with/metrics.jsonl").filter { $0["samples"] != nil }
      #expect(samples.map { $0["step"]?.intValue } == [0, 1, 2, 3, 4])
      for line in samples {
        let answers = try #require(line["samples"]?.arrayValue)
        #expect(answers.map { $0["prompt"]?.stringValue } == ["lights off", "make it warmer"])
        #expect(answers.allSatisfy { $0["answer"]?.stringValue != nil })
      }
    }
  }

  @Test func theyNeedNoDataToEvaluateOn() throws {
    try withFolder { folder in
      let values = ["sample-prompts": [try Self.prompts(folder)], "sample-max-new-tokens": ["3"], "max-steps": ["4"]]
      try train("\(folder)/a", values.merging(["eval-steps": ["2"], "no-eval-on-start": []]) { $1 })
      let steps = try lines("\(folder)/a/metrics.jsonl").filter { $0["samples"] != nil }.map { $0["step"]?.intValue }
      #expect(steps == [2, 4])
      #expect(throws: OptionError.self) {
        try train("\(folder)/b", values.merging(["load-best-model-at-end": []]) { $1 })
      }
    }
  }

  /// A run that was stopped while it answered does so when it goes on, and no answer is written twice.
  @Test func aResumedRunAnswersOnce() throws {
    try withFolder { folder in
      let values = [
        "sample-prompts": [try Self.prompts(folder)], "sample-max-new-tokens": ["3"], "max-steps": ["4"],
        "eval-steps": ["2"], "eval-split": ["0.1"], "save-steps": ["2"],
      ]
      try train("\(folder)/whole", values)
      let whole = try lines("\(folder)/whole/metrics.jsonl")
      let part = "\(folder)/part"
      try FileManager.default.createDirectory(atPath: part, withIntermediateDirectories: true)
      try FileManager.default.copyItem(atPath: "\(folder)/whole/checkpoint-2", toPath: "\(part)/checkpoint-2")
      // The evaluation after step 2 was done, the answers were not.
      let kept = whole.prefix { $0["step"]?.intValue != 3 }.filter { $0["samples"] == nil || $0["step"]?.intValue == 0 }
      try kept.map { $0.serialized() + "\n" }.joined().write(
        toFile: "\(part)/metrics.jsonl", atomically: true, encoding: .utf8)
      try train(part, values.merging(["resume": []]) { $1 })
      func answers(_ lines: [JSONValue]) -> [[JSONValue?]] {
        lines.filter { $0["samples"] != nil }.map { [$0["step"], $0["samples"]] }
      }
      #expect(try answers(lines("\(part)/metrics.jsonl")) == answers(whole))
      #expect(answers(whole).count == 3)
    }
  }

  @Test func theirMemoryIsPlanned() throws {
    try withFolder { folder in
      func bytes(_ values: [String: [String]]) throws -> Int {
        try prepare(folder, values.merging(["max-steps": ["1"]]) { $1 }).plan.memory.buffers
          .filter { $0.name.hasPrefix("keys of layer") }.reduce(0) { $0 + $1.byteCount }
      }
      #expect(try bytes([:]) == 0)
      let prompts = try Self.prompts(folder)
      let few = try bytes(["sample-prompts": [prompts], "sample-max-new-tokens": ["8"]])
      let many = try bytes(["sample-prompts": [prompts], "sample-max-new-tokens": ["108"]])
      #expect(few > 0 && many > few)
    }
  }

  @Test func aFileIsTextOrJSONLines() throws {
    try withFolder { folder in
      let rows = """
        {"prompt": "a", "completion": "b"}
        {"messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}
        {"messages": [{"role": "user", "content": "e"}]}
        {"instruction": "f", "input": "g", "output": "h"}
        """
      try train(
        "\(folder)/a",
        ["sample-prompts": [try Self.prompts(folder, rows)], "sample-max-new-tokens": ["1"], "max-steps": ["1"]])
      let line = try #require(lines("\(folder)/a/metrics.jsonl").last { $0["samples"] != nil })
      let samples = try #require(line["samples"]?.arrayValue)
      #expect(samples.map { $0["prompt"]?.stringValue } == ["a", "c", "e", "f\n\ng"])
      #expect(samples.map { $0["wanted"]?.stringValue } == ["b", "d", nil, "h"])
    }
  }

  @Test(arguments: [
    ("", "holds no prompt"), ("{\"prompt\": \"a\"}\n{\"prompt\"", ":2: not JSON"),
    ("{\"text\": \"a\"}", "none of prompt"),
    ("{\"messages\": []}", "messages"), (String(repeating: "a\n", count: 101), "100 at most"),
    (String(repeating: "a b c d ", count: 200), "--sample-max-new-tokens"),
  ])
  func aFileWithoutPromptsIsRefused(text: String, expected: String) throws {
    try withFolder { folder in
      let file = try Self.prompts(folder, text)
      do {
        _ = try prepare(folder, ["sample-prompts": [file]])
        Issue.record("the file was taken")
      } catch {
        #expect("\(error)".contains(expected), "\(error)")
      }
    }
  }
}
