import Formats
import FoundationEssentials

/// A weight as its file keeps it, with the scales and tables that belong to it.
public struct InventoryEntry: Sendable, Equatable {
  public let name: String
  /// `nf4`, `int8`, `int4`, or the type of a plain tensor: `F16`.
  public let format: String
  /// The shape that the weight has when decoded; that of the stored codes where the file does not say.
  public let shape: [Int]
  /// Bytes of codes, scales and tables together.
  public let byteCount: Int

  public init(name: String, format: String, shape: [Int], byteCount: Int) {
    self.name = name
    self.format = format
    self.shape = shape
    self.byteCount = byteCount
  }
}

extension Checkpoint {
  /// What the files hold, weight by weight; the parts of a quantised weight are one entry.
  public var inventory: [InventoryEntry] {
    var order: [String] = []
    var parts: [String: [StoredTensor]] = [:]
    for name in tensorNames {
      guard let tensor = tensor(name) else { continue }
      let weight = Self.weightName(name)
      if parts[weight] == nil { order.append(weight) }
      parts[weight, default: []].append(tensor)
    }
    return order.flatMap { name in Self.entries(name, parts[name] ?? []) }
  }

  /// The weight that a tensor is a part of, by the naming of bitsandbytes and compressed-tensors.
  private static func weightName(_ name: String) -> String {
    for part in [".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"] where name.hasSuffix(part) {
      return String(name.dropLast(part.count))
    }
    if let state = name.ranges(of: ".quant_state.bitsandbytes__").last { return String(name[..<state.lowerBound]) }
    for part in ["_packed", "_scale", "_shape", "_zero_point", "_g_idx"] where name.hasSuffix(".weight\(part)") {
      return String(name.dropLast(part.count))
    }
    return name
  }

  private static func entries(_ name: String, _ parts: [StoredTensor]) -> [InventoryEntry] {
    let byteCount = parts.reduce(0) { $0 + $1.byteCount }
    func part(_ suffix: String) -> StoredTensor? { parts.first { $0.name == name + suffix } }
    func entry(_ format: String, _ shape: [Int]) -> [InventoryEntry] {
      [InventoryEntry(name: name, format: format, shape: shape, byteCount: byteCount)]
    }
    if let packed = part("_packed") {
      let told = part("_shape").flatMap { $0.elementCount == 2 ? $0.floats().map { Int($0) } : nil }
      return entry("int4", told ?? packed.shape)
    }
    guard let codes = part("") else { return parts.map(plain) }
    if let state = parts.first(where: { $0.name.contains(".quant_state.bitsandbytes__") }) {
      let json = try? JSONValue.parse(state.bytes, file: state.name)
      let shape = json?["shape"]?.arrayValue?.compactMap(\.intValue)
      return entry(json?["quant_type"]?.stringValue ?? "4-bit", shape ?? codes.shape)
    }
    if codes.elementType == .i8, part("_scale") != nil { return entry("int8", codes.shape) }
    return parts.map(plain)
  }

  private static func plain(_ tensor: StoredTensor) -> InventoryEntry {
    InventoryEntry(
      name: tensor.name, format: tensor.elementType.rawValue, shape: tensor.shape, byteCount: tensor.byteCount)
  }
}
