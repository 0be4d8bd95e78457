import Architectures
import Data
import Foundation
import Testing
import Tokenization

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

/// What rows say beside the text that is learnt: used, or refused by the name of its key.
struct RowTests {
  private func read(_ lines: String, maximumLength: Int = 512) throws -> TrainingData {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("rows-\(UUID().uuidString).jsonl")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data(lines.utf8).write(to: file)
    return try DataReader(
      tokenizer: TokenizerSource(directory: root.appendingPathComponent("Models/tiny-llama").path),
      maximumLength: maximumLength, trainOnPrompt: false, skipBadLines: false, vocabularySize: 1024
    ).read([file.path])
  }

  private static let call = """
    {"role":"assistant","content":"","tool_calls":[{"type":"function","function":{"name":"lamp","arguments":{"on":true}}}]}
    """
  private static let tools = """
    [{"type":"function","function":{"name":"lamp","parameters":{"type":"object","properties":{}}}}]
    """

  private static func text(_ json: String) -> String {
    "\"" + json.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"") + "\""
  }

  /// Two spellings of the same row.
  private static let pairs: [(String, String)] = [
    // LLaMA-Factory's and axolotl's alpaca
    (
      #"{"instruction":"and here?","input":"","output":"on","system":"be short","history":[["lamps?","off"]]}"#,
      #"{"messages":[{"role":"system","content":"be short"},{"role":"user","content":"lamps?"},{"role":"assistant","#
        + #""content":"off"},{"role":"user","content":"and here?"},{"role":"assistant","content":"on"}]}"#
    ),
    (
      #"{"instruction":"a","input":"b","output":"on","system":"","history":[]}"#,
      #"{"prompt":"a\n\nb","completion":"on"}"#
    ),
    (
      #"{"question":"a","context":"b c","answer":"on","id":7,"source":"x"}"#,
      #"{"instruction":"a","input":"b c","output":"on"}"#
    ),
    // ShareGPT
    (
      #"{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"system":"be short"}"#,
      #"{"messages":[{"role":"system","content":"be short"},{"role":"user","content":"a"},"#
        + #"{"role":"assistant","content":"b"}]}"#
    ),
    (
      #"{"conversations":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#,
      #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#
    ),
    // TRL
    (
      #"{"prompt":[{"role":"user","content":"a"}],"completion":[{"role":"assistant","content":"b"}]}"#,
      #"{"prompt":"a","completion":"b"}"#
    ),
    // tables, and exports that write JSON as text
    (
      #"{"messages":[{"role":"user","content":"a","name":null,"tool_calls":null},{"role":"assistant","content":"b"}],"#
        + #""tools":null,"text":null,"input_ids":null}"#,
      #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#
    ),
    (
      "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},\(call)],\"tools\":\(text(tools))}",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},\(call)],\"tools\":\(tools)}"
    ),
    (
      "{\"messages\":\(text("[{\"role\":\"user\",\"content\":\"a\"},\(call)]")),\"tools\":\"\"}",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},\(call)]}"
    ),
    // padding on either side
    (#"{"input_ids":[0,0,5,6,7],"attention_mask":[0,0,1,1,1]}"#, #"{"input_ids":[5,6,7]}"#),
    (
      #"{"input_ids":[5,6,7,0],"labels":[-100,6,7,-100],"attention_mask":[1,1,1,0]}"#,
      #"{"input_ids":[5,6,7],"labels":[-100,6,7]}"#
    ),
  ]

  @Test(arguments: pairs.indices) func twoSpellingsAreOneRow(index: Int) throws {
    let (one, other) = Self.pairs[index]
    let samples = try read(one).samples
    #expect(try samples == read(other).samples)
    #expect(samples.count == 1)
  }

  /// The context is part of the prompt, and no answer of it.
  @Test func aContextChangesTheTokens() throws {
    let with = try read(#"{"question":"a","context":"b c","answer":"on"}"#).samples[0]
    let without = try read(#"{"question":"a","answer":"on"}"#).samples[0]
    #expect(with.tokens.count > without.tokens.count)
    #expect(with.labels.filter { $0 >= 0 } == without.labels.filter { $0 >= 0 })
  }

  @Test(arguments: [#""weight":0"#, #""train":false"#]) func aMessageWithoutWeightIsNotLearnt(key: String) throws {
    func row(_ key: String) -> String {
      #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"off"\#(key)},"#
        + #"{"role":"user","content":"c"},{"role":"assistant","content":"on"}]}"#
    }
    let whole = try read(row("")).samples[0]
    let part = try read(row(",\(key)")).samples[0]
    #expect(part.tokens == whole.tokens)
    let learnt = part.labels.filter { $0 >= 0 }
    #expect(!learnt.isEmpty && learnt.count < whole.labels.count { $0 >= 0 })
    #expect(whole.labels.suffix(learnt.count) == part.labels.suffix(learnt.count))
  }

  @Test(arguments: [
    (#"{"prompt":"a","completion":"b","label":true}"#, "label"),
    (#"{"prompt":"a","chosen":"b","rejected":"c"}"#, "chosen"),
    (#"{"messages":[{"role":"assistant","content":"a","weight":0.5}]}"#, "weight"),
    (#"{"messages":[{"role":"user","content":"a"}],"tools":"[{"}"#, "tools is a text that is not JSON"),
    (#"{"messages":"no list"}"#, "messages is a text that is not JSON"),
    (#"{"instruction":"a","output":"b","history":[["c"]]}"#, "history"),
    (#"{"instruction":"a","output":"b","system":1}"#, "system"),
    (#"{"question":"a","answer":"b","context":1}"#, "context"),
    (#"{"input_ids":[1,2,3],"attention_mask":[1,0,1]}"#, "attention_mask"),
    (#"{"input_ids":[1,2,3],"attention_mask":[1,1]}"#, "attention_mask has 2 numbers"),
    (#"{"input_ids":[1,2,3],"attention_mask":[0,0,0]}"#, "attention_mask hides every token"),
    (#"{"conversations":[{"from":"human","value":"a"},{"from":"function_call","value":"{}"}]}"#, "function_call"),
  ])
  func whatIsNotUsedIsRefusedByName(line: String, reason: String) throws {
    do {
      _ = try read(line)
      Issue.record("the row was taken")
    } catch let error as DataError { #expect("\(error)".contains(reason), "\(error)") }
  }

  /// Neither an answer that is cut off nor an empty one teaches anything.
  @Test func samplesThatTeachNothingAreLeftOutAndCounted() throws {
    let long = String(repeating: "lamp ", count: 100)
    let lines = [
      #"{"prompt":"lights","completion":"on"}"#, "{\"prompt\":\"\(long)\",\"completion\":\"on\"}",
      #"{"instruction":"say nothing","output":""}"#,
      #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":""}]}"#,
      #"{"input_ids":[1,2],"labels":[1,-100]}"#,
    ]
    let data = try read(lines.joined(separator: "\n"), maximumLength: 32)
    #expect(data.samples.count == 1 && data.uselessCount == 4)
    #expect(data.uselessPlaces.map { $0.split(separator: ":").last } == ["2", "3", "4", "5"])
    #expect(throws: DataError.self) { try read(lines[1...].joined(separator: "\n"), maximumLength: 32) }
  }
}
