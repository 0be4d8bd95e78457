import Architectures
import Formats
import FoundationEssentials
import Kernels
import Synchronization

/// The frozen weights of a model, mapped: a folder in bitsandbytes', compressed-tensors' or the plain layout.
public final class WeightStore: Sendable {
  public let directory: String
  public let description: ModelDescription
  /// `config.json`, as far as the weights do not contradict it.
  public let configurationJSON: JSONValue
  /// What the user should know.
  public let warnings: [String]
  let checkpoint: Checkpoint
  let names: TensorNames
  /// Copies of weights that lie the other way round.
  private let copies = Mutex<[MappedFile]>([])

  /// What cannot be used.
  public struct Invalid: Error, CustomStringConvertible {
    let directory: String
    let reason: String
    public var description: String { "\(directory): \(reason)" }

    public init(directory: String, reason: String) {
      self.directory = directory
      self.reason = reason
    }
  }

  /// Whether the model is to say another number of labels than its configuration has.
  private let hasOtherLabels: Bool

  private init(directory: String, model: DescribedCheckpoint, checkpoint: Checkpoint, hasOtherLabels: Bool) {
    self.directory = directory
    self.hasOtherLabels = hasOtherLabels
    description = model.description
    configurationJSON = model.json
    warnings = model.warnings
    self.checkpoint = checkpoint
    names = model.names
  }

  /// Opens a folder; tensors are checked against the configuration when they are asked for.
  ///
  /// - Parameter labelling: what the model is to say of texts or tokens, instead of what its configuration has
  public static func open(_ directory: String, labelling: Labelling? = nil) throws -> WeightStore {
    let checkpoint = try Checkpoint.open(directory)
    let path = "\(directory)/config.json"
    let json = try JSONValue.parse(contentsOf: path)
    if let quantization = ForeignQuantization(json), let reason = quantization.reason {
      throw Invalid(directory: directory, reason: reason)
    }
    let model = try DescribedCheckpoint(json: json, file: path, checkpoint: checkpoint, labelling: labelling)
    try model.names.checkParts(of: model.description, in: checkpoint.tensorNames, file: directory)
    let head = model.description.head
    if head.labels?.projectionActivation == .tanh,
      let pooler = head.projection.map({ model.names.stored($0.weight.name) }),
      !checkpoint.tensorNames.contains(where: { $0.hasPrefix(pooler) })
    {
      throw Invalid(
        directory: directory,
        reason: "tensor \(pooler) is missing, of which labels of whole texts are made\n       "
          + "take a checkpoint with a pooler, such as one of BertModel; labels of words (--task token_cls) need none")
    }
    let hasOtherLabels = try labelling.map {
      try ModelDescription(json: json, file: path).labelling?.labels.count != $0.labels.count
    }
    return WeightStore(
      directory: directory, model: model, checkpoint: checkpoint, hasOtherLabels: hasOtherLabels ?? false)
  }

  /// `nf4`, `int8`, `int4`, `f16`, ...: how the first linear layer is kept.
  public var format: String {
    let stem = names.stored(description.layers[0].linears[0].weight.name)
    if checkpoint.tensor("\(stem)_packed") != nil { return "int4" }
    switch checkpoint.tensor(stem)?.elementType {
    case _ where checkpoint.tensor(Self.stateName(stem)) != nil: return "nf4"
    case .i8: return "int8"
    case .some(let type): return type.rawValue.lowercased()
    case nil: return "unknown"
    }
  }

  /// Bytes of all tensors.
  public var byteCount: Int { checkpoint.tensorNames.reduce(0) { $0 + (checkpoint.tensor($1)?.byteCount ?? 0) } }

  /// Whether the folder has a weight. That of a head for another number of labels is no part of a model that was asked for
  /// with labels of its own.
  public func holds(_ wanted: TensorDescription) -> Bool {
    guard let tensor = checkpoint.tensor(names.stored(wanted.name)) else { return false }
    return !hasOtherLabels || tensor.shape == wanted.shape
  }

  /// A norm's weights or a bias.
  public func vector(_ wanted: TensorDescription) throws -> [Float] {
    let tensor = try checkpoint.requiredTensor(names.stored(wanted.name), shape: wanted.shape)
    defer { Self.dropPages(around: tensor) }
    return tensor.floats()
  }

