import Architectures
import Formats
import FoundationEssentials
import Tuning

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
    let file = try source(adapter)
    let folder: String
    if let base {
      guard FileManager.default.fileExists(atPath: "\(base)/config.json") else {
        throw ExportError(description: "--base \(base): is no folder of a model, with its config.json")
      }
      folder = base
    } else {
      folder = try baseFolder(file.file.common.baseModel ?? "", adapter: adapter)
    }
    let description = try ModelDescription.load(directory: folder)
    guard let architecture = GGUFHeader.architectureName(of: description.family) else {
      throw ExportError(
        description:
          "\(adapter): llama.cpp has no \(description.family.architecture); merge the adapter and keep the folder")
    }
    let names = Dictionary(uniqueKeysWithValues: file.names.map { (LowRankFile.layer($0), $0) })
    let layers = description.linears.filter { names[$0.path] != nil }
    if let other = names.keys.first(where: { name in !layers.contains { $0.path == name } }) {
      throw ExportError(description: "\(adapter): the model in \(folder) has no layer \(other)")
    }
    guard !layers.isEmpty else { throw ExportError(description: "\(adapter): no layer of \(folder) is in it") }
    var parts: [(declaration: GGUFWriter.Declaration, values: [Float])] = []
    var alphas: [Double] = []
    for linear in layers {
      guard let place = linear.weight.gguf else {
        throw ExportError(description: "\(adapter): \(linear.path) has no place in GGUF; merge the adapter instead")
      }
      guard let part = try names[linear.path].flatMap({ try file.part($0) }) else { continue }
      let (rank, a, rows) = (part.rank, part.aValues, part.bValues)
      guard a.count == rank * linear.inputSize, rows.count == rank * linear.outputSize else {
        throw ExportError(
          description: "\(adapter): \(linear.path) has not the shape that it has in \(folder); the adapter is of "
            + "another base")
      }
      parts.append((.init(name: "\(place.name).lora_a", type: .f32, shape: [rank, linear.inputSize]), a))
      let order = place.rows.sources(of: linear.outputSize)
      let ordered = order.map { $0.flatMap { rows[$0 * rank..<($0 + 1) * rank] } } ?? rows
      parts.append((.init(name: "\(place.name).lora_b", type: .f32, shape: [linear.outputSize, rank]), ordered))
      alphas.append(part.weight * Double(rank))
    }
    // llama.cpp divides one alpha by the rank of each layer; where layers have several, each has its factor in B.
    let alpha = Set(alphas).count == 1 ? alphas[0] : 0
    if alpha == 0 {
      for (index, own) in alphas.enumerated() {
        let scale = own / Double(parts[2 * index].declaration.shape[0])
        parts[2 * index + 1].values = parts[2 * index + 1].values.map { Float(Double($0) * scale) }
      }
    }
    let target = try AtomicOutput(path: output, force: force, inputs: [adapter])
    try target.requireFile(kind: "GGUF", GGUFFile.isGGUF)
    let writer = try GGUFWriter(
      path: target.temporaryPath,
      metadata: [
        ("general.architecture", .string(architecture)), ("general.type", .string("adapter")),
        ("general.name", .string(URL(fileURLWithPath: adapter).standardizedFileURL.lastPathComponent)),
        ("general.file_type", .uint32(0)), ("general.quantization_version", .uint32(2)),
        ("adapter.type", .string("lora")),
        ("adapter.lora.alpha", .float32(Float(alpha))),
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

  /// The factors of a folder that holds nothing else.
  /// - Throws: `ExportError` with the way out
  private static func source(_ adapter: String) throws -> LowRankFile {
    let path = "\(adapter)/\(PEFTConfiguration.fileName)"
    let wayOut = "`edge-lora export --model BASE --adapter \(adapter)` writes base and adapter as one model"
    func refuse(_ what: String) -> ExportError {
      ExportError(description: "\(path): \(what) cannot be held by a GGUF LoRA; \(wayOut)")
    }
    guard try AdapterFolder.areLowRank([adapter]),
      case .lora(let lora) = try PEFTConfiguration.load(directory: adapter)
    else { throw ExportError(description: "\(path): is no LoRA adapter, and GGUF holds no other; ship the folder") }
    guard !["SEQ_CLS", "TOKEN_CLS"].contains(lora.common.taskType) else {
      throw ExportError(description: "\(path): says labels, which a GGUF LoRA cannot; ship the folder")
    }
    if lora.useDoRA { throw refuse("DoRA") }
    if lora.bias != "none" { throw refuse("bias \(lora.bias)") }
    if !lora.trainableTokens.isEmpty { throw refuse("trainable_token_indices") }
    if let module = lora.common.modulesBesideHead.first { throw refuse("modules_to_save with \(module)") }
    let file = try LowRankFile(directory: adapter)
    if let other = file.otherTensor { throw refuse(other) }
    return file
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
