import Formats
import Foundation
import Testing

/// Opens a file of these bytes, which is gone afterwards.
private func opened(_ bytes: [UInt8]) throws -> SafetensorsFile {
  try withTemporaryFolder { folder in
    let path = "\(folder)/model.safetensors"
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return try SafetensorsFile(path: path)
  }
}

/// Opens what `write` writes, likewise.
private func written(headerByteCount: Int, _ write: (SafetensorsWriter) throws -> Void) throws -> SafetensorsFile {
  try withTemporaryFolder { folder in
    let path = "\(folder)/model.safetensors"
    let writer = try SafetensorsWriter(path: path, headerByteCount: headerByteCount)
    try write(writer)
    try writer.finish()
    return try SafetensorsFile(path: path)
  }
}

private func file(_ header: String, data: Int) -> [UInt8] {
  withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) } + Array(header.utf8)
    + [UInt8](repeating: 1, count: data)
}

private let valid =
  #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]}}"#

@Test func aValidFileIsRead() throws {
  let safetensors = try opened(file(valid, data: 12))
  #expect(safetensors.tensorNames == ["a", "b"])
  #expect(safetensors.tensor("a")?.shape == [2])
}

@Test func everyTruncationIsRefused() {
  let bytes = file(valid, data: 12)
  for count in 0..<bytes.count {
    #expect(throws: (any Error).self) { try opened(Array(bytes[..<count])) }
  }
}

@Test(arguments: [
  (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#, 8),
  (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12),
  (#"{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#, 8),
  (#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
  (#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#, 8),
  (#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8),
  (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1),
  (#"{"a\nb":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1),
  (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775807,9223372036854775807]}}"#, 1),
  (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}"#, 1), (#"{"a":{"dtype":"U8","shape":[1]}}"#, 1),
  (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 2), (#"{"__metadata__":{"a":1}}"#, 0), ("[]", 0),
  (String(repeating: "[", count: 100_000), 0), ("[" + String(repeating: "0,", count: 1 << 20) + "0]", 0),
  ("not json", 8),
])
func aMalformedHeaderIsRefused(header: String, data: Int) {
  #expect(throws: SafetensorsError.self) { try opened(file(header, data: data)) }
}

@Test func aHeaderLongerThanTheFileIsRefused() {
  #expect(throws: SafetensorsError.self) {
    try opened([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1, 2, 3])
  }
}

@Test func whatIsWrittenIsReadBack() throws {
  let size = SafetensorsWriter.headerByteCount(tensors: 2, longestName: 8)
  let read = try written(headerByteCount: size) { writer in
    try writer.write("x", .f32, shape: [2, 2], [1, 2, 3, 4] as [Float])
    try writer.write("y", .u8, shape: [3], [7, 8, 9] as [UInt8])
  }
  #expect(read.tensor("x")?.floats() == [1, 2, 3, 4])
  #expect(read.tensor("y")?.floats() == [7, 8, 9])
}

@Test func halfPrecisionRoundTrips() {
  for bits in UInt16.min...UInt16.max where bits & 0x7C00 != 0x7C00 {
    #expect(HalfPrecision.bits(HalfPrecision.float(bits)) == bits)
  }
}

@Test(arguments: ["", "{", "[1,]", "{\"a\" 1}", "\"\\x\"", "01", "1 2", "nul", "\"\u{1}\""])
func malformedJSONIsRefused(text: String) {
  #expect(throws: JSONError.self) { try JSONValue.parse(text, file: "test") }
}

@Test func jsonKeepsOrderAndEscapes() throws {
  let text = #"{"z":1,"a":[true,null,"ü\n😀"],"m":-1.5e3}"#
  let value = try JSONValue.parse(text, file: "test")
  #expect(value.objectValue?.keys == ["z", "a", "m"])
  #expect(value["m"]?.doubleValue == -1500)
  #expect(try JSONValue.parse(value.serialized(), file: "test") == value)
  #expect(try JSONValue.parse(#""😀""#, file: "test") == .string("😀"))
}

@Test func vectorsOfHalvesAreReadAsSingleOnes() throws {
  let bits = (0..<65_536 + 3).map { UInt16(truncatingIfNeeded: $0) }
  let file = try written(headerByteCount: 256) { try $0.write("x", .f16, shape: [bits.count], bits) }
  let found = try #require(file.tensor("x")).floats()
  #expect(found.map(\.bitPattern) == bits.map { HalfPrecision.float($0).bitPattern })
}