  /// Drops what reading a small tensor has brought in. Linux 6.18 maps the whole of a large folio around a fault, 2 MB
  /// for a hundred bytes: opening a store of 4 GB would otherwise take half a gigabyte at its peak.
  private static func dropPages(around tensor: StoredTensor) {
    tensor.file.dropPages(offset: 0, count: tensor.file.byteCount)
  }

  /// Drops all pages; they come back from the file when touched.
  public func dropPages() {
    for name in checkpoint.tensorNames {
      if let tensor = checkpoint.tensor(name) {
        tensor.file.dropPages(offset: tensor.byteOffset, count: tensor.byteCount)
      }
    }
  }

  /// Drops the pages of a tensor's codes; they come back from the file when touched.
  package func dropPages(of wanted: TensorDescription) {
    let name = names.stored(wanted.name)
    for key in [name, "\(name)_packed"] {
      if let tensor = checkpoint.tensor(key) {
        tensor.file.dropPages(offset: tensor.byteOffset, count: tensor.byteCount)
      }
    }
  }

  private static func stateName(_ name: String) -> String { "\(name).quant_state.bitsandbytes__nf4" }

  /// A matrix, whatever its layout.
  public func matrix(_ wanted: TensorDescription) throws -> StoredMatrix {
    let full = names.stored(wanted.name)
    let (rows, columns) = (wanted.shape[0], wanted.shape[1])
    if checkpoint.tensor("\(full)_packed") != nil { return try int4(full, rows: rows, columns: columns) }
    let tensor = try checkpoint.requiredTensor(full)
    // The packed bytes may be called any type (`bnb_4bit_quant_storage`).
    if tensor.elementType == .u8 || checkpoint.tensor(Self.stateName(full)) != nil {
      return try nf4(tensor, rows: rows, columns: columns)
    }
    let isInteger = tensor.elementType == .i8
    let checked = try checkpoint.requiredTensor(full, shape: isInteger ? wanted.shape : wanted.fileShape)
    let codes: StoredMatrix.Codes
    switch checked.elementType {
    case .f32: codes = .f32(try elements(checked, isTransposed: wanted.isTransposed))
    case .f16: codes = .f16(try elements(checked, isTransposed: wanted.isTransposed))
    case .bf16: codes = .bf16(try elements(checked, isTransposed: wanted.isTransposed))
    case .i8:
      try checkSymmetric(full)
      let scale = try checkpoint.requiredTensor("\(full)_scale")
      guard scale.elementCount == rows else {
        throw SafetensorsError.wrongShape(
          file: directory, tensor: scale.name, found: scale.shape, expected: [rows, 1])
      }
      codes = .int8(try pointer(checked), scales: try scales(scale))
    default:
      throw Invalid(
        directory: directory, reason: "tensor \(full) has type \(checked.elementType.rawValue), which no layout uses")
    }
    return StoredMatrix(rows: rows, columns: columns, codes: codes)
  }

  /// The elements of a plain weight as the model uses them: where its file has rows and columns exchanged, those of a copy
  /// in a file without a name.
  private func elements<T>(_ tensor: StoredTensor, isTransposed: Bool) throws -> UnsafePointer<T> {
    let base: UnsafePointer<T> = try pointer(tensor)
    guard isTransposed else { return base }
    let copy = try TransposedCopy.make(base, rows: tensor.shape[0], columns: tensor.shape[1])
    copies.withLock { $0.append(copy) }
    guard let address = copy.bytes.baseAddress else { return base }
    return address.assumingMemoryBound(to: T.self)
  }

  /// Refuses what compressed-tensors may add to codes and scales.
  private func checkSymmetric(_ name: String) throws {
    if let order = checkpoint.tensor("\(name)_g_idx") {
      throw Invalid(
        directory: directory, reason: "tensor \(order.name): groups in activation order are not supported")
    }
    if let zero = checkpoint.tensor("\(name)_zero_point"), zero.bytes.contains(where: { $0 != 0 }) {
      throw Invalid(
        directory: directory,
        reason: "tensor \(zero.name): asymmetric quantisation is not supported, expected symmetric")
    }
  }

  private func int4(_ name: String, rows: Int, columns: Int) throws -> StoredMatrix {
    try checkSymmetric(name)
    let packed = try checkpoint.requiredTensor("\(name)_packed", shape: [rows, columns / 8])
    let scale = try checkpoint.requiredTensor("\(name)_scale")
    let groups = scale.elementCount / max(rows, 1)
    guard packed.elementType == .i32, scale.shape.first == rows, groups > 0, columns % groups == 0,
      columns / groups % 32 == 0
    else {
      throw Invalid(
        directory: directory,
        reason: "tensor \(name): scales of shape \(scale.shape) do not make groups of a multiple of 32 columns")
    }
    return StoredMatrix(
      rows: rows, columns: columns,
      codes: .int4(try pointer(packed), scales: try scales(scale), groupSize: columns / groups))
  }

