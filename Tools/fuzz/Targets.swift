// Fuzz targets of the parsers: one function for libFuzzer, which of them by EDGELORA_FUZZ. Built by Tools/fuzz-parsers
// together with the sources of Formats, in one module.
import Glibc

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

private func readAll(_ file: GGUFFile) {
  for tensor in file.tensors where tensor.columns <= 1 << 16 {
    var row = [Float](repeating: 0, count: tensor.columns)
    row.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: tensor.rows - 1..<tensor.rows, into: $0) }
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
    readAll(try GGUFFile(path: place(bytes, as: "x.gguf")))
  case "split":
    // The input is two parts, cut in the middle.
    let half = bytes.count / 2
    _ = place(UnsafeRawBufferPointer(rebasing: bytes[half...]), as: "s-00002-of-00002.gguf")
    readAll(
      try GGUFFile(path: place(UnsafeRawBufferPointer(rebasing: bytes[..<half]), as: "s-00001-of-00002.gguf")))
  case "csv":
    let reader = try DelimitedReader(path: place(bytes, as: "x.csv"), format: .csv)
    while try reader.next() != nil {}
  case "conll":
    let reader = try CoNLLReader(path: place(bytes, as: "x.conll"))
    while try reader.next() != nil {}
  case "adapter":
    let json = try JSONValue.parse(bytes, file: "fuzz")
    if AdapterHubConfiguration.isOne(json) {
      let read = try AdapterHubConfiguration(json: json, file: "fuzz")
      precondition((try? AdapterHubConfiguration(json: read.json, file: "again")) == read, "a round trip")
    } else {
      let read = try PEFTConfiguration(json: json, file: "fuzz")
      precondition((try? PEFTConfiguration(json: read.json, file: "again")) == read, "a round trip")
      if case .lora(let lora) = read { _ = PEFTAdapterConfig.whatIsNotSupported(in: lora) }
    }
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
