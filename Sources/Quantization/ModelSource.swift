import Architectures
import Formats
import FoundationEssentials
import Glibc
import Kernels
import Tokenization
import WeightStore

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
  fileprivate let read: @Sendable (_ rows: Range<Int>, _ target: UnsafeMutableBufferPointer<Float>) -> Void
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
  public let description: ModelDescription
  /// Files to write beside the weights.
  public let companions: [CompanionFile]
  /// What the user should know before the model is used.
  public let warnings: [String]
  let lookUp: @Sendable (TensorDescription) throws -> SourceTensor
  /// Weights that are there though the description computes without them.
  var carried: [TensorDescription] = []

  /// The model with some weights in place of its own.
  ///
  /// - Parameters:
  ///   - values: elements by name
  ///   - configuration: its `config.json`
  public func replacing(_ values: [String: [Float]], configuration: JSONValue) -> ModelSource {
    ModelSource(
      path: path, configurationJSON: configuration, description: description, companions: companions,
      warnings: warnings,
      lookUp: { wanted in
        guard let values = values[wanted.name] else { return try lookUp(wanted) }
        let columns = wanted.shape.last ?? 1
        return SourceTensor(name: wanted.name, shape: wanted.shape, elementType: .f32) { rows, target in
          for index in 0..<rows.count * columns { target[index] = values[rows.lowerBound * columns + index] }
        }
      })
  }

  /// The model with a weight of the vocabulary head beside the embedding that it was tied to.
  public func untied() throws -> ModelSource {
    guard description.head.isTied else { return self }
    let json = DescribedCheckpoint.untied(configurationJSON)
    let own = try ModelDescription(json: json, file: "\(path)/config.json")
    let (head, embedding) = (own.head.weight, description.embedding.tokens)
    var source = ModelSource(
      path: path, configurationJSON: json, description: own, companions: companions, warnings: warnings
    ) { wanted in
      guard wanted.name == head?.name else { return try lookUp(wanted) }
      let tensor = try lookUp(embedding)
      return SourceTensor(
        name: wanted.name, shape: tensor.shape, elementType: tensor.elementType, read: tensor.read,
        release: tensor.release)
    }
    source.carried = carried
    return source
  }

  /// What cannot be quantised.
  public struct Unsuitable: Error, CustomStringConvertible {
    let path: String
    let reason: String
    public var description: String { "\(path): \(reason)" }
  }

  /// The weight as the model uses it, however it lies in the source.
  /// - Throws: when it is missing or has another shape.
  public func tensor(_ wanted: TensorDescription) throws -> SourceTensor {
    let tensor = try lookUp(wanted)
    guard tensor.shape == wanted.shape else {
      throw SafetensorsError.wrongShape(file: path, tensor: wanted.name, found: tensor.shape, expected: wanted.shape)
    }
    return tensor
  }

  /// Opens a `.safetensors` file (config and tokenizer beside it), a model folder, or a GGUF file of any name.
  public static func open(_ path: String) throws -> ModelSource {
    if path.lowercased().hasSuffix(".gguf") || GGUFFile.isGGUF(path) { return try openGGUF(path) }
    if let file = onlyGGUF(in: path) { return try openGGUF(file) }
    return try openCheckpoint(path)
  }

  /// The GGUF file of a folder that has one, or the parts of one, and no safetensors.
  private static func onlyGGUF(in path: String) -> String? {
    guard case .directory? = try? PathKind(path), let names = try? FileManager.default.contentsOfDirectory(atPath: path)
    else { return nil }
    let weights = names.filter { name in [".safetensors", ".index.json", ".gguf"].contains { name.hasSuffix($0) } }
    // Of `NAME-00002-of-00003.gguf` the first part opens the whole.
    let wholes = weights.filter { name in
      let end = name.suffix("-00002-of-00003.gguf".count)
      return !end.dropFirst(6).hasPrefix("-of-") || end.hasPrefix("-00001")
    }
    guard wholes.count == 1, wholes[0].hasSuffix(".gguf") else { return nil }
    return "\(path)/\(wholes[0])"
  }

  private static func openCheckpoint(_ path: String) throws -> ModelSource {
    if try PathKind(path) != .directory,
      ![".safetensors", ".json"].contains(where: { path.lowercased().hasSuffix($0) })
    {
      throw Unsuitable(
        path: path, reason: "is neither safetensors nor GGUF; name a model's folder, its .safetensors or a .gguf file")
    }
    let checkpoint = try Checkpoint.open(path)
    let directory = checkpoint.directory
    let file = "\(directory)/config.json"
    let json = try JSONValue.parse(contentsOf: file)
    if let quantization = ForeignQuantization(json) {
      throw Unsuitable(path: path, reason: quantization.reason ?? quantization.advice)
    }
    let model = try DescribedCheckpoint(json: json, file: file, checkpoint: checkpoint)
    let (description, names) = (model.description, model.names)
    try names.checkParts(of: description, in: checkpoint.tensorNames, file: path)
    let (companions, warnings) = try CompanionFile.forStore(of: directory)
    var source = ModelSource(
      path: path, configurationJSON: description.family.configuration(model.json), description: description,
      companions: companions, warnings: model.warnings + warnings
    ) { wanted in
      let name = names.stored(wanted.name)
      let stored = try checkpoint.requiredTensor(name)
      guard [.f32, .f16, .bf16].contains(stored.elementType) else {
        throw Unsuitable(
          path: path, reason: "tensor \(name) has type \(stored.elementType.rawValue), expected F32, F16 or BF16")
      }
      guard stored.shape == wanted.fileShape else {
        throw SafetensorsError.wrongShape(file: path, tensor: name, found: stored.shape, expected: wanted.fileShape)
      }
      let columns = wanted.shape.last ?? 1
      return SourceTensor(
        name: wanted.name, shape: wanted.shape, elementType: stored.elementType,
        read: { rows, target in
          if wanted.isTransposed {
            stored.copyColumns(rows, of: wanted.shape[0], into: target)
          } else {
            stored.copyFloats(range: rows.lowerBound * columns..<rows.upperBound * columns, into: target)
          }
        },
        release: { stored.file.dropPages(offset: stored.byteOffset, count: stored.byteCount) })
    }
    source.carried = description.carriedTensors.filter { checkpoint.tensor(names.stored($0.name)) != nil }
    return source
  }

  /// A store as a source: its weights decoded to floats again.
  public static func open(store: WeightStore) throws -> ModelSource {
    var json = store.configurationJSON.objectValue ?? JSONObject()
    json["quantization_config"] = nil
    let type: ElementType =
      switch (json["dtype"] ?? json["torch_dtype"])?.stringValue {
      case "bfloat16": .bf16
      case "float32": .f32
      default: .f16
      }
    var source = ModelSource(
      path: store.directory, configurationJSON: store.description.family.configuration(.object(json)),
      description: store.description, companions: try CompanionFile.all(in: store.directory), warnings: []
    ) { wanted in
      guard wanted.shape.count == 2 else {
        let values = try store.vector(wanted)
        return SourceTensor(
          name: wanted.name, shape: [values.count], elementType: type,
          read: { _, target in _ = target.update(fromContentsOf: values) })
      }
      let matrix = try store.matrix(wanted)
      return SourceTensor(
        name: wanted.name, shape: wanted.shape, elementType: type,
        read: { rows, target in
          guard let base = target.baseAddress else { return }
          matrix.decode(rows: rows, into: Matrix(base, rows: rows.count, columns: wanted.shape[1]))
        }, release: { store.dropPages(of: wanted) })
    }
    source.carried = store.description.carriedTensors.filter(store.holds)
    return source
  }

  private static func openGGUF(_ path: String) throws -> ModelSource {
    let file = try GGUFFile(path: path)
    let json = try GGUFConfiguration.configurationJSON(file)
    let description = try ModelDescription(json: json, file: path)
    let tokenizer = try TokenizerFromGGUF.tokenizerFiles(file)
    try TensorNames.checkGGUFParts(of: description, in: file.tensors.map(\.name), file: path)
    return ModelSource(
      path: path, configurationJSON: json, description: description,
      companions: CompanionFile.files(of: tokenizer), warnings: tokenizer.warnings
    ) { wanted in
      guard let place = wanted.gguf, let tensor = file.tensor(place.name) else {
        throw SafetensorsError.missingTensor(file: path, tensor: wanted.gguf?.name ?? wanted.name, similar: nil)
      }
      let scale = try file.scale(of: tensor)
      return SourceTensor(
        name: wanted.name, shape: tensor.shape, elementType: tensor.type == .bf16 ? .bf16 : .f16,
        read: { rows, target in
          file.dequantize(tensor, at: place, rows: rows, into: target)
          if scale != 1 { for index in 0..<rows.count * tensor.columns { target[index] *= scale } }
        },
        release: { file.dropPages(of: tensor) })
    }
  }
}