  private func nf4(_ tensor: StoredTensor, rows: Int, columns: Int) throws -> StoredMatrix {
    let name = tensor.name
    if checkpoint.tensor("\(name).quant_state.bitsandbytes__fp4") != nil {
      throw Invalid(
        directory: directory, reason: "tensor \(name): bitsandbytes type fp4 is not supported, expected nf4")
    }
    let state = try checkpoint.requiredTensor(Self.stateName(name))
    let json = try JSONValue.parse(state.bytes, file: "\(directory): \(state.name)")
    let blockSize = json["blocksize"]?.intValue ?? 0
    let shape = json["shape"]?.arrayValue?.compactMap(\.intValue) ?? []
    guard shape == [rows, columns], tensor.byteCount == rows * columns / 2 else {
      throw SafetensorsError.wrongShape(file: directory, tensor: name, found: shape, expected: [rows, columns])
    }
    guard blockSize >= 32, blockSize % 32 == 0, blockSize <= 4096 else {
      throw Invalid(directory: directory, reason: "tensor \(name): block size \(blockSize) is not supported")
    }
    let blocks = (rows * columns + blockSize - 1) / blockSize
    let absmax = try checkpoint.requiredTensor("\(name).absmax", shape: [blocks])
    let codebook = try checkpoint.requiredTensor("\(name).quant_map", shape: [16])
    defer { Self.dropPages(around: state) }
    let values = try floats(codebook)
    guard (0..<16).allSatisfy({ abs(values[$0]) <= 1 }) else {
      throw Invalid(directory: directory, reason: "tensor \(codebook.name) has values beyond -1 and 1")
    }
    let maxima: StoredMatrix.Absmax
    switch absmax.elementType {
    case .f32: maxima = .f32(try pointer(absmax))
    case .u8:
      let nestedBlockSize = json["nested_blocksize"]?.intValue ?? 0
      guard (1...1 << 20).contains(nestedBlockSize), let offset = json["nested_offset"]?.doubleValue else {
        throw Invalid(
          directory: directory,
          reason: "tensor \(state.name): nested_blocksize or nested_offset is missing or out of range")
      }
      let nested = try checkpoint.requiredTensor(
        "\(name).nested_absmax", shape: [(blocks + nestedBlockSize - 1) / nestedBlockSize])
      let map = try checkpoint.requiredTensor("\(name).nested_quant_map", shape: [256])
      maxima = .nested(
        codes: try pointer(absmax), codebook: try floats(map), absmax: try floats(nested), blockSize: nestedBlockSize,
        offset: Float(offset))
    default:
      throw Invalid(
        directory: directory,
        reason: "tensor \(absmax.name) has type \(absmax.elementType.rawValue), expected F32 or U8")
    }
    return StoredMatrix(
      rows: rows, columns: columns,
      codes: .nf4(try pointer(tensor), absmax: maxima, blockSize: blockSize, codebook: values))
  }

  private func floats(_ tensor: StoredTensor) throws -> UnsafePointer<Float> {
    guard tensor.elementType == .f32 else {
      throw Invalid(
        directory: directory, reason: "tensor \(tensor.name) has type \(tensor.elementType.rawValue), expected F32")
    }
    return try pointer(tensor)
  }

  private func scales(_ tensor: StoredTensor) throws -> StoredMatrix.Scales {
    switch tensor.elementType {
    case .f32: .f32(try pointer(tensor))
    case .f16: .f16(try pointer(tensor))
    case .bf16: .bf16(try pointer(tensor))
    default:
      throw Invalid(
        directory: directory,
        reason: "tensor \(tensor.name) has type \(tensor.elementType.rawValue), expected F32, F16 or BF16")
    }
  }

  private func pointer<T>(_ tensor: StoredTensor) throws -> UnsafePointer<T> {
    guard let base = tensor.bytes.baseAddress, Int(bitPattern: base) % MemoryLayout<T>.alignment == 0 else {
      throw Invalid(
        directory: directory,
        reason:
          "tensor \(tensor.name) is empty or not aligned to \(MemoryLayout<T>.alignment) bytes; save the model again")
    }
    return base.assumingMemoryBound(to: T.self)
  }
}
