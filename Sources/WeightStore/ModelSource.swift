import Formats
import Foundation
import Kernels
import Tokenization

/// A tensor of a model in full precision, by rows.
public struct SourceTensor: Sendable {
  public let name: String
  /// `[rows, columns]`, or `[count]`.
  public let shape: [Int]
  public var rows: Int { shape.count == 1 ? 1 : shape[0] }
  public var columns: Int { shape[shape.count - 1] }
  /// What the elements are in the source, or what its configuration calls them where they are quantised: F16, BF16 or
  /// F32. It decides how embeddings are kept, and what bitsandbytes decodes to.
  public let elementType: ElementType
  private let read: @Sendable (_ rows: Range<Int>, _ target: UnsafeMutableBufferPointer<Float>) -> Void
  /// Lets go of what reading brought into memory.
  public let release: @Sendable () -> Void

  public init(
    name: String, shape: [Int], elementType: ElementType = .f16,
    read: @escaping @Sendable (Range<Int>, UnsafeMutableBufferPointer<Float>) -> Void,
    release: @escaping @Sendable () -> Void = {}
  ) {
    self.name = name
    self.shape = shape
    self.elementType = elementType
    self.read = read
    self.release = release
  }

  /// Fills `target` with the rows of the range.
  public func fill(_ rows: Range<Int>, _ target: UnsafeMutableBufferPointer<Float>) { read(rows, target) }

  /// The tensor with `change` applied to rows as they are read.
  public func changing(
    _ change: @escaping @Sendable (_ rows: Range<Int>, _ values: UnsafeMutableBufferPointer<Float>) -> Void
  ) -> SourceTensor {
    let read = read
    return SourceTensor(
      name: name, shape: shape, elementType: elementType,
      read: { rows, target in
        read(rows, target)
        change(rows, target)
      }, release: release)
  }
}

/// A model as a place to read weights from: a safetensors file or folder, or a GGUF file.
public struct ModelSource: Sendable {
  /// Where errors point to.
  public let path: String
  /// `config.json`.
  public let configurationJSON: JSONValue
  public let configuration: ModelConfiguration
  /// Files to write beside the weights.
  public let companions: [CompanionFile]
  let lookUp: @Sendable (_ name: String, _ shape: [Int]) throws -> SourceTensor

  /// What cannot be quantised.
  public struct Unsuitable: Error, CustomStringConvertible {
    let path: String
    let reason: String
    public var description: String { "\(path): \(reason)" }
  }

  /// - Throws: when the tensor is missing or has another shape.
  public func tensor(_ name: String, shape: [Int]) throws -> SourceTensor {
    let tensor = try lookUp(name, shape)
    guard tensor.shape == shape else {
      throw SafetensorsError.wrongShape(file: path, tensor: name, found: tensor.shape, expected: shape)
    }
    return tensor
  }

  /// Opens a `.safetensors` file (config and tokenizer beside it), a model folder, or a GGUF file of any name.
  public static func open(_ path: String) throws -> ModelSource {
    path.lowercased().hasSuffix(".gguf") || GGUFFile.isGGUF(path) ? try openGGUF(path) : try openCheckpoint(path)
  }

  private static func openCheckpoint(_ path: String) throws -> ModelSource {
    let checkpoint = try Checkpoint.open(path)
    let directory = checkpoint.directory
    let file = "\(directory)/config.json"
    let json = try JSONValue.parse(contentsOf: file)
    if let quantization = json["quantization_config"], quantization != .null {
      throw Unsuitable(
        path: path,
        reason: "is quantised already (\(quantization["quant_method"]?.stringValue ?? "unknown method")); "
          + "train on it as it is, or quantise the original checkpoint")
    }
    let configuration = try ModelConfiguration(json: json, file: file)
    try configuration.checkParts(checkpoint.tensorNames, file: path)
    return ModelSource(
      path: path, configurationJSON: json, configuration: configuration,
      companions: try CompanionFile.all(in: directory)
    ) { name, _ in
      let stored = try checkpoint.requiredTensor(name)
      guard [.f32, .f16, .bf16].contains(stored.elementType) else {
        throw Unsuitable(
          path: path, reason: "tensor \(name) has type \(stored.elementType.rawValue), expected F32, F16 or BF16")
      }
      let columns = stored.shape.last ?? 1
      return SourceTensor(
        name: name, shape: stored.shape, elementType: stored.elementType,
        read: { rows, target in
          stored.copyFloats(range: rows.lowerBound * columns..<rows.upperBound * columns, into: target)
        },
        release: { stored.file.dropPages(offset: stored.byteOffset, count: stored.byteCount) })
    }
  }

