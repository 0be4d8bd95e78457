import Architectures
import Formats
import FoundationEssentials
import Glibc
import Kernels
import WeightStore

/// Turns a model in full precision into a store: a folder in a layout that Hugging Face's tools read as well.
public struct Quantizer {
  public var format: StoreFormat
  /// Embedding and head in 8 bits instead of half precision.
  public var int8Embeddings: Bool
  public var force: Bool
  let pool: ThreadPool

  public init(format: StoreFormat, int8Embeddings: Bool = false, force: Bool = false, pool: ThreadPool) {
    self.format = format
    self.int8Embeddings = int8Embeddings
    self.force = force
    self.pool = pool
  }

  /// Writes the store, one tensor after the other in the order in which a model uses them.
  ///
  /// - Parameters:
  ///   - output: the folder; it appears complete or not at all
  ///   - inputs: what else is read, and therefore not replaced
  ///   - transform: what becomes of each tensor before it is stored; a merge adds its adapter here
  ///   - check: looks at the finished folder before it gets its name, and may throw
  ///   - progress: weights done and in all; what it throws ends the run, and nothing is left of it
  public func write(
    _ source: ModelSource, to output: String, inputs: [String] = [],
    transform: (SourceTensor) throws -> SourceTensor = { $0 },
    check: (_ temporaryDirectory: String) throws -> Void = { _ in },
    progress: @escaping (_ done: Int, _ all: Int) throws -> Void
  ) throws -> QuantizationReport {
    let tensors = source.description.tensors + source.carried
    try checkShapes(tensors, path: source.path)
    let target = try AtomicOutput(path: output, force: force, inputs: [source.path] + inputs)
    try target.requireResult(
      FolderChecksums.fileName, kind: "a model that edge-lora wrote", folder: CompanionFile.templateFolder)
    try target.createDirectory()
    // What is bfloat16 stays so, that nothing is lost; all else becomes half precision.
    let isBrain = try format == .bf16 || source.tensor(tensors[0]).elementType == .bf16
    let all = tensors.reduce(0) { $0 + $1.shape.reduce(1, *) }
    var done = 0
    let writer = try StoreWriter(
      path: "\(target.temporaryPath)/model.safetensors", tensorCount: tensors.count, format: format,
      int8Embeddings: int8Embeddings, isBrain: isBrain, pool: pool
    ) { count in
      done += count
      try progress(done, all)
    }
    for wanted in tensors {
      let tensor = try transform(try source.tensor(wanted))
      do {
        switch wanted.role {
        case .vector, .table: try writer.writePlain(tensor)
        case .embedding: try writer.writeEmbedding(tensor)
        case .linear: try writer.writeLinear(tensor, isTransposed: wanted.isTransposed)
        }
      } catch let error as StoreWriter.NotFinite {
        throw ModelSource.Unsuitable(path: source.path, reason: error.reason)
      }
    }
    try writer.finish()
    var json = source.configurationJSON.objectValue ?? JSONObject()
    json["quantization_config"] = format.quantizationConfiguration(
      keeping: source.description.head.labels?.layers.map(\.linear.path) ?? [])
    if format == .bf16 {
      json["torch_dtype"] = nil
      json["dtype"] = .string("bfloat16")
    }
    try OutputFile.write(
      JSONValue.object(json).serialized(pretty: true) + "\n", to: "\(target.temporaryPath)/config.json")
    for companion in source.companions {
      try companion.write(to: target.temporaryPath)
    }
    try check(target.temporaryPath)
    // They are read again, from the disk: what it has kept is what counts.
    try FolderChecksums.write(into: target.temporaryPath) { _ in try progress(all, all) }
    try target.commit()
    return writer.report
  }

  private func checkShapes(_ tensors: [TensorDescription], path: String) throws {
    guard case .int4(let groupSize) = format else { return }
    for tensor in tensors where tensor.role == .linear && tensor.shape[1] % groupSize != 0 {
      throw ModelSource.Unsuitable(
        path: path,
        reason:
          "int4 groups of \(groupSize) do not fill rows of \(tensor.shape[1]) (\(tensor.name)); give --group-size 32")
    }
  }
}
