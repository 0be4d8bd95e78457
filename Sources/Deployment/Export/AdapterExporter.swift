import Architectures
import Formats
import FoundationEssentials

/// Writes a LoRA adapter as GGUF, for `llama-cli --lora`: the base file stays as it is.
///
/// Source: llama.cpp's `convert_lora_to_gguf.py` and `src/llama-adapter.cpp`: for each weight `lora_a` `[rank, in]` and
/// `lora_b` `[out, rank]`, the rows of the latter in the base's order; `alpha / rank` of each tensor is its factor.
public enum AdapterExporter {
  /// - Parameters:
  ///   - adapter: PEFT folder
  ///   - base: folder with the `config.json` of its base; what the adapter says if `nil`
  ///   - output: the file; it appears complete or not at all
  /// - Returns: how many layers the adapter has
  public static func export(adapter: String, base: String?, to output: String, force: Bool) throws -> Int {
    let configuration = try PEFTAdapterConfig.load(directory: adapter)
    let folder = try baseFolder(base ?? configuration.baseModel, adapter: adapter)
    let description = try ModelDescription.load(directory: folder)
    guard let architecture = GGUFHeader.architectureName(of: description.family) else {
      throw ExportError(
        description:
          "\(adapter): llama.cpp has no \(description.family.architecture); merge the adapter and keep the folder")
    }
    let file = try SafetensorsFile(path: "\(adapter)/adapter_model.safetensors")
    let scaling =
      configuration.useRSLoRA
      ? configuration.alpha / Double(configuration.rank).squareRoot() : configuration.alpha / Double(configuration.rank)
    var parts: [(declaration: GGUFWriter.Declaration, values: [Float])] = []
    var used: Set<String> = []
    for linear in description.linears {
      let (a, b) = ("base_model.model.\(linear.path).lora_A.weight", "base_model.model.\(linear.path).lora_B.weight")
      guard let tensorA = file.tensor(a), let tensorB = file.tensor(b) else { continue }
      used.formUnion([a, b])
      guard let place = linear.weight.gguf else {
        throw ExportError(description: "\(adapter): \(linear.path) has no place in GGUF; merge the adapter instead")
      }
      let rank = tensorA.shape.first ?? 0
      guard rank == configuration.rank, tensorA.shape == [rank, linear.inputSize],
        tensorB.shape == [linear.outputSize, rank]
      else {
        throw ExportError(
          description: "\(file.path): \(linear.path) has shapes \(tensorA.shape) and \(tensorB.shape), expected "
            + "\([configuration.rank, linear.inputSize]) and \([linear.outputSize, configuration.rank])")
      }
      parts.append((.init(name: "\(place.name).lora_a", type: .f32, shape: tensorA.shape), tensorA.floats))
      let rows = tensorB.floats
      let order = place.rows.sources(of: linear.outputSize)
      let ordered = order.map { $0.flatMap { rows[$0 * rank..<($0 + 1) * rank] } } ?? rows
      parts.append((.init(name: "\(place.name).lora_b", type: .f32, shape: tensorB.shape), ordered))
    }
    if let other = file.tensorNames.first(where: { !used.contains($0) }) {
      throw ExportError(
        description: "\(file.path): \(other) cannot be held by a GGUF LoRA; "
          + "`edge-lora export --model BASE --adapter \(adapter)` writes base and adapter as one model")
    }
    guard !parts.isEmpty else { throw ExportError(description: "\(file.path): no layer of \(folder) is in it") }
    let target = try AtomicOutput(path: output, force: force)
    let writer = try GGUFWriter(
      path: target.temporaryPath,
      metadata: [
        ("general.architecture", .string(architecture)), ("general.type", .string("adapter")),
        ("general.name", .string(URL(fileURLWithPath: adapter).standardizedFileURL.lastPathComponent)),
        ("general.file_type", .uint32(0)), ("general.quantization_version", .uint32(2)),
        ("adapter.type", .string("lora")),
        // llama.cpp divides it by the rank; rsLoRA's factor is in it.
        ("adapter.lora.alpha", .float32(Float(scaling * Double(configuration.rank)))),
      ], tensors: parts.map(\.declaration))
    var scratch: [UInt8] = []
    for part in parts { try part.values.withUnsafeBufferPointer { try writer.append(rows: $0, scratch: &scratch) } }
    try writer.finish()
    let written = try GGUFFile(path: target.temporaryPath)
    for part in parts {
      var found = [Float](repeating: 0, count: part.values.count)
      guard let tensor = written.tensor(part.declaration.name), tensor.shape == part.declaration.shape else {
        throw ExportError(description: "\(output): \(part.declaration.name) is missing when read back")
      }
      found.withUnsafeMutableBufferPointer { written.dequantize(tensor, rows: 0..<tensor.rows, into: $0) }
      guard found == part.values else {
        throw ExportError(description: "\(output): \(part.declaration.name) is not as written when read back")
      }
    }
    try target.commit()
    return parts.count / 2
  }

  /// Where the base lies: as the adapter says it, or from the adapter's folder on.
  private static func baseFolder(_ name: String, adapter: String) throws -> String {
    for candidate in [name, "\(adapter)/\(name)", "\(adapter)/../\(name)"]
    where !name.isEmpty && FileManager.default.fileExists(atPath: "\(candidate)/config.json") {
      return candidate
    }
    throw ExportError(
      description:
        "\(adapter): its base \(name.isEmpty ? "is not named" : "\(name) is not a folder here"); name it with --base")
  }
}

extension StoredTensor {
  fileprivate var floats: [Float] {
    var values = [Float](repeating: 0, count: elementCount)
    values.withUnsafeMutableBufferPointer { copyFloats(range: 0..<$0.count, into: $0) }
    return values
  }
}
