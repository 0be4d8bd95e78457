/// Reads numbers, texts and values one after another, never beyond the end.
struct GGUFReader {
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
  /// - Parameter most: what no real file reaches, so that a damaged one does not fill the memory
  mutating func count(_ place: String, smallest: Int, most: Int = .max) throws -> Int {
    let count: UInt64 = try read(place)
    guard count <= UInt64((bytes.count - position) / smallest) else {
      throw GGUFError.badValue(file: file, place: place, reason: "\(count) is more than the file can hold")
    }
    guard count <= UInt64(most) else {
      throw GGUFError.badValue(file: file, place: place, reason: "\(count) is more than the \(most) that are allowed")
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
        "\(GGMLType.name(of: code).map { "type \($0)" } ?? "type number \(code)") cannot be read (these can: "
          + GGMLType.allCases.map(\.name).joined(separator: ", ") + "); take a file of one of them, such as Q4_K_M")
    }
    guard shape[shape.count - 1] % type.blockSize == 0 else {
      throw failure("rows of \(shape[shape.count - 1]) are no multiple of the block of \(type.blockSize)")
    }
    let offset: UInt64 = try read(place)
    guard offset <= UInt64(bytes.count) else { throw GGUFError.truncated(file: file, place: place) }
    return (name, shape, type, Int(offset), elements / type.blockSize * type.blockByteCount)
  }
}
