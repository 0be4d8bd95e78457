// Fuzz targets of the parsers: one function for libFuzzer, which of them by EDGELORA_FUZZ. Built by Tools/fuzz-parsers
// against the rooms that read files.
import Architectures
import Data
import Formats
import Glibc
import Serving
import Tokenization
import Training

/// Where the input lies while it is parsed: the parsers map files.
private let folder = "/dev/shm/edge-lora-fuzz-\(getpid())"
private let target = getenv("EDGELORA_FUZZ").map { String(cString: $0) } ?? "json"
private let ready: Bool = mkdir(folder, 0o700) == 0 || errno == EEXIST

private func place(_ bytes: UnsafeRawBufferPointer, as name: String) -> String {
  let path = "\(folder)/\(name)"
  let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
  precondition(descriptor >= 0 && write(descriptor, bytes.baseAddress, bytes.count) == bytes.count, "\(path)")
  close(descriptor)
  return path
}

private func place(_ text: String, as name: String) -> String {
  var text = text
  return text.withUTF8 { place(UnsafeRawBufferPointer($0), as: name) }
}

/// The parts between bytes that are 0, `count` of them.
private func parts(_ bytes: UnsafeRawBufferPointer, _ count: Int) -> [UnsafeRawBufferPointer] {
  var parts = bytes.split(separator: 0, maxSplits: count - 1, omittingEmptySubsequences: false).map {
    UnsafeRawBufferPointer(rebasing: $0)
  }
  while parts.count < count { parts.append(UnsafeRawBufferPointer(start: nil, count: 0)) }
  return parts
}

private func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

/// A line with what tokenizers cut at: letters of several scripts, numbers, marks, spaces, special tokens.
private let sample = "Hello, W\u{F6}rld  don't 12345 \u{4F60}\u{597D} e\u{301} <s>\u{1F680}\t\n  end </s><0x41>"

private func use(_ tokenizer: Tokenizer) {
  let ids = tokenizer.encode(sample)
  _ = tokenizer.decode(ids)
  _ = tokenizer.encoding("a b", pair: "c")
  _ = tokenizer.decode([-1, 0, 1, 2, .max], skipSpecialTokens: true)
}

/// The tokenizer that training rows are read with, and a folder that has it.
private let rowTokenizer: Tokenizer? = getenv("EDGELORA_FUZZ_MODEL").flatMap {
  try? Tokenizer.load(directory: String(cString: $0))
}

private func readAll(_ file: GGUFFile) throws {
  for tensor in file.tensors where tensor.columns <= 1 << 16 {
    var row = [Float](repeating: 0, count: tensor.columns)
    row.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: tensor.rows - 1..<tensor.rows, into: $0) }
  }
  if let json = try? GGUFConfiguration.configurationJSON(file) { _ = try? ModelDescription(json: json, file: "fuzz") }
  let rebuilt = try TokenizerFromGGUF.tokenizerFiles(file)
  use(try Tokenizer(json: rebuilt.tokenizer.serialized(), configuration: rebuilt.configuration))
}

private func readRows(_ path: String) throws {
  guard let rowTokenizer else { preconditionFailure("EDGELORA_FUZZ_MODEL names no model") }
  for skips in [false, true] {
    let reader = DataReader(
      tokenizer: TokenizerSource(rowTokenizer), maximumLength: 64, trainOnPrompt: false, skipBadLines: skips,
      vocabularySize: rowTokenizer.vocabularySize)
    if let data = try? reader.read([path]) { for sample in data.samples { precondition(sample.tokens.count <= 64) } }
  }
}