extension StoredTensor {
  /// Some columns of a matrix as rows: `target[i][k] = self[k][columns[i]]`.
  ///
  /// - Parameter count: columns of the whole matrix
  fileprivate func copyColumns(_ columns: Range<Int>, of count: Int, into target: UnsafeMutableBufferPointer<Float>) {
    let rows = elementCount / count
    withUnsafeTemporaryAllocation(of: Float.self, capacity: columns.count) { part in
      for row in 0..<rows {
        copyFloats(range: row * count + columns.lowerBound..<row * count + columns.upperBound, into: part)
        for column in 0..<columns.count { target[column * rows + row] = part[column] }
      }
    }
  }
}

extension GGUFFile {
  /// What a weight is to be multiplied with: beside those of NVFP4 stands a tensor of one number, where it is not 1.
  ///
  /// Source: `_repack_nvfp4` of llama.cpp's converter, and `build_lora_mm`, which multiplies with it.
  fileprivate func scale(of weight: GGUFTensor) throws -> Float {
    let end = ".weight"
    guard weight.name.hasSuffix(end), let scale = tensor(weight.name.dropLast(end.count) + ".scale") else { return 1 }
    guard scale.rows * scale.columns == 1 else {
      throw GGUFError.badValue(
        file: scale.path, place: "tensor \(scale.name)", reason: "has shape \(scale.shape), expected one number")
    }
    var value: Float = 1
    withUnsafeMutablePointer(to: &value) {
      dequantize(scale, rows: 0..<1, into: UnsafeMutableBufferPointer(start: $0, count: 1))
    }
    return value
  }

  /// Rows of a weight in Hugging Face's order and with its values.
  fileprivate func dequantize(
    _ tensor: GGUFTensor, at place: TensorDescription.GGUFPlace, rows: Range<Int>,
    into target: UnsafeMutableBufferPointer<Float>
  ) {
    let columns = tensor.columns
    if tensor.shape.count == 1, place.rows != .same {
      // the elements of a bias are what its rows would be
      withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { all in
        dequantize(tensor, rows: 0..<1, into: all)
        for element in 0..<columns { target[element] = all[place.rows.place(ofRow: element, of: columns)] }
      }
    } else if place.rows == .same {
      dequantize(tensor, rows: rows, into: target)
    } else {
      for (index, row) in rows.enumerated() {
        let source = place.rows.place(ofRow: row, of: tensor.rows)
        dequantize(
          tensor, rows: source..<source + 1,
          into: UnsafeMutableBufferPointer(rebasing: target[index * columns..<(index + 1) * columns]))
      }
    }
    if place.excess != 0 { for index in 0..<rows.count * columns { target[index] -= place.excess } }
  }
}
