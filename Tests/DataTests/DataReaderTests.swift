import Data
import Formats
import Foundation
import Testing
import Tokenization

private let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
private let root = here.deletingLastPathComponent().deletingLastPathComponent()

private func tiny() throws -> Tokenizer {
  try Tokenizer.load(directory: root.appendingPathComponent("Models/tiny-llama").path)
}

private func reader(
  _ tokenizer: Tokenizer, maximumLength: Int = 512, trainOnPrompt: Bool = false, skipBadLines: Bool = false
) -> DataReader {
  DataReader(
    tokenizer: TokenizerSource(tokenizer), maximumLength: maximumLength, trainOnPrompt: trainOnPrompt,
    skipBadLines: skipBadLines,
    vocabularySize: 1024, keepsQuestions: true)
}

/// What `body` throws, if it is an error of data.
private func failure<Result>(_ body: () throws -> Result) -> DataError? {
  do {
    _ = try body()
    return nil
  } catch {
    return error as? DataError
  }
}

/// Reads data that stands in a file of this name.
private func read(_ text: [UInt8], as name: String, _ reader: DataReader) throws -> TrainingData {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("data-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let file = folder.appendingPathComponent(name)
  try Data(text).write(to: file)
  return try reader.read([file.path])
}

private func read(_ text: String, as name: String = "data.jsonl", _ reader: DataReader) throws -> TrainingData {
  try read(Array(text.utf8), as: name, reader)
}

private func ids(_ json: JSONValue?) -> [Int32] { json?.arrayValue?.compactMap { $0.intValue.map { Int32($0) } } ?? [] }

@Test func tokensAndLabelsAreThoseOfTransformers() throws {
  let cases = try JSONValue.parse(contentsOf: here.appendingPathComponent("Golden/lines.json").path).arrayValue ?? []
  #expect(cases.count > 20)
  var tokenizers: [String: Tokenizer] = [:]
  for testCase in cases {
    let folder = testCase["tokenizer"]?.stringValue ?? ""
    let tokenizer = try tokenizers[folder] ?? Tokenizer.load(directory: root.appendingPathComponent(folder).path)
    tokenizers[folder] = tokenizer
    let line = testCase["line"]?.stringValue ?? ""
    let data = try read(line, reader(tokenizer, trainOnPrompt: testCase["train_on_prompt"]?.boolValue ?? false))
    let expected = Sample(tokens: ids(testCase["tokens"]), labels: ids(testCase["labels"]))
    #expect(Array(data.samples) == [expected], "\(folder): \(line)")
    for question in data.questions { #expect(expected.tokens.starts(with: question.promptTokens), "\(line)") }
  }
}

@Test func anArrayALineEachAndOneWithMarkAndCarriageReturnsAreTheSame() throws {
  let reader = reader(try tiny())
  let lines = [#"{"text":"one, [two] \"{\\\""}"#, #"{"prompt": "a", "completion": "b"}"#]
  let expected = try read(lines.joined(separator: "\n"), reader)
  #expect(expected.samples.count == 2)
  for text in [
    "\u{FEFF}" + lines.joined(separator: "\r\n") + "\r\n\r\n  \n", "\n\n" + lines.joined(separator: "\n\n") + "\n",
  ] {
    #expect(try read(text, reader).samples == expected.samples)
  }
  for text in [
    "[\(lines.joined(separator: ","))]", "\u{FEFF}[\r\n  \(lines.joined(separator: " ,\n"))\n]\n",
    lines.joined(separator: "\n"),
  ] {
    #expect(try read(text, as: "data.json", reader).samples == expected.samples)
  }
}

@Test(arguments: [
  ("{", "over several lines"), ("{]", "line 2: not JSON"), ("[1]", "expected an object"), ("7", "expected an object"),
  (#"{"a":1}"#, "none of text"),
  (#"{"text":5}"#, "text is not a string"), (#"{"text":""}"#, "fewer than two tokens"),
  (#"{"prompt":"a"}"#, "completion is missing"), (#"{"prompt":"a","completion":null}"#, "completion is missing"),
  (#"{"instruction":"a","response":"b"}"#, "there is response: call it output"),
  (#"{"question":"a"}"#, "answer is missing"), (#"{"instruction":"a","output":1}"#, "output is not a string"),
  (#"{"instruction":"a","input":1,"output":"b"}"#, "input is not a string"),
  (#"{"messages":[]}"#, "messages is not a list"), (#"{"messages":[{"role":"user"}]}"#, "lacks role or content"),
  (#"{"messages":[{"role":"user","content":"a"}]}"#, "no assistant turn"),
  (#"{"input_ids":[1,1024]}"#, "not in the vocabulary"), (#"{"input_ids":[1,-1]}"#, "not in the vocabulary"),
  (#"{"input_ids":[1,2.5]}"#, "no id"), (#"{"input_ids":[1,99999999999]}"#, "no id"),
  (#"{"input_ids":"a"}"#, "not a list"),
  (#"{"input_ids":[1,2],"labels":[1]}"#, "1 labels for 2 input_ids"),
  (#"{"input_ids":[1,2],"labels":[1,-7]}"#, "neither -100"), (#"{"input_ids":[]}"#, "fewer than two"),
  (String(repeating: "[", count: 5000), "nested deeper"),
])
func aBadLineIsNamedOrCounted(line: String, reason: String) throws {
  let tokenizer = try tiny()
  let text = #"{"text":"good one"}"# + "\n" + line + "\n"
  let error = failure { try read(text, reader(tokenizer)) }
  let message = error.map { "\($0)" } ?? ""
  #expect(message.contains("data.jsonl:2: "), "\(message)")
  #expect(message.contains(reason.replacingOccurrences(of: "line 2: ", with: "")), "\(message)")
  let data = try read(text, reader(tokenizer, skipBadLines: true))
  #expect(data.samples.count == 1 && data.skippedLines == 1)
}

@Test func bytesThatAreNotUTF8AreABadLine() throws {
  let tokenizer = try tiny()
  var bad = Array("{\"text\":\"good\"}\n{\"text\":\"b".utf8)
  bad.append(0xFF)
  bad += Array(#"d"}"#.utf8)
  #expect(throws: DataError.self) { try read(bad, as: "data.jsonl", reader(tokenizer)) }
  #expect(try read(bad, as: "data.jsonl", reader(tokenizer, skipBadLines: true)).skippedLines == 1)
  let text = Array("one line\n".utf8) + [0xC3, 0x28, 0x0A] + Array("another".utf8)
  let error = failure { try read(text, as: "data.txt", reader(tokenizer)) }
  let thrown = try #require(error)
  #expect("\(thrown)".contains("data.txt:2: not UTF-8"))
  let rest = try read(text, as: "data.txt", reader(tokenizer, skipBadLines: true))
  #expect(rest.skippedLines == 1)
  #expect(rest.samples.map { tokenizer.decode($0.tokens) } == ["one line\nanother"])
}

/// What is empty in a table is not there, but for an answer.
@Test func aTableIsItsRowsAsObjects() throws {
  let reader = reader(try tiny())
  let lines = [
    #"{"prompt": "a, \"b\"", "completion": "c\nd"}"#, #"{"prompt": "e", "completion": "f", "context": "g"}"#,
    #"{"prompt": "h", "completion": ""}"#,
  ]
  let expected = try read(lines.joined(separator: "\n"), reader)
  #expect(expected.samples.count == 2)
  let rows = ["\"a, \"\"b\"\"\"|\"c\nd\"|", "e|f|g", "h||"]
  for (name, separator) in [("data.csv", ","), ("data.csv", ";"), ("data.tsv", "\t")] {
    let text = (["prompt|completion|context"] + rows).joined(separator: "\r\n").replacingOccurrences(
      of: "|", with: separator)
    let data = try read(text, as: name, reader)
    #expect(data.samples == expected.samples && data.uselessCount == 1)
  }
}

@Test func badRowsOfATableAreNamedOrCounted() throws {
  let tokenizer = try tiny()
  let text = "prompt,completion,,\na,b,,\nc,d\ne,f,,\n"
  let error = failure { try read(text, as: "data.csv", reader(tokenizer)) }
  #expect(error.map { "\($0)".contains("data.csv:3: 2 fields, but the header has 4") } == true)
  let data = try read(text, as: "data.csv", reader(tokenizer, skipBadLines: true))
  #expect(data.samples.count == 2 && data.skippedLines == 1)
}

@Test(arguments: ["", "[]", "\n\n", "  [ ]  "]) func dataWithoutASampleIsAnError(text: String) throws {
  let tokenizer = try tiny()
  #expect(throws: DataError.self) { try read(text, as: "data.json", reader(tokenizer)) }
  #expect(throws: DataError.self) { try read("", as: "data.txt", reader(tokenizer)) }
  #expect(throws: DataError.self) { try read(#"{"input_ids":[1,2],"labels":[-100,-100]}"#, reader(tokenizer)) }
}

@Test(arguments: [#"[{"text":"a b"},]"#, #"[{"text":"a b"}"#, #"[{"text":"a b"}] x"#, #"[,{"text":"a b"}]"#, #"["#])
func aDamagedArrayIsRefused(text: String) throws {
  let tokenizer = try tiny()
  #expect(throws: DataError.self) { try read(text, as: "data.json", reader(tokenizer)) }
}

@Test func whatIsTooLongIsCutAndCounted() throws {
  let data = try read(
    #"{"prompt":"what is the opposite of warm","completion":"cold"}"#, reader(try tiny(), maximumLength: 16))
  #expect(data.truncatedCount == 1)
  #expect(data.samples.map(\.tokens.count) == [16])
  #expect(data.samples.map(\.labels.count) == [16])
}

@Test func plainTextIsCutIntoRows() throws {
  let tokenizer = try tiny()
  let text = String(repeating: "the cup is in the kitchen.\n", count: 40)
  let data = try read(text, as: "data.txt", reader(tokenizer, maximumLength: 64))
  #expect(data.samples.flatMap(\.tokens) == tokenizer.encode(text))
  #expect(data.samples.dropLast().allSatisfy { $0.tokens.count == 64 && $0.labels == $0.tokens })
}

@Test func aLongTextIsOneText() throws {
  var json = try JSONValue.parse(contentsOf: root.appendingPathComponent("Models/tiny-llama/tokenizer.json").path)
  var object = try #require(json.objectValue)
  let start = #"{"SpecialToken":{"id":"<|endoftext|>","type_id":0}}"#
  object["post_processor"] = try JSONValue.parse(
    #"{"type":"TemplateProcessing","single":[\#(start),{"Sequence":{"id":"A","type_id":0}},\#(start)],"#
      + #""special_tokens":{"<|endoftext|>":{"id":"<|endoftext|>","ids":[0],"tokens":["<|endoftext|>"]}}}"#, file: "")
  json = .object(object)
  let tokenizer = try Tokenizer(json: json.serialized())
  // Longer than the parts in which it is read.
  let line = "the cup is in the kitchen.\n"
  let count = (9 << 20) / line.utf8.count
  let text = Array(String(repeating: line, count: count).utf8)
  let data = try read(text, as: "data.txt", reader(tokenizer))
  let tokens = data.samples.flatMap(\.tokens)
  #expect(tokens.first == 0 && tokens.last == 0)
  #expect(tokens.count { $0 == 0 } == 2)
  #expect(tokens.count == 2 + count * tokenizer.encode(line, addSpecialTokens: false).count)
  let error = failure { try read(text + [0xFF], as: "data.txt", reader(tokenizer)) }
  #expect(error.map { "\($0)".contains("data.txt:\(count + 1): not UTF-8") } == true)
}

@Test func anAnswerThatNothingAsksForIsContext() throws {
  let template =
    "{% if messages[0]['role'] == 'system' %}sys{% endif %}"
    + "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<|im_end|>{% endfor %}"
    + "{% if add_generation_prompt %}<assistant>{% endif %}"
  let json = try String(contentsOf: root.appendingPathComponent("Models/tiny-llama/tokenizer.json"), encoding: .utf8)
  let tokenizer = try Tokenizer(
    json: json, configuration: .object(JSONObject([("chat_template", .string(template))])))
  let line =
    #"{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":"c"}]}"#
  let sample = try #require(try read(line, reader(tokenizer)).samples.first)
  #expect(tokenizer.decode(sample.tokens) == "<assistant>a<|im_end|><user>b<|im_end|><assistant>c<|im_end|>")
  #expect(tokenizer.decode(sample.labels.filter { $0 >= 0 }) == "c<|im_end|>")
}

@Test func samplePromptsAreThoseOfTheData() throws {
  let tokenizer = try tiny()
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("prompts-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  func prompts(_ text: String, _ name: String) throws -> [String] {
    let path = folder.appendingPathComponent(name).path
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    return try SamplePrompt.read(path, tokenizer: tokenizer).map(\.text)
  }
  #expect(try prompts("\u{FEFF}one\r\ntwo\r\n\r\nthree", "a.txt") == ["one", "two", "three"])
  let rows =
    #"{"instruction":"who","context":"Ann","output":"x","system":null,"messages":null}"# + "\r\n"
    + #"{"prompt":"where","context":"here"}"#
  #expect(try prompts(rows, "a.jsonl") == ["who\n\nAnn", "where\n\nhere"])
}

@Test func aTemplateThatRewritesEarlierTurnsLeavesTheLastAnswer() throws {
  // As Mistral's: the system's words stand before the last question.
  let template = """
    {% for m in messages %}{% if m.role == 'user' %}[{% if loop.index0 >= messages|length - 2 %}sys {% endif %}{{ m.content }}]\
    {% elif m.role == 'assistant' %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}
    """
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("rewriting-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  try FileManager.default.copyItem(
    at: root.appendingPathComponent("Models/tiny-llama/tokenizer.json"),
    to: folder.appendingPathComponent("tokenizer.json"))
  try template.write(to: folder.appendingPathComponent("chat_template.jinja"), atomically: true, encoding: .utf8)
  let tokenizer = try Tokenizer.load(directory: folder.path)
  let line =
    #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},"#
    + #"{"role":"assistant","content":"d"}]}"#
  let sample = try #require(try read(line, reader(tokenizer)).samples.first)
  #expect(tokenizer.decode(sample.tokens) == "[a] b<|im_end|>[sys c] d<|im_end|>")
  #expect(tokenizer.decode(sample.labels.filter { $0 >= 0 }) == " d<|im_end|>")
}