private func render(_ source: String) throws {
  let template = try ChatTemplate(source: source, tokens: ["bos_token": "<s>", "eos_token": "</s>"])
  let messages = [
    ChatMessage(role: "system", content: "s"), ChatMessage(role: "user", content: "a b"),
    ChatMessage(role: "assistant", content: "c\nd"),
  ]
  let tools = try JSONValue.parse(
    #"[{"type": "function", "function": {"name": "f", "parameters": {}}}]"#, file: "tools")
  _ = try? template.render(messages: messages, addGenerationPrompt: true, variables: ["tools": tools])
  _ = try template.render(messages: [], addGenerationPrompt: false)
}

/// The first part is a pattern, as Python and as Oniguruma read it; the second is what it is matched with.
private func match(_ pattern: String, _ subject: String) {
  if let python = try? TextPattern(pattern) { _ = try? python.matchesWhole(subject) }
  let split = JSONObject([
    ("type", .string("Split")), ("pattern", .object(JSONObject([("Regex", .string(pattern))]))),
    ("behavior", .string("Isolated")),
  ])
  let model = #"{"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [], "unk_token": "a"}"#
  let json = "{\"pre_tokenizer\": \(JSONValue.object(split).serialized()), \"model\": \(model)}"
  if let tokenizer = try? Tokenizer(json: json) {
    _ = tokenizer.encode(subject)
    use(tokenizer)
  }
}

private func request(_ bytes: UnsafeRawBufferPointer) throws {
  let reader = try RequestReader(Array(bytes))
  for key in ["prompt", "model", "stop", "n"] {
    _ = try? reader.text(key)
    _ = try? reader.texts(key, most: 16)
    _ = try? reader.integer(key, in: 1...1_000_000)
    _ = try? reader.number(key, in: 0...100)
    _ = try? reader.flag(key)
  }
}

private func parse(_ bytes: UnsafeRawBufferPointer) throws {
  switch target {
  case "json":
    let value = try JSONValue.parse(bytes, file: "fuzz")
    // The second document is not the parser's memory.
    guard getenv("EDGELORA_FUZZ_MEMORY") == nil else { return }
    precondition((try? JSONValue.parse(value.serialized(), file: "again")) == value, "a round trip")
  case "safetensors":
    let checkpoint = try Checkpoint.open(place(bytes, as: "x.safetensors"))
    for name in checkpoint.tensorNames { _ = checkpoint.tensor(name)?.floats() }
  case "index":
    // Its shards are named 1 and 2: the first bytes of a header with one tensor.
    let header = #"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#
    var shard = withUnsafeBytes(of: UInt64(header.utf8.count)) { Array($0) } + Array(header.utf8)
    for name in ["1", "2"] { _ = shard.withUnsafeMutableBytes { place(UnsafeRawBufferPointer($0), as: name) } }
    _ = try Checkpoint.open(place(bytes, as: "x.index.json"))
  case "gguf":
    try readAll(try GGUFFile(path: place(bytes, as: "x.gguf")))
  case "split":
    // The input is two parts, cut in the middle.
    let half = bytes.count / 2
    _ = place(UnsafeRawBufferPointer(rebasing: bytes[half...]), as: "s-00002-of-00002.gguf")
    try readAll(
      try GGUFFile(path: place(UnsafeRawBufferPointer(rebasing: bytes[..<half]), as: "s-00001-of-00002.gguf")))
  case "csv":
    let reader = try DelimitedReader(path: place(bytes, as: "x.csv"), format: .csv)
    while try reader.next() != nil {}
  case "conll":
    let reader = try CoNLLReader(path: place(bytes, as: "x.conll"))
    while try reader.next() != nil {}
  case "adapter":
    let json = try JSONValue.parse(bytes, file: "fuzz")
    if let head = try? AdapterHubHead(json: json, file: "fuzz") {
      precondition((try? AdapterHubHead(json: head.json, file: "again")) == head, "a round trip")
    }
    if AdapterHubConfiguration.isOne(json) {
      let read = try AdapterHubConfiguration(json: json, file: "fuzz")
      precondition((try? AdapterHubConfiguration(json: read.json, file: "again")) == read, "a round trip")
    } else {
      let read = try PEFTConfiguration(json: json, file: "fuzz")
      precondition((try? PEFTConfiguration(json: read.json, file: "again")) == read, "a round trip")
    }
  case "tokenizer": use(try Tokenizer(json: text(bytes)))
  case "vocabulary":
    // vocab.json and merges.txt of one folder, vocab.txt of another.
    let files = parts(bytes, 3)
    _ = place(files[0], as: "vocab.json")
    _ = place(files[1], as: "merges.txt")
    if let tokenizer = try? Tokenizer.load(directory: folder) { use(tokenizer) }
    unlink("\(folder)/vocab.json")
    _ = place(files[2], as: "vocab.txt")
    use(try Tokenizer.load(directory: folder))
  case "sentencepiece":
    let path = place(bytes, as: "tokenizer.model")
    for name in ["LlamaTokenizer", "GemmaTokenizer", "XLMRobertaTokenizer", "T5Tokenizer", "PreTrainedTokenizer"] {
      let configuration = JSONValue.object(JSONObject([("tokenizer_class", .string(name))]))
      guard
        let rebuilt = try? TokenizerFromSentencePiece.tokenizerFiles(path, configuration: configuration, modelType: nil)
      else { continue }
      if let tokenizer = try? Tokenizer(json: rebuilt.tokenizer.serialized(), configuration: rebuilt.configuration) {
        use(tokenizer)
      }
    }
  case "template": try render(text(bytes))
  case "regex":
    let both = parts(bytes, 2)
    match(text(both[0]), text(both[1]))
  case "config":
    let description = try ModelDescription(json: try JSONValue.parse(bytes, file: "fuzz"), file: "fuzz")
    _ = description.tensors.count
  case "rows":
    try readRows(place(bytes, as: "x.jsonl"))
    try readRows(place(bytes, as: "x.json"))
    try readRows(place(bytes, as: "x.txt"))
  case "labels":
    for name in ["x.jsonl", "x.json", "x.tsv"] {
      let path = place(bytes, as: name)
      _ = LabelledRows.areLabelled(path, columns: LabelledColumns())
      guard let files = try? LabelledFiles([path], columns: LabelledColumns(), skipBadLines: true) else { continue }
      if let survey = try? files.survey() { _ = try? LabellingFinder().labelling(of: survey) }
    }
  case "checkpoint":
    let json = try JSONValue.parse(bytes, file: "fuzz")
    _ = try? CheckpointState(json: json, file: "fuzz")
    _ = try CheckpointState(json: try SealedJSON.opened(json, file: "fuzz"), file: "fuzz")
  case "request": try request(bytes)
  default: preconditionFailure("EDGELORA_FUZZ names no target: \(target)")
  }
}

/// Peak of resident memory in kB. Not `getrusage`, which counts the process that this one was forked from.
private func peak() -> Int {
  guard getenv("EDGELORA_FUZZ_MEMORY") != nil, let file = fopen("/proc/self/status", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 256)
  while fgets(&line, 256, file) != nil {
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    if text.hasPrefix("VmHWM:") { return Int(text.filter(\.isNumber)) ?? 0 }
  }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafeRawPointer, _ count: Int) -> CInt {
  _ = ready
  let before = peak()
  try? parse(UnsafeRawBufferPointer(start: start, count: count))
  if getenv("EDGELORA_FUZZ_MEMORY") != nil { print("peak grew by", peak() - before) }
  return 0
}
