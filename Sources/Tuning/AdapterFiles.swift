import Formats
import Kernels
import Transformer

/// Files of trained matrices, as PEFT lays them out.
enum TrainableFiles {
  static let weightsName = "adapter_model.safetensors"

  /// Writes matrices as an F32 safetensors file, in alphabetical order as PEFT does.
  ///
  /// - Parameter values: which numbers of a matrix
  static func write(_ trainables: [Trainable], _ values: (Trainable) -> [Float], to path: String) throws {
    let sorted = trainables.sorted { $0.name < $1.name }
    let writer = try SafetensorsWriter(
      path: path,
      headerByteCount: SafetensorsWriter.headerByteCount(
        tensors: sorted.count, longestName: sorted.map(\.name.utf8.count).max() ?? 0))
    for entry in sorted { try writer.write(entry.name, .f32, shape: entry.shape, values(entry)) }
    try writer.finish()
  }

  /// Reads matrices.
  ///
  /// - Throws: `AdapterError` when a tensor is missing, is one too many, or has another shape.
  static func read(_ trainables: [Trainable], from path: String) throws {
    let file = try SafetensorsFile(path: path)
    let names = Set(trainables.map(\.name))
    for name in file.tensorNames where !names.contains(name) {
      throw AdapterError.unexpectedTensor(
        file: path, tensor: name, reason: "belongs to no wrapped layer of this model")
    }
    for entry in trainables {
      let name = entry.name
      guard let tensor = file.tensor(name) else { throw AdapterError.missingTensor(file: path, tensor: name) }
      guard tensor.shape == entry.shape else {
        throw AdapterError.wrongShape(file: path, tensor: name, found: tensor.shape, expected: entry.shape)
      }
      guard [.f32, .f16, .bf16].contains(tensor.elementType) else {
        throw AdapterError.unexpectedTensor(
          file: path, tensor: name, reason: "has type \(tensor.elementType.rawValue), expected F32, F16 or BF16")
      }
      var values = [Float](repeating: 0, count: tensor.elementCount)
      values.withUnsafeMutableBufferPointer { tensor.copyFloats(range: 0..<$0.count, into: $0) }
      entry.assign(values)
    }
  }
}

extension Trainables {
  /// Writes the gradient of every matrix, under the names of the matrices.
  public func writeGradients(to path: String) throws {
    try TrainableFiles.write(entries, \.gradientValues, to: path)
  }
}

/// Reading and writing LoRA adapters as PEFT folders: `adapter_config.json` and `adapter_model.safetensors`.
extension LowRankMethod {
  /// PEFT's names: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
  static func tensorName(_ location: LinearLocation, _ part: String) -> String {
    "base_model.model.\(location.name).lora_\(part).weight"
  }

  public func save(to directory: String, baseModel: String) throws {
    try TrainableFiles.write(trainables.entries, \.values, to: "\(directory)/\(TrainableFiles.weightsName)")
    let locations = adapters.map(\.location)
    var targets = TargetModules.shortNames(locations)
    // PEFT would find the short names in the head as well.
    if !trainables.headNames.isDisjoint(with: targets) { targets = locations.map(\.name) }
    var file = configuration.peftConfiguration(baseModel: baseModel, targets: targets, usesConv1D: usesConv1D)
    file.taskType = trainables.taskType
    file.modulesToSave = trainables.modulesToSave
    try file.write(to: directory)
    try trainables.saveHead(to: directory)
  }

  public func load(from directory: String) throws {
    try TrainableFiles.read(trainables.entries, from: "\(directory)/\(TrainableFiles.weightsName)")
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

  /// - Parameters:
  ///   - targets: last parts of the names of the wrapped layers
  ///   - usesConv1D: whether the base keeps its weights transposed
  func peftConfiguration(baseModel: String, targets wrapped: [String], usesConv1D: Bool) -> PEFTAdapterConfig {
    let targets: PEFTAdapterConfig.TargetModules =
      switch targetModules {
      case .names(let names): .names(names)
      case .allLinear, .familyDefault: .names(wrapped)
      case .pattern(let pattern): .pattern(pattern)
      }
    return PEFTAdapterConfig(
      rank: rank, alpha: alpha, dropout: dropout, targetModules: targets, useRSLoRA: useRSLoRA,
      fanInFanOut: usesConv1D, baseModel: baseModel)
  }
}
