import Formats
import FoundationEssentials
import Memory
import Training
import Tuning
import WeightStore

let inspectCommand = Command(
  name: "inspect", summary: "show what a file or folder holds, tensor by tensor", positional: ["FILE|DIR"],
  options: [
    .init("parts", nil, "list codes, scales and tables of quantised weights on their own"),
    .init("json", nil, "print JSON"),
  ]
) { arguments in
  guard let path = arguments.positional.first else { throw UsageError(description: "name a file or folder") }
  let contents = try Contents(path, showsParts: arguments.flag("parts"))
  Console.print(arguments.flag("json") ? contents.json(path: path).serialized(pretty: true) : contents.text)
  return ExitCode.success
}

/// What a file or folder holds.
private struct Contents {
  private var facts: [(key: String, value: String)] = []
  private var entries: [InventoryEntry] = []

  init(_ path: String, showsParts: Bool) throws {
    if path.lowercased().hasSuffix(".gguf") || GGUFFile.isGGUF(path) {
      try readGGUF(path)
      return
    }
    let adapterFiles = AdapterFolder.fileNames.filter {
      $0.hasSuffix(".safetensors") && FileManager.default.fileExists(atPath: "\(path)/\($0)")
    }
    if !adapterFiles.isEmpty {
      try readFacts(
        "\(path)/adapter_config.json",
        [
          "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "lora_dropout", "target_modules",
          "base_model_name_or_path",
        ])
      for name in adapterFiles { add(try Checkpoint.open("\(path)/\(name)"), showsParts: showsParts) }
      return
    }
    let checkpoint = try Checkpoint.open(path)
    let configuration = "\(checkpoint.directory)/config.json"
    if FileManager.default.fileExists(atPath: configuration) {
      try readFacts(
        configuration,
        [
          "architectures", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
          "num_key_value_heads", "vocab_size", "max_position_embeddings", "tie_word_embeddings", "dtype",
        ])
      if let method = try JSONValue.parse(contentsOf: configuration)["quantization_config"]?["quant_method"] {
        facts.append(("quantization", Self.plain(method)))
      }
    }
    add(checkpoint, showsParts: showsParts)
  }

  private mutating func add(_ checkpoint: Checkpoint, showsParts: Bool) {
    guard showsParts else {
      entries += checkpoint.inventory
      return
    }
    entries += checkpoint.tensorNames.compactMap { checkpoint.tensor($0) }.map {
      InventoryEntry(name: $0.name, format: $0.elementType.rawValue, shape: $0.shape, byteCount: $0.byteCount)
    }
  }

  private mutating func readFacts(_ path: String, _ keys: [String]) throws {
    let json = try JSONValue.parse(contentsOf: path)
    facts += keys.compactMap { key in
      guard let value = json[key], value != .null else { return nil }
      return (key, Self.plain(value))
    }
  }

  private mutating func readGGUF(_ path: String) throws {
    let file = try GGUFFile(path: path)
    entries = file.tensors.map {
      InventoryEntry(name: $0.name, format: $0.type.name, shape: $0.shape, byteCount: $0.byteCount)
    }
    facts = file.metadataKeys.map { key in
      switch file.metadata[key] {
      case .array(let values): (key, "\(values.count) values")
      case .string(let text): (key, Self.printable(text))
      case .integer(let value): (key, "\(value)")
      case .number(let value): (key, "\(value)")
      case .bool(let value): (key, "\(value)")
      case nil: (key, "")
      }
    }
  }

  private static func plain(_ value: JSONValue) -> String {
    switch value {
    case .array(let values): values.map { plain($0) }.joined(separator: ", ")
    case .string(let text): printable(text)
    default: printable(value.serialized())
    }
  }

  /// The beginning of a text on one line, without what a terminal would obey.
  private static func printable(_ text: String) -> String {
    let scalars = text.unicodeScalars.prefix(60).map { scalar -> Character in
      scalar.properties.generalCategory == .control ? " " : Character(scalar)
    }
    return String(scalars) + (text.unicodeScalars.dropFirst(60).isEmpty ? "" : " ...")
  }

  private var byteCount: Int { entries.reduce(0) { $0 + $1.byteCount } }

  var text: String {
    var lines = facts.map { "\($0.key): \($0.value)" }
    let width = (entries.map(\.name.count).max() ?? 0) + 2
    for entry in entries {
      lines.append("\(pad(entry.name, width))\(pad(entry.format, 6))\(entry.shape)  \(entry.byteCount)")
    }
    for format in Set(entries.map(\.format)).sorted() {
      let those = entries.filter { $0.format == format }
      let bytes = those.reduce(0) { $0 + $1.byteCount }
      let weights = those.reduce(0.0) { $0 + $1.shape.reduce(1.0) { $0 * Double($1) } }
      let bits = Console.decimal(Double(bytes) * 8 / max(weights, 1), 2)
      lines.append("\(pad(format, 6))\(those.count) tensors, \(ByteCount.text(bytes)), \(bits) bits per weight")
    }
    lines.append("\(entries.count) tensors, \(ByteCount.text(byteCount))")
    return lines.joined(separator: "\n")
  }

  private func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }

  func json(path: String) -> JSONValue {
    let tensors = entries.map { entry in
      JSONValue.object(
        JSONObject([
          ("name", .string(entry.name)), ("type", .string(entry.format)),
          ("shape", .array(entry.shape.map { .integer($0) })), ("bytes", .integer(entry.byteCount)),
        ]))
    }
    return .object(
      JSONObject([
        ("path", .string(path)), ("bytes", .integer(byteCount)),
        ("facts", .object(JSONObject(facts.map { ($0.key, .string($0.value)) }))), ("tensors", .array(tensors)),
      ]))
  }
}
