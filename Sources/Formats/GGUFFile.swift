import Foundation

/// Every way in which a GGUF file can be wrong, or beyond this reader.
public enum GGUFError: Error, CustomStringConvertible {
  case notGGUF(file: String)
  case unsupportedVersion(file: String, version: UInt32)
  case truncated(file: String, place: String)
  case badValue(file: String, place: String, reason: String)

  public var description: String {
    switch self {
    case .notGGUF(let file): "\(file): not a GGUF file"
    case .unsupportedVersion(let file, let version):
      "\(file): GGUF version \(version) is not supported, only little-endian 2 and 3"
    case .truncated(let file, let place):
      "\(file): \(place) lies beyond the end of the file\n       the file is damaged or incomplete; download it again"
    case .badValue(let file, let place, let reason): "\(file): \(place): \(reason)"
    }
  }
}

/// A metadata value.
public enum GGUFValue: Sendable, Equatable {
  case integer(Int)
  case number(Double)
  case bool(Bool)
  case string(String)
  case array([GGUFValue])

  public var intValue: Int? { if case .integer(let value) = self { value } else { nil } }
  public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
  public var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var arrayValue: [GGUFValue]? { if case .array(let value) = self { value } else { nil } }
  public var doubleValue: Double? {
    switch self {
    case .number(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }
}

/// A tensor of a GGUF file.
public struct GGUFTensor: Sendable {
  public let name: String
  public let type: GGMLType
  /// Outermost dimension first (the file has them the other way round).
  public let shape: [Int]
  public let byteOffset: Int
  public let byteCount: Int

  public var rows: Int { shape.dropLast().reduce(1, *) }
  public var columns: Int { shape.last ?? 1 }
}

/// A GGUF file, version 2 or 3, validated when it is opened.
///
/// Source: the GGUF specification in ggml-org/ggml, `docs/gguf.md`.
public final class GGUFFile: Sendable {
  public let path: String
  public let metadata: [String: GGUFValue]
  public let metadataKeys: [String]
  public let tensors: [GGUFTensor]
  private let file: MappedFile
  private let places: [String: Int]

  /// Whether the file at `path` begins as a GGUF file does.
  public static func isGGUF(_ path: String) -> Bool {
    guard let file = try? MappedFile(path: path) else { return false }
    return withExtendedLifetime(file) { file.bytes.prefix(4).elementsEqual("GGUF".utf8) }
  }

  public init(path: String) throws {
    self.path = path
    file = try MappedFile(path: path)
    guard file.byteCount >= 24, file.bytes[0..<4].elementsEqual("GGUF".utf8) else {
      throw GGUFError.notGGUF(file: path)
    }
    var reader = Reader(bytes: file.bytes, file: path, position: 4)
    let version: UInt32 = try reader.read("version")
    guard version == 2 || version == 3 else { throw GGUFError.unsupportedVersion(file: path, version: version) }
    // A tensor takes at least 24 bytes, a metadata entry at least 12: more than that cannot be in the file.
    let tensorCount = try reader.count("tensor count", smallest: 24)
    let metadataCount = try reader.count("metadata count", smallest: 12)
    var metadata: [String: GGUFValue] = [:]
    var keys: [String] = []
    for index in 0..<metadataCount {
      let key = try reader.string("metadata key \(index)")
      guard !TensorNaming.isUnprintable(key) else {
        throw GGUFError.badValue(file: path, place: "metadata key \(index)", reason: "holds control characters")
      }
      guard metadata[key] == nil else {
        throw GGUFError.badValue(file: path, place: "metadata \(key)", reason: "occurs twice")
      }
      let type: UInt32 = try reader.read("type of \(key)")
      metadata[key] = try reader.value(type, place: key, depth: 0)
      try reader.checkLength(key)
      keys.append(key)
    }
    let alignment = metadata["general.alignment"]?.intValue ?? 32
    guard alignment >= 1, alignment <= 1 << 20, alignment & (alignment - 1) == 0 else {
      throw GGUFError.badValue(
        file: path, place: "general.alignment", reason: "is \(alignment), expected a power of two")
    }
    var headers: [(name: String, shape: [Int], type: GGMLType, offset: Int, byteCount: Int)] = []
    var places: [String: Int] = [:]
    for index in 0..<tensorCount {
      let header = try reader.tensorHeader(index)
      guard places.updateValue(index, forKey: header.name) == nil else {
        throw GGUFError.badValue(file: path, place: "tensor \(header.name)", reason: "occurs twice")
      }
      headers.append(header)
      try reader.checkLength("tensor \(header.name)")
    }
    let dataStart = (reader.position + alignment - 1) / alignment * alignment
    let size = file.byteCount
    tensors = try headers.map { header in
      let place = "tensor \(header.name)"
      guard header.offset % alignment == 0 else {
        throw GGUFError.badValue(
          file: path, place: place, reason: "offset \(header.offset) is not a multiple of \(alignment)")
      }
      let (end, overflow) = header.offset.addingReportingOverflow(header.byteCount)
      guard !overflow, dataStart <= size, end <= size - dataStart else {
        throw GGUFError.truncated(file: path, place: place)
      }
      return GGUFTensor(
        name: header.name, type: header.type, shape: header.shape, byteOffset: dataStart + header.offset,
        byteCount: header.byteCount)
    }
    let sorted = tensors.sorted { $0.byteOffset < $1.byteOffset }
    for (first, second) in zip(sorted, sorted.dropFirst()) where first.byteOffset + first.byteCount > second.byteOffset
    {
      throw GGUFError.badValue(file: path, place: "tensor \(second.name)", reason: "overlaps \(first.name)")
    }
    self.metadata = metadata
    metadataKeys = keys
    self.places = places
  }

  public func tensor(_ name: String) -> GGUFTensor? { places[name].map { tensors[$0] } }

  /// Floats of some rows of a tensor, `[rows.count, columns]`.
  public func dequantize(_ tensor: GGUFTensor, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>) {
    let rowBytes = tensor.columns / tensor.type.blockSize * tensor.type.blockByteCount
    precondition(rows.upperBound <= tensor.rows && target.count >= rows.count * tensor.columns, "rows in bounds")
    let start = tensor.byteOffset + rows.lowerBound * rowBytes
    let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[start..<start + rows.count * rowBytes])
    tensor.type.dequantize(bytes, into: UnsafeMutableBufferPointer(rebasing: target[0..<rows.count * tensor.columns]))
  }

  /// Drops the pages of a tensor that has been read.
  public func dropPages(of tensor: GGUFTensor) {
    file.dropPages(offset: tensor.byteOffset, count: tensor.byteCount)
  }

  private struct Reader {
    let bytes: UnsafeRawBufferPointer
    let file: String
    var position: Int
    /// Elements that arrays may still have.
    var elementsLeft = 1 << 21
    /// As in safetensors. This and the bound on elements keep a damaged file from filling the memory.
    static let longestHeader = 100_000_000

    func checkLength(_ place: String) throws {
      guard position <= Self.longestHeader else {
        throw GGUFError.badValue(
          file: file, place: place, reason: "ends beyond the first \(Self.longestHeader) bytes, which is too far")
      }
    }

    mutating func read<T: FixedWidthInteger>(_ place: String) throws -> T {
      guard bytes.count - position >= MemoryLayout<T>.size else {
        throw GGUFError.truncated(file: file, place: place)
      }
      defer { position += MemoryLayout<T>.size }
      return T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    /// A count of things that take at least `smallest` bytes each in the rest of the file.
    mutating func count(_ place: String, smallest: Int) throws -> Int {
      let count: UInt64 = try read(place)
      guard count <= UInt64((bytes.count - position) / smallest) else {
        throw GGUFError.badValue(file: file, place: place, reason: "\(count) is more than the file can hold")
      }
      return Int(count)
    }

    mutating func string(_ place: String) throws -> String {
      let count = try count("length of \(place)", smallest: 1)
      defer { position += count }
      guard position + count <= Self.longestHeader else {
        throw GGUFError.badValue(file: file, place: place, reason: "a text of \(count) bytes ends too far in the file")
      }
      return String(decoding: bytes[position..<position + count], as: UTF8.self)
    }

    mutating func value(_ type: UInt32, place: String, depth: Int) throws -> GGUFValue {
      switch type {
      case 0: return .integer(Int(try read(place) as UInt8))
      case 1: return .integer(Int(try read(place) as Int8))
      case 2: return .integer(Int(try read(place) as UInt16))
      case 3: return .integer(Int(try read(place) as Int16))
      case 4: return .integer(Int(try read(place) as UInt32))
      case 5: return .integer(Int(try read(place) as Int32))
      case 6: return .number(Double(Float(bitPattern: try read(place))))
      case 7: return .bool(try read(place) as UInt8 != 0)
      case 8: return .string(try string(place))
      case 9:
        guard depth < 4 else {
          throw GGUFError.badValue(file: file, place: place, reason: "arrays are nested too deep")
        }
        let element: UInt32 = try read(place)
        let smallest = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8]
        guard element < smallest.count else {
          throw GGUFError.badValue(file: file, place: place, reason: "unknown element type \(element)")
        }
        let count = try count("length of \(place)", smallest: smallest[Int(element)])
        guard count <= elementsLeft else {
          throw GGUFError.badValue(file: file, place: place, reason: "\(count) elements are too many")
        }
        elementsLeft -= count
        var values: [GGUFValue] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try value(element, place: place, depth: depth + 1)) }
        return .array(values)
      case 10:
        let value: UInt64 = try read(place)
        return value <= UInt64(Int.max) ? .integer(Int(value)) : .number(Double(value))
      case 11: return .integer(Int(try read(place) as Int64))
      case 12: return .number(Double(bitPattern: try read(place)))
      default: throw GGUFError.badValue(file: file, place: place, reason: "unknown value type \(type)")
      }
    }

