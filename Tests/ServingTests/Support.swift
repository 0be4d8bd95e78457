import Deployment
import Formats
import Foundation
import Serving

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

/// The trained tiny checkpoint.
let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path

/// Runs `body` with a folder that is gone afterwards.
func withTemporaryFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("serving-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  return try body(folder.path)
}

/// Writes an adapter for the tiny checkpoint that changes what it says.
///
/// - Parameter head: factor of the first of two labels' scores; without a head if `nil`
func writeAdapter(to folder: String, seed: Int, rank: Int = 1, head: Float? = nil) throws {
  try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  let task = head == nil ? "\"CAUSAL_LM\"" : "\"SEQ_CLS\", \"modules_to_save\": [\"score\"]"
  let config = """
    {"peft_type": "LORA", "task_type": \(task), "r": \(rank), "lora_alpha": \(rank), "lora_dropout": 0.0, "bias": "none",
     "target_modules": ["o_proj"], "fan_in_fan_out": false}
    """
  try config.write(toFile: "\(folder)/adapter_config.json", atomically: true, encoding: .utf8)
  var entries: [(String, JSONValue)] = []
  var data: [Float] = []
  for layer in 0..<4 {
    for (factor, shape) in [("A", [rank, 128]), ("B", [128, rank])] {
      entries.append(
        (
          "base_model.model.model.layers.\(layer).self_attn.o_proj.lora_\(factor).weight",
          .object(
            JSONObject([
              ("dtype", .string("F32")), ("shape", .array(shape.map { .integer($0) })),
              ("data_offsets", .array([.integer(data.count * 4), .integer((data.count + rank * 128) * 4)])),
            ]))
        ))
      data += (0..<rank * 128).map { Float(($0 * 37 + layer * 11 + seed * 53) % 23 - 11) / 40 }
    }
  }
  if let head {
    entries.append(
      (
        "base_model.model.score.weight",
        .object(
          JSONObject([
            ("dtype", .string("F32")), ("shape", .array([.integer(2), .integer(128)])),
            ("data_offsets", .array([.integer(data.count * 4), .integer(data.count * 4 + 1024)])),
          ]))
      ))
    data += (0..<256).map { $0 < 128 ? head * Float($0 % 7 - 3) : 0 }
  }
  let header = Array(JSONValue.object(JSONObject(entries)).serialized().utf8)
  var file = Data()
  withUnsafeBytes(of: UInt64(header.count).littleEndian) { file.append(contentsOf: $0) }
  file.append(contentsOf: header)
  data.withUnsafeBytes { file.append(contentsOf: $0) }
  try file.write(to: URL(fileURLWithPath: "\(folder)/adapter_model.safetensors"))
}

/// A server of the tiny checkpoint, with two adapters of different ranks.
final class TestServer {
  let loaded: LoadedModel
  let server: ModelServer
  let adapters: [(name: String, path: String)]
  private let folder: URL

  init(_ change: (inout ModelServer.Options) -> Void = { _ in }) throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("serving-\(UUID().uuidString)")
    let place = folder.path
    adapters = ["one", "two"].map { (name: $0, path: "\(place)/\($0)") }
    for (index, adapter) in adapters.enumerated() {
      try writeAdapter(to: adapter.path, seed: index, rank: 3 - 2 * index)
    }
    loaded = try LoadedModel(directory: tinyLlama, adapters: adapters, precision: .int8, threads: 1)
    var options = ModelServer.Options()
    options.port = 0
    change(&options)
    server = try ModelServer(loaded, name: "tiny", adapters: adapters, options: options)
  }

  deinit {
    server.stop()
    try? FileManager.default.removeItem(at: folder)
  }

  /// What `generate` says.
  func expected(_ prompt: String, adapter: String? = nil, tokens: Int = 16) throws -> String {
    let adapter = adapters.first { $0.name == adapter }?.path
    let alone = try LoadedModel(directory: tinyLlama, adapter: adapter, precision: .int8, threads: 1)
    let ids = alone.tokenizer.encodeStart(prompt)
    return try TextGenerator(alone, capacity: ids.count + tokens).generate(
      prompt: ids, maximumTokens: tokens, sampling: SamplingOptions()
    ).text
  }
}

/// An answer, and the connection that it came on.
struct Answer {
  let status: Int
  let head: String
  let body: String
  var json: JSONValue? { body.withJSON }
  /// The text of a completion.
  var text: String? { json?["choices"]?.arrayValue?.first?["text"]?.stringValue }
  var message: String? { json?["error"]?["message"]?.stringValue }
  /// What server-sent events hold.
  var events: [JSONValue] {
    body.split(separator: "\n").compactMap { $0.hasPrefix("data: {") ? String($0.dropFirst(6)).withJSON : nil }
  }
}

extension String {
  fileprivate var withJSON: JSONValue? {
    var copy = self
    return copy.withUTF8 { try? JSONValue.parse(UnsafeRawBufferPointer($0), file: "answer") }
  }
}

/// A connection to a server on this machine, in HTTP/1.0: the answer ends where the connection does.
final class Connection {
  private let handle: Int32

  init(_ server: ModelServer) throws {
    handle = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(server.port).bigEndian)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(handle, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
  }

  deinit { close(handle) }

  func send(_ method: String, _ path: String, _ body: String, headers: [String] = []) {
    let head = ["\(method) \(path) HTTP/1.0", "Content-Length: \(body.utf8.count)"] + headers
    let bytes = Array((head.joined(separator: "\r\n") + "\r\n\r\n" + body).utf8)
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes {
        Foundation.send(handle, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count <= 0 { return }
      sent += count
    }
  }

  func receive() -> Answer {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = recv(handle, &buffer, buffer.count, 0)
      if count <= 0 { break }
      bytes += buffer[..<count]
    }
    let text = String(decoding: bytes, as: UTF8.self)
    let end = text.range(of: "\r\n\r\n")
    let head = String(text[..<(end?.lowerBound ?? text.endIndex)])
    let status = head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return Answer(status: status, head: head, body: String(text[(end?.upperBound ?? text.endIndex)...]))
  }
}

extension TestServer {
  func ask(_ method: String, _ path: String, _ body: String = "", headers: [String] = []) throws -> Answer {
    let connection = try Connection(server)
    connection.send(method, path, body, headers: headers)
    return connection.receive()
  }

  /// A completion of at most 16 tokens, without chance.
  func complete(_ prompt: String, _ more: String = "", model: String = "tiny") throws -> Answer {
    try ask("POST", "/v1/completions", Self.body(prompt, more, model: model))
  }

  static func body(_ prompt: String, _ more: String = "", model: String = "tiny") -> String {
    #"{"model": "\#(model)", "prompt": "\#(prompt)", "temperature": 0, "max_tokens": 16\#(more)}"#
  }
}
