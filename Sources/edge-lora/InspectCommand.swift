import Formats
import Foundation
import Memory
import Training

let inspectCommand = Command(
  name: "inspect", summary: "show what a file or folder holds, tensor by tensor", positional: ["FILE|DIR"],
  options: [.init("json", nil, "print JSON")]
) { arguments in
  guard let path = arguments.positional.first else { throw UsageError(description: "name a file or folder") }
  var rows: [(name: String, type: String, shape: [Int], byteCount: Int)] = []
  var facts: [(String, String)] = []
  if path.lowercased().hasSuffix(".gguf") {
    let file = try GGUFFile(path: path)
    rows = file.tensors.map { ($0.name, $0.type.name, $0.shape, $0.byteCount) }
    for key in file.metadataKeys {
      switch file.metadata[key] {
      case .array(let values): facts.append((key, "\(values.count) values"))
      case .string(let text): facts.append((key, String(text.prefix(60)).replacingOccurrences(of: "\n", with: " ")))
      case .integer(let value): facts.append((key, "\(value)"))
      case .number(let value): facts.append((key, "\(value)"))
      case .bool(let value): facts.append((key, "\(value)"))
      case nil: break
      }
    }
  } else if FileManager.default.fileExists(atPath: "\(path)/adapter_model.safetensors") {
    let adapter = try PEFTAdapterConfig.load(directory: path)
    facts = [("kind", "LoRA adapter"), ("rank", "\(adapter.rank)"), ("alpha", "\(adapter.alpha)")]
    let file = try SafetensorsFile(path: "\(path)/adapter_model.safetensors")
    rows = file.tensorNames.compactMap { name in
      file.tensor(name).map { (name, $0.elementType.rawValue, $0.shape, $0.byteCount) }
    }
  } else {
    let checkpoint = try Checkpoint.open(path)
    rows = checkpoint.tensorNames.compactMap { name in
      checkpoint.tensor(name).map { (name, $0.elementType.rawValue, $0.shape, $0.byteCount) }
    }
    let file = "\(checkpoint.directory.isEmpty ? "." : checkpoint.directory)/config.json"
    if FileManager.default.fileExists(atPath: file) {
      let json = try JSONValue.parse(contentsOf: file)
      for key in ["architectures", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"] {
        if let value = json[key] { facts.append((key, value.serialized())) }
      }
      if let method = json["quantization_config"]?["quant_method"]?.stringValue {
        facts.append(("quantization", method))
      }
    }
  }
  let sum = rows.reduce(0) { $0 + $1.byteCount }
  if arguments.flag("json") {
    let object = JSONObject([
      ("path", .string(path)), ("bytes", .integer(sum)),
      ("facts", .object(JSONObject(facts.map { ($0.0, .string($0.1)) }))),
      (
        "tensors",
        .array(
          rows.map { row in
            .object(
              JSONObject([
                ("name", .string(row.name)), ("type", .string(row.type)),
                ("shape", .array(row.shape.map { .integer($0) })), ("bytes", .integer(row.byteCount)),
              ]))
          })
      ),
    ])
    Console.print(JSONValue.object(object).serialized(pretty: true))
    return ExitCode.success
  }
  for (key, value) in facts { Console.print("\(key): \(value)") }
  let width = (rows.map(\.name.count).max() ?? 0) + 2
  for row in rows {
    let name = row.name + String(repeating: " ", count: width - row.name.count)
    let type = row.type + String(repeating: " ", count: max(1, 6 - row.type.count))
    Console.print("\(name)\(type)\(row.shape)  \(row.byteCount)")
  }
  Console.print("\(rows.count) tensors, \(ByteCount.text(sum))")
  return ExitCode.success
}