    mutating func tensorHeader(_ index: Int) throws -> (
      name: String, shape: [Int], type: GGMLType, offset: Int, byteCount: Int
    ) {
      let name = try string("name of tensor \(index)")
      guard !TensorNaming.isUnprintable(name) else {
        throw GGUFError.badValue(file: file, place: "name of tensor \(index)", reason: "holds control characters")
      }
      let place = "tensor \(name)"
      func failure(_ reason: String) -> GGUFError { .badValue(file: file, place: place, reason: reason) }
      let dimensionCount: UInt32 = try read(place)
      guard dimensionCount >= 1, dimensionCount <= 4 else { throw failure("has \(dimensionCount) dimensions") }
      var shape: [Int] = []
      var elements = 1
      for _ in 0..<dimensionCount {
        let size: UInt64 = try read(place)
        guard size >= 1, size <= UInt64(Int32.max) else { throw failure("a dimension is \(size)") }
        let (product, overflow) = elements.multipliedReportingOverflow(by: Int(size))
        guard !overflow, product <= 1 << 48 else { throw failure("its size overflows") }
        elements = product
        shape.insert(Int(size), at: 0)
      }
      let code: UInt32 = try read(place)
      guard let type = GGMLType(rawValue: code) else {
        throw failure(
          "type number \(code) is not supported (\(GGMLType.allCases.map(\.name).joined(separator: ", ")))")
      }
      guard shape[shape.count - 1] % type.blockSize == 0 else {
        throw failure("rows of \(shape[shape.count - 1]) are no multiple of the block of \(type.blockSize)")
      }
      let offset: UInt64 = try read(place)
      guard offset <= UInt64(bytes.count) else { throw GGUFError.truncated(file: file, place: place) }
      return (name, shape, type, Int(offset), elements / type.blockSize * type.blockByteCount)
    }
  }
}
