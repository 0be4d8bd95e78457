/// A tensor of a GGUF file.
public struct GGUFTensor: Sendable {
  public let name: String
  public let type: GGMLType
  /// Outermost dimension first (the file has them the other way round).
  public let shape: [Int]
  /// Where its data lies in its file, which is one of several when the model is split.
  public let byteOffset: Int
  public let byteCount: Int
  let file: MappedFile

  public var rows: Int { shape.dropLast().reduce(1, *) }
  public var columns: Int { shape.last ?? 1 }
  /// The file that holds it.
  public var path: String { file.path }
  /// Its blocks as they lie in the file.
  public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: file.bytes[byteOffset..<byteOffset + byteCount])
  }
}

/// One file: header, metadata and tensors, all checked.
struct GGUFPart {
  let file: MappedFile
  let metadata: [String: GGUFValue]
  let metadataKeys: [String]
  let tensors: [GGUFTensor]
  static let mostEntries = 1 << 16
  static let mostTensors = 1 << 17

  init(path: String) throws {
    file = try MappedFile(path: path)
    guard file.byteCount >= 24, file.bytes[0..<4].elementsEqual("GGUF".utf8) else {
      throw GGUFError.notGGUF(file: path)
    }
    var reader = GGUFReader(bytes: file.bytes, file: path, position: 4)
    let version: UInt32 = try reader.read("version")
    guard version == 2 || version == 3 else { throw GGUFError.unsupportedVersion(file: path, version: version) }
    // A tensor takes at least 24 bytes, a metadata entry at least 12: more than that cannot be in the file.
    let tensorCount = try reader.count("tensor count", smallest: 24, most: Self.mostTensors)
    let metadataCount = try reader.count("metadata count", smallest: 12, most: Self.mostEntries)
    (metadata, metadataKeys) = try Self.metadata(&reader, count: metadataCount)
    let alignment = metadata["general.alignment"].map { $0.intValue ?? 0 } ?? 32
    guard alignment >= 1, alignment <= 1 << 20, alignment & (alignment - 1) == 0 else {
      throw GGUFError.badValue(
        file: path, place: "general.alignment", reason: "is \(alignment), expected a power of two")
    }
    tensors = try Self.tensors(&reader, count: tensorCount, alignment: alignment, file: file)
    withExtendedLifetime(file) {}
  }

  private static func metadata(_ reader: inout GGUFReader, count: Int) throws -> ([String: GGUFValue], [String]) {
    var metadata: [String: GGUFValue] = [:]
    var keys: [String] = []
    for index in 0..<count {
      let key = try reader.string("metadata key \(index)")
      guard !TensorNaming.isUnprintable(key) else {
        throw GGUFError.badValue(
          file: reader.file, place: "metadata key \(index)", reason: "holds control characters")
      }
      guard metadata[key] == nil else {
        throw GGUFError.badValue(file: reader.file, place: "metadata \(key)", reason: "occurs twice")
      }
      let type: UInt32 = try reader.read("type of \(key)")
      metadata[key] = try reader.value(type, place: key, depth: 0)
      try reader.checkLength(key)
      keys.append(key)
    }
    return (metadata, keys)
  }

  private static func tensors(_ reader: inout GGUFReader, count: Int, alignment: Int, file: MappedFile) throws
    -> [GGUFTensor]
  {
    let path = file.path
    var headers: [(name: String, shape: [Int], type: GGMLType, offset: Int, byteCount: Int)] = []
    var names: Set<String> = []
    for index in 0..<count {
      let header = try reader.tensorHeader(index)
      guard names.insert(header.name).inserted else {
        throw GGUFError.badValue(file: path, place: "tensor \(header.name)", reason: "occurs twice")
      }
      headers.append(header)
      try reader.checkLength("tensor \(header.name)")
    }
    let dataStart = (reader.position + alignment - 1) / alignment * alignment
    let tensors = try headers.map { header in
      let place = "tensor \(header.name)"
      guard header.offset % alignment == 0 else {
        throw GGUFError.badValue(
          file: path, place: place, reason: "offset \(header.offset) is not a multiple of \(alignment)")
      }
      let (end, overflow) = header.offset.addingReportingOverflow(header.byteCount)
      guard !overflow, dataStart <= file.byteCount, end <= file.byteCount - dataStart else {
        throw GGUFError.truncated(file: path, place: place)
      }
      return GGUFTensor(
        name: header.name, type: header.type, shape: header.shape, byteOffset: dataStart + header.offset,
        byteCount: header.byteCount, file: file)
    }
    let order = tensors.indices.sorted { tensors[$0].byteOffset < tensors[$1].byteOffset }
    for (first, second) in zip(order, order.dropFirst())
    where tensors[first].byteOffset + tensors[first].byteCount > tensors[second].byteOffset {
      throw GGUFError.badValue(
        file: path, place: "tensor \(tensors[second].name)", reason: "overlaps \(tensors[first].name)")
    }
    return tensors
  }
}
