// The product's tokenizer and templates behind standard input and output, for the scripts that compare them with
// other implementations. Texts and lists of ids go in frames: a 32-bit count, then as many bytes or 32-bit ids.
//
// usage: encode FOLDER plain|special | trace FOLDER (a request in JSON per line, an answer in JSON per line) | decode FOLDER all|skip | stream FOLDER all|skip | time FOLDER FILE
//        | render TEMPLATE (a request in JSON per line, an answer in JSON per line) | gguf FILE FOLDER
//        | fuzz FILE COUNT (damages tokenizer.json, a SentencePiece model or a template COUNT times, and uses what is read)

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

/// Damages a text in one to four places: other bytes, parts gone, doubled or moved.
func damaged(_ bytes: [UInt8], _ random: inout some RandomNumberGenerator) -> [UInt8] {
  var bytes = bytes
  for _ in 0..<Int.random(in: 1...4, using: &random) where bytes.count > 1 {
    let start = Int.random(in: 0..<bytes.count, using: &random)
    let end = min(bytes.count, start + Int.random(in: 1...24, using: &random))
    switch Int.random(in: 0..<6, using: &random) {
    case 0: bytes[start] = UInt8.random(in: 0...255, using: &random)
    case 1: bytes.removeSubrange(start..<end)
    case 2: bytes.insert(contentsOf: bytes[start..<end], at: start)
    case 3: bytes.insert(contentsOf: bytes[start..<end], at: Int.random(in: 0...bytes.count, using: &random))
    case 4:
      let signs: [String] = ["-1", "99999999999", "1e308", "null", "{}", "[]", "\"\"", "{{", "%}", "(", ")*", "\u{0}"]
      bytes.replaceSubrange(start..<end, with: signs.randomElement(using: &random)?.utf8.map { $0 } ?? [])
    default: bytes[start] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    }
  }
  return bytes
}

/// Reads what was damaged and uses it.
/// - Returns: whether it could be read
func survives(_ bytes: [UInt8], folder: String, isTemplate: Bool, name: String) throws -> Bool {
  if isTemplate {
    guard let template = try? ChatTemplate(source: String(decoding: bytes, as: UTF8.self)) else { return false }
    let messages = [ChatMessage(role: "system", content: "a"), ChatMessage(role: "user", content: "b")]
    return (try? template.render(messages: messages, addGenerationPrompt: true)) != nil
  }
  try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
  guard let tokenizer = try? Tokenizer.load(directory: folder) else { return false }
  let text = "Hello  world, caf\u{e9} \u{5b57}\u{1F600} <s> 12345\n\t x"
  let ids = tokenizer.encode(text)
  _ = tokenizer.decode(ids)
  _ = tokenizer.encoding(text, pair: "b")
  _ = tokenizer.encoding(words: ["a", "", text])
  return true
}

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
case "fuzz":
  let source = Array(FileManager.default.contents(atPath: arguments[1]) ?? Data())
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("fuzz-\(getpid())").path
  try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: folder) }
  let name = arguments[1].hasSuffix(".json") ? "tokenizer.json" : "tokenizer.model"
  var random = SystemRandomNumberGenerator()
  var read = 0
  var slowest = Duration.zero
  for _ in 0..<(Int(arguments[2]) ?? 0) {
    let bytes = damaged(source, &random)
    // What stops the program is there to look at.
    try Data(bytes).write(to: URL(fileURLWithPath: "\(folder).last"))
    let start = ContinuousClock.now
    if try survives(bytes, folder: folder, isTemplate: arguments[1].hasSuffix(".jinja"), name: name) { read += 1 }
    slowest = max(slowest, ContinuousClock.now - start)
  }
  try? FileManager.default.removeItem(atPath: "\(folder).last")
  print("\(arguments[2]) damaged files, \(read) of them could be read; the slowest took \(slowest)")
case "gguf":
  let rebuilt = try TokenizerFromGGUF.tokenizerFiles(try GGUFFile(path: arguments[1]))
  try Data(rebuilt.tokenizer.serialized().utf8).write(to: URL(fileURLWithPath: "\(arguments[2])/tokenizer.json"))
  try Data(rebuilt.configuration.serialized().utf8).write(
    to: URL(fileURLWithPath: "\(arguments[2])/tokenizer_config.json"))
  print(rebuilt.warnings.joined(separator: "\n"))
default: throw CocoaError(.fileReadUnknown)
}
