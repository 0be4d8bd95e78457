import Formats
import Kernels
import Transformer

/// One matrix of an adapter under its PEFT name.
public struct AdapterTensor {
  public let name: String
  let matrix: Matrix
  /// Whether `matrix` is the transpose of what a file holds.
  let isTransposed: Bool

  /// Shape in a file: `[rank, in]` or `[out, rank]`.
  public var shape: [Int] { isTransposed ? [matrix.columns, matrix.rows] : [matrix.rows, matrix.columns] }

  /// The elements in the order of a file.
  public var values: [Float] {
    let rows = (0..<matrix.rows).map { matrix.row($0).values }
    guard isTransposed else { return rows.flatMap { $0 } }
    return (0..<matrix.columns).flatMap { column in rows.map { $0[column] } }
  }

  /// Takes over elements in the order of a file.
  func assign(_ values: [Float]) {
    for row in 0..<matrix.rows {
      matrix.row(row).assign(
        (0..<matrix.columns).map { isTransposed ? values[$0 * matrix.rows + row] : values[row * matrix.columns + $0] })
    }
  }
}

/// Reading and writing adapters as PEFT folders: `adapter_config.json` and `adapter_model.safetensors`.
extension LowRankAdapterSet {
  static let weightsName = "adapter_model.safetensors"
  private static let prefix = "base_model.model."

  /// PEFT's names: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
  static func tensorName(_ location: LinearLocation, _ part: String) -> String {
    "\(prefix)\(location.name).lora_\(part).weight"
  }

  /// Every tensor under its PEFT name, in the order of `parameters`.
  public var namedTensors: [AdapterTensor] { named { ($0.a, $0.bTransposed) } }

  /// The gradient of every tensor, under the same names.
  public var namedGradients: [AdapterTensor] { named { ($0.aGradient, $0.bTransposedGradient) } }

  private func named(_ pick: (LowRankAdapter) -> (Matrix, Matrix)) -> [AdapterTensor] {
    adapters.flatMap { adapter in
      let (a, b) = pick(adapter)
      return [
        AdapterTensor(name: Self.tensorName(adapter.location, "A"), matrix: a, isTransposed: false),
        AdapterTensor(name: Self.tensorName(adapter.location, "B"), matrix: b, isTransposed: true),
      ]
    }
  }

  /// Writes the two files into `directory`, which exists.
  ///
  /// - Parameter baseModel: what `base_model_name_or_path` says
  public func save(to directory: String, baseModel: String) throws {
    try Self.write(namedTensors, to: "\(directory)/\(Self.weightsName)")
    try configuration.peftConfiguration(baseModel: baseModel).write(to: directory)
  }

  /// Writes matrices as an F32 safetensors file, in alphabetical order as PEFT does.
  public static func write(_ tensors: [AdapterTensor], to path: String) throws {
    let sorted = tensors.sorted { $0.name < $1.name }
    let writer = try SafetensorsWriter(
      path: path,
      headerByteCount: SafetensorsWriter.headerByteCount(
        tensors: sorted.count, longestName: sorted.map(\.name.utf8.count).max() ?? 0))
    for tensor in sorted { try writer.write(tensor.name, .f32, shape: tensor.shape, tensor.values) }
    try writer.finish()
  }

  /// Reads the parameters of a PEFT folder into this set, whose configuration came from the same folder.
  ///
  /// - Throws: `AdapterError` when a tensor is missing, is one too many, or has another shape.
  public func load(from directory: String) throws {
    let path = "\(directory)/\(Self.weightsName)"
    let file = try SafetensorsFile(path: path)
    let expected = namedTensors
    let names = Set(expected.map(\.name))
    for name in file.tensorNames where !names.contains(name) {
      throw AdapterError.unexpectedTensor(
        file: path, tensor: name, reason: "belongs to no wrapped layer of this model")
    }
    for part in expected {
      let name = part.name
      guard let tensor = file.tensor(name) else { throw AdapterError.missingTensor(file: path, tensor: name) }
      guard tensor.shape == part.shape else {
        throw AdapterError.wrongShape(file: path, tensor: name, found: tensor.shape, expected: part.shape)
      }
      guard [.f32, .f16, .bf16].contains(tensor.elementType) else {
        throw AdapterError.unexpectedTensor(
          file: path, tensor: name, reason: "has type \(tensor.elementType.rawValue), expected F32, F16 or BF16")
      }
      var values = [Float](repeating: 0, count: tensor.elementCount)
      values.withUnsafeMutableBufferPointer { tensor.copyFloats(range: 0..<$0.count, into: $0) }
      part.assign(values)
    }
  }
}

extension LowRankConfiguration {
  /// What `adapter_config.json` in `directory` says.
  public static func load(from directory: String) throws -> LowRankConfiguration {
    let file = try PEFTAdapterConfig.load(directory: directory)
    let targets: TargetModules =
      switch file.targetModules {
      case .names(let names): .names(names)
      case .pattern(let pattern): pattern == "all-linear" ? .allLinear : .pattern(pattern)
      }
    return LowRankConfiguration(
      rank: file.rank, alpha: file.alpha, dropout: file.dropout, targetModules: targets, useRSLoRA: file.useRSLoRA)
  }

  func peftConfiguration(baseModel: String) -> PEFTAdapterConfig {
    let targets: PEFTAdapterConfig.TargetModules =
      switch targetModules {
      case .names(let names): .names(names)
      case .allLinear: .names(LinearModule.allCases.map(\.rawValue))
      case .pattern(let pattern): .pattern(pattern)
      }
    return PEFTAdapterConfig(
      rank: rank, alpha: alpha, dropout: dropout, targetModules: targets, useRSLoRA: useRSLoRA,
      baseModel: baseModel)
  }
}
