/// A metadata value as it is written: GGUF gives every number a width of its own.
public indirect enum GGUFField: Sendable, Equatable {
  case uint8(UInt8)
  case int8(Int8)
  case uint16(UInt16)
  case int16(Int16)
  case uint32(UInt32)
  case int32(Int32)
  case float32(Float)
  case bool(Bool)
  case string(String)
  case uint64(UInt64)
  case int64(Int64)
  case float64(Double)
  case uint8s([UInt8])
  case int8s([Int8])
  case uint16s([UInt16])
  case int16s([Int16])
  case uint32s([UInt32])
  case int32s([Int32])
  case float32s([Float])
  case bools([Bool])
  case strings([String])
  case uint64s([UInt64])
  case int64s([Int64])
  case float64s([Double])
  /// An array of arrays.
  case arrays([GGUFField])

  /// Number of the type in the file.
  var type: UInt32 {
    switch self {
    case .uint8: 0
    case .int8: 1
    case .uint16: 2
    case .int16: 3
    case .uint32: 4
    case .int32: 5
    case .float32: 6
    case .bool: 7
    case .string: 8
    case .uint64: 10
    case .int64: 11
    case .float64: 12
    default: 9
    }
  }

  /// The value without its type.
  func write(to file: OutputFile) throws {
    switch self {
    case .uint8(let value): try file.append(number: value)
    case .int8(let value): try file.append(number: value)
    case .uint16(let value): try file.append(number: value)
    case .int16(let value): try file.append(number: value)
    case .uint32(let value): try file.append(number: value)
    case .int32(let value): try file.append(number: value)
    case .float32(let value): try file.append(number: value.bitPattern)
    case .bool(let value): try file.append(number: value ? 1 : 0 as UInt8)
    case .string(let value): try file.append(text: value)
    case .uint64(let value): try file.append(number: value)
    case .int64(let value): try file.append(number: value)
    case .float64(let value): try file.append(number: value.bitPattern)
    case .uint8s(let values): try file.append(array: values, of: 0) { try file.append(number: $0) }
    case .int8s(let values): try file.append(array: values, of: 1) { try file.append(number: $0) }
    case .uint16s(let values): try file.append(array: values, of: 2) { try file.append(number: $0) }
    case .int16s(let values): try file.append(array: values, of: 3) { try file.append(number: $0) }
    case .uint32s(let values): try file.append(array: values, of: 4) { try file.append(number: $0) }
    case .int32s(let values): try file.append(array: values, of: 5) { try file.append(number: $0) }
    case .float32s(let values): try file.append(array: values, of: 6) { try file.append(number: $0.bitPattern) }
    case .bools(let values): try file.append(array: values, of: 7) { try file.append(number: $0 ? 1 : 0 as UInt8) }
    case .strings(let values): try file.append(array: values, of: 8) { try file.append(text: $0) }
    case .uint64s(let values): try file.append(array: values, of: 10) { try file.append(number: $0) }
    case .int64s(let values): try file.append(array: values, of: 11) { try file.append(number: $0) }
    case .float64s(let values): try file.append(array: values, of: 12) { try file.append(number: $0.bitPattern) }
    case .arrays(let values):
      precondition(values.allSatisfy { $0.type == 9 }, "elements of an array have one type")
      try file.append(array: values, of: 9) { try $0.write(to: file) }
    }
  }
}

extension OutputFile {
  func append<T: FixedWidthInteger>(number: T) throws {
    try withUnsafeBytes(of: number.littleEndian) { try append($0) }
  }

  func append(text: String) throws {
    let bytes = Array(text.utf8)
    try append(number: UInt64(bytes.count))
    try append(bytes)
  }

  fileprivate func append<T>(array: [T], of type: UInt32, _ body: (T) throws -> Void) throws {
    try append(number: type)
    try append(number: UInt64(array.count))
    for element in array { try body(element) }
  }
}
