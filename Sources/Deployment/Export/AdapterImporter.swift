import Architectures
import Formats
import FoundationEssentials

/// A GGUF LoRA as the PEFT folder that it stands for.
public enum AdapterImporter {
  /// Runs `body` with the folder of an adapter: `path` itself or, where that is a GGUF file, a folder made of it that is gone
  /// afterwards.
  ///
  /// - Parameter model: the adapter's base
  public static func withFolder<Result>(
    _ path: String, for model: ModelDescription, _ body: (String) throws -> Result
  ) throws -> Result {
    guard GGUFFile.isGGUF(path) else { return try body(path) }
    return try OutputFolder.withTemporary { folder in
      try unpack(GGUFFile(path: path), for: model, to: folder)
      return try body(folder)
    }
  }

  private static func unpack(_ file: GGUFFile, for model: ModelDescription, to folder: String) throws {
    func failure(_ reason: String) -> ExportError { ExportError(description: "\(file.path): \(reason)") }
    guard file.metadata["general.type"] == .string("adapter"), file.metadata["adapter.type"] == .string("lora") else {
      throw failure("is a GGUF file, but no LoRA adapter")
    }
    let architecture = file.metadata["general.architecture"]?.stringValue ?? "none"
    guard architecture == GGUFHeader.architectureName(of: model.family) else {
      throw failure("is an adapter of a \(architecture), the model is a \(model.family.architecture)")
    }
    var parts: [(name: String, shape: [Int], values: [Float])] = []
    var (ranks, used): ([(path: String, rank: Int)], Set<String>) = ([], [])
    for linear in model.linears {
      guard let place = linear.weight.gguf, let a = file.tensor("\(place.name).lora_a"),
        let b = file.tensor("\(place.name).lora_b")
      else { continue }
      used.formUnion([a.name, b.name])
      let ownRank = a.rows
      guard a.shape == [ownRank, linear.inputSize], b.shape == [linear.outputSize, ownRank] else {
        throw failure(
          "\(place.name) has shapes \(a.shape) and \(b.shape), expected [rank, \(linear.inputSize)] and "
            + "[\(linear.outputSize), rank]; the adapter is of another base")
      }
      ranks.append((linear.path, ownRank))
      parts.append(("base_model.model.\(linear.path).lora_A.weight", a.shape, floats(a, of: file)))
      // Rows back into Hugging Face's order.
      let rows = floats(b, of: file)
      var ordered = rows
      if let order = place.rows.sources(of: linear.outputSize) {
        for (row, source) in order.enumerated() {
          for column in 0..<ownRank { ordered[source * ownRank + column] = rows[row * ownRank + column] }
        }
      }
      parts.append(("base_model.model.\(linear.path).lora_B.weight", b.shape, ordered))
    }
    if let other = file.tensors.first(where: { !used.contains($0.name) }) {
      throw failure("tensor \(other.name) belongs to no layer that an adapter can wrap here")
    }
    guard let rank = ranks.first?.rank else { throw failure("holds no tensors") }
    try SafetensorsWriter.write(parts, to: "\(folder)/adapter_model.safetensors")
    // Without a factor, or with 0, llama.cpp multiplies by 1.
    let alpha = file.metadata["adapter.lora.alpha"]?.doubleValue ?? 0
    var lora = PEFTLoRA(
      rank: rank, alpha: alpha == 0 ? Double(rank) : alpha, targetModules: .names(ranks.map(\.path)),
      common: PEFTCommon(baseModel: "", taskType: "CAUSAL_LM"))
    let others = ranks.filter { $0.rank != rank }.map { (pattern: $0.path.replacing(".", with: "\\."), rank: $0.rank) }
    lora.rankPattern = others.map { PEFTPattern(pattern: $0.pattern, value: $0.rank) }
    if alpha == 0 { lora.alphaPattern = others.map { PEFTPattern(pattern: $0.pattern, value: Double($0.rank)) } }
    lora.fanInFanOut = model.linears.contains { $0.weight.isTransposed }
    try PEFTConfiguration.lora(lora).write(to: folder)
  }

  private static func floats(_ tensor: GGUFTensor, of file: GGUFFile) -> [Float] {
    var values = [Float](repeating: 0, count: tensor.rows * tensor.columns)
    values.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: 0..<tensor.rows, into: $0) }
    return values
  }
}
