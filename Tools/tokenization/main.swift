// The product's tokenizer and templates behind standard input and output, for the scripts that compare them with
// other implementations. Texts and lists of ids go in frames: a 32-bit count, then as many bytes or 32-bit ids.
//
// usage: encode FOLDER plain|special | trace FOLDER (a request in JSON per line, an answer in JSON per line) | decode FOLDER all|skip | stream FOLDER all|skip | time FOLDER FILE
//        | render TEMPLATE (a request in JSON per line, an answer in JSON per line) | gguf FILE FOLDER

import Formats
import Foundation
import Tokenization

func frames(elementSize: Int, _ body: (Data) throws -> Data?) throws {
  let input = FileHandle.standardInput.readDataToEndOfFile()
  var position = 0
  var output = Data()
  while position + 4 <= input.count {
    let count = input[position..<position + 4].enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
    position += 4
    let result = try body(input.subdata(in: position..<position + count * elementSize))
    position += count * elementSize
    if let result { output += result }
  }
  try FileHandle.standardOutput.write(contentsOf: output)
}

func frame(_ count: Int, _ bytes: Data) -> Data { withUnsafeBytes(of: UInt32(count).littleEndian) { Data($0) } + bytes }

func frame(_ text: String) -> Data { frame(text.utf8.count, Data(text.utf8)) }

func ids(_ data: Data) -> [Int32] { data.withUnsafeBytes { Array($0.bindMemory(to: Int32.self)) } }

func render(_ template: ChatTemplate, _ request: String) -> JSONValue {
  do {
    let json = try JSONValue.parse(request, file: "request")
    var variables: [String: JSONValue] = [:]
    for (key, value) in json["variables"]?.objectValue?.entries ?? [] { variables[key] = value }
    variables["messages"] = json["messages"]
    let text = try template.render(
      messages: [], addGenerationPrompt: json["add_generation_prompt"]?.boolValue ?? false, variables: variables)
    return .object(JSONObject([("text", .string(text))]))
  } catch {
    return .object(JSONObject([("error", .string("\(error)"))]))
  }
}

let arguments = Array(CommandLine.arguments.dropFirst())
guard arguments.count >= 2 else { throw CocoaError(.fileReadUnknown) }
switch arguments[0] {
case "encode":
  let tokenizer = try Tokenizer.load(directory: arguments[1])
  try frames(elementSize: 1) { data in
    let ids = tokenizer.encode(String(decoding: data, as: UTF8.self), addSpecialTokens: arguments[2] == "special")
    return frame(ids.count, ids.withUnsafeBytes { Data($0) })
  }
case "trace":
  let tokenizer = try Tokenizer.load(directory: arguments[1])
  while let line = readLine() {
    let request = try JSONValue.parse(line, file: "request")
    func words(_ key: String) -> [String]? { request[key]?.arrayValue?.compactMap(\.stringValue) }
    let special = request["special"]?.boolValue ?? true
    let encoding =
      if let first = words("words") {
        tokenizer.encoding(words: first, pair: words("pair"), addSpecialTokens: special)
      } else {
        tokenizer.encoding(
          request["text"]?.stringValue ?? "", pair: request["pair"]?.stringValue, addSpecialTokens: special)
      }
    func list<Element>(_ values: [Element], _ json: (Element) -> JSONValue) -> JSONValue { .array(values.map(json)) }
    let answer: [(String, JSONValue)] = [
      ("ids", list(encoding.ids) { .integer(Int($0)) }), ("types", list(encoding.typeIDs) { .integer(Int($0)) }),
      ("offsets", list(encoding.offsets) { .array([.integer($0.lowerBound), .integer($0.upperBound)]) }),
      ("words", list(encoding.wordIndices) { $0.map { .integer($0) } ?? .null }),
      ("texts", list(encoding.textIndices) { $0.map { .integer($0) } ?? .null }),
    ]
    print(JSONValue.object(JSONObject(answer.map { ($0.0, $0.1) })).serialized())
  }
case "decode":
  let tokenizer = try Tokenizer.load(directory: arguments[1])
  try frames(elementSize: 4) { frame(tokenizer.decode(ids($0), skipSpecialTokens: arguments[2] == "skip")) }
case "stream":
  let tokenizer = try Tokenizer.load(directory: arguments[1])
  try frames(elementSize: 4) { data in
    var decoder = StreamingDecoder(tokenizer, skipSpecialTokens: arguments[2] == "skip")
    let pieces = ids(data).map { decoder.append($0) }
    return frame(pieces.joined() + decoder.finish())
  }
case "time":
  let start = ContinuousClock.now
  let tokenizer = try Tokenizer.load(directory: arguments[1])
  let loaded = ContinuousClock.now
  guard let data = FileManager.default.contents(atPath: arguments[2]) else { throw CocoaError(.fileReadNoSuchFile) }
  let text = String(decoding: data, as: UTF8.self)
  let read = ContinuousClock.now
  let whole = tokenizer.encode(text)
  let encoded = ContinuousClock.now
  let decodedCount = tokenizer.decode(whole).utf8.count
  let decoded = ContinuousClock.now
  func megabytesPerSecond(_ duration: Duration) -> Double { Double(data.count) / 1e6 / (duration / .seconds(1)) }
  let megabytes = (String(format: "%.1f", megabytesPerSecond(encoded - read)), megabytesPerSecond(decoded - encoded))
  print("load \((loaded - start) / .milliseconds(1)) ms, \(whole.count) ids, \(decodedCount) bytes back")
  print("encode \(megabytes.0) MB/s, decode \(String(format: "%.1f", megabytes.1)) MB/s")
  let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
  print(
    status.split(separator: "\n").filter { $0.hasPrefix("VmHWM") || $0.hasPrefix("RssAnon") }.joined(separator: ", "))
case "render":
  let source = String(decoding: FileManager.default.contents(atPath: arguments[1]) ?? Data(), as: UTF8.self)
  let template = Result { try ChatTemplate(source: source, file: arguments[1]) }
  while let line = readLine() {
    switch template {
    case .success(let template): print(render(template, line).serialized())
    case .failure(let error): print(JSONValue.object(JSONObject([("error", .string("\(error)"))])).serialized())
    }
  }
case "gguf":
  let rebuilt = try TokenizerFromGGUF.tokenizerFiles(try GGUFFile(path: arguments[1]))
  try Data(rebuilt.tokenizer.serialized().utf8).write(to: URL(fileURLWithPath: "\(arguments[2])/tokenizer.json"))
  try Data(rebuilt.configuration.serialized().utf8).write(
    to: URL(fileURLWithPath: "\(arguments[2])/tokenizer_config.json"))
  print(rebuilt.warnings.joined(separator: "\n"))
default: throw CocoaError(.fileReadUnknown)
}