  /// A store as a source: its weights decoded to floats again.
  public static func open(store: WeightStore) throws -> ModelSource {
    let file = "\(store.directory)/config.json"
    var json = try JSONValue.parse(contentsOf: file).objectValue ?? JSONObject()
    json["quantization_config"] = nil
    let type: ElementType =
      switch (json["dtype"] ?? json["torch_dtype"])?.stringValue {
      case "bfloat16": .bf16
      case "float32": .f32
      default: .f16
      }
    return ModelSource(
      path: store.directory, configurationJSON: .object(json), configuration: store.configuration,
      companions: try CompanionFile.all(in: store.directory)
    ) { name, shape in
      guard shape.count == 2 else {
        let values = try store.vector(name, count: shape[0])
        return SourceTensor(
          name: name, shape: [values.count], elementType: type,
          read: { _, target in _ = target.update(fromContentsOf: values) })
      }
      let matrix = try store.matrix(String(name.dropLast(".weight".count)), rows: shape[0], columns: shape[1])
      return SourceTensor(
        name: name, shape: shape, elementType: type,
        read: { rows, target in
          guard let base = target.baseAddress else { return }
          matrix.decode(rows: rows, into: Matrix(base, rows: rows.count, columns: shape[1]))
        }, release: { store.dropPages(of: name) })
    }
  }

  private static func openGGUF(_ path: String) throws -> ModelSource {
    let file = try GGUFFile(path: path)
    let json = try GGUFConfiguration.configurationJSON(file)
    let configuration = try ModelConfiguration(json: json, file: path)
    let tokenizer = try TokenizerFromGGUF.tokenizerFiles(file)
    let permutesHeads = configuration.architecture != .qwen2
    try configuration.checkParts(
      file.tensors.map(\.name), file: path, layers: "blk.", expected: { GGUFConfiguration.tensorName($0) })
    let companions = [
      CompanionFile(name: "tokenizer.json", text: tokenizer.tokenizer.serialized()),
      CompanionFile(name: "tokenizer_config.json", text: tokenizer.configuration.serialized(pretty: true)),
    ]
    return ModelSource(
      path: path, configurationJSON: json, configuration: configuration, companions: companions
    ) { name, _ in
      let stored = GGUFConfiguration.tensorName(name)
      guard let tensor = stored.flatMap({ file.tensor($0) }) else {
        throw SafetensorsError.missingTensor(file: path, tensor: stored ?? name, similar: nil)
      }
      // llama.cpp interleaves the halves of each head of the query and key weights of Llama models.
      let heads =
        !permutesHeads
        ? nil
        : name.hasSuffix("q_proj.weight")
          ? configuration.headCount : name.hasSuffix("k_proj.weight") ? configuration.keyValueHeadCount : nil
      return SourceTensor(
        name: name, shape: tensor.shape, elementType: tensor.type == .bf16 ? .bf16 : .f16,
        read: { rows, target in
          guard let heads else {
            file.dequantize(tensor, rows: rows, into: target)
            return
          }
          let size = tensor.rows / heads
          for (place, row) in rows.enumerated() {
            let within = row % size
            let source = row - within + within % (size / 2) * 2 + within / (size / 2)
            file.dequantize(
              tensor, rows: source..<source + 1,
              into: UnsafeMutableBufferPointer(
                rebasing: target[place * tensor.columns..<(place + 1) * tensor.columns]))
          }
        },
        release: { file.dropPages(of: tensor) })
    }
  }
}
