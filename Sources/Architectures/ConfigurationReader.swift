import Formats

/// Reads fields of a `config.json`; what is out of range is refused by its name.
struct ConfigurationReader {
  let json: JSONValue
  /// The name that errors carry.
  let file: String

  func refuse(_ reason: String) -> ModelDescription.Invalid { .init(file: file, reason: reason) }

  /// The field `key`, unless it is absent or null.
  subscript(key: String) -> JSONValue? { json[key].flatMap { $0 == .null ? nil : $0 } }

  func integer(_ key: String, _ range: ClosedRange<Int>, default fallback: Int? = nil) throws -> Int {
    guard let value = self[key] else {
      if let fallback { return fallback }
      throw refuse("\(key) is missing")
    }
    guard let number = value.intValue, range.contains(number) else {
      throw refuse("\(key) is \(value.serialized()), expected a whole number in \(range)")
    }
    return number
  }

  func number(_ key: String, _ range: ClosedRange<Double>, default fallback: Double? = nil) throws -> Double {
    guard let value = self[key] else {
      if let fallback { return fallback }
      throw refuse("\(key) is missing")
    }
    guard let number = value.doubleValue, range.contains(number) else {
      throw refuse("\(key) is \(value.serialized()), expected a number in \(range)")
    }
    return number
  }

  func flag(_ key: String, default fallback: Bool) throws -> Bool {
    guard let value = self[key] else { return fallback }
    guard let flag = value.boolValue else { throw refuse("\(key) is \(value.serialized()), expected true or false") }
    return flag
  }

  func text(_ key: String, default fallback: String) throws -> String {
    guard let value = self[key] else { return fallback }
    guard let text = value.stringValue else { throw refuse("\(key) is \(value.serialized()), expected a text") }
    return text
  }

  /// One number or a list of them.
  func ids(_ key: String) -> [Int] {
    json[key]?.intValue.map { [$0] } ?? json[key]?.arrayValue?.compactMap(\.intValue) ?? []
  }

  /// A field that must have one value, because nothing else is supported.
  func expect(_ key: String, _ wanted: Bool) throws {
    if try flag(key, default: wanted) != wanted { throw refuse("\(key) is \(!wanted), which is not supported") }
  }

  /// The activation that `key` names, by transformers' names.
  func activation(_ key: String, default fallback: String) throws -> ActivationKind {
    let name = try text(key, default: fallback)
    switch name {
    case "silu", "swish": return .silu
    case "gelu", "gelu_python": return .gelu
    case "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate": return .geluTanh
    case "relu": return .relu
    default: throw refuse("\(key) \(name) is not supported; supported are silu, gelu, gelu_pytorch_tanh, relu")
    }
  }

  /// Which layers' attention has a window, by `layer_types` or else by `fallback`.
  func windowedLayers(count: Int, fallback: (Int) -> Bool) throws -> [Bool] {
    guard let types = self["layer_types"] else { return (0..<count).map(fallback) }
    let names = types.arrayValue?.compactMap(\.stringValue) ?? []
    guard names.count == count, names.allSatisfy({ ["sliding_attention", "full_attention"].contains($0) }) else {
      throw refuse("layer_types does not say sliding_attention or full_attention for each of \(count) layers")
    }
    return names.map { $0 == "sliding_attention" }
  }
}
