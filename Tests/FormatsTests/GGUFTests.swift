import Formats
import Foundation
import Testing

@Suite struct GGUFTests {
  @Test(arguments: GGMLType.allCases.map(\.name))
  func blocksBecomeTheFloatsOfTheGGUFPackageBitForBit(type: String) throws {
    let file = try GGUFFile(path: "\(golden)/ggml.gguf")
    let tensor = try #require(file.tensor(type))
    #expect(tensor.type.name == type && tensor.shape == [6, 512])
    var found = [Float](repeating: .nan, count: 6 * 512)
    found.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: 0..<6, into: $0) }
    let expected = try #require(try SafetensorsFile(path: "\(golden)/ggml-expected.safetensors").tensor(type)).floats()
    // Not inside the expectation, which would print all of it.
    let isSame = found.map(\.bitPattern) == expected.map(\.bitPattern)
    #expect(isSame)
    var part = [Float](repeating: .nan, count: 2 * 512)
    part.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: 3..<5, into: $0) }
    let isPart = part == Array(found[3 * 512..<5 * 512])
    #expect(isPart)
  }

  @Test func metadataOfEveryKindIsRead() throws {
    let metadata = try GGUFFile(path: "\(golden)/ggml.gguf").metadata
    #expect(metadata["test.bool"] == .bool(true) && metadata["test.int8"] == .integer(-5))
    #expect(metadata["test.uint16"] == .integer(65535) && metadata["test.uint64"] == .integer(Int.max))
    #expect(metadata["test.float64"] == .number(0.1))
    #expect(metadata["test.nested"] == .array([.array([.integer(1), .integer(2)]), .array([.integer(3)])]))
  }

  @Test func everyTruncationIsRefused() throws {
    try withTemporaryFolder { folder in
      let whole = try #require(FileManager.default.contents(atPath: "\(golden)/ggml.gguf"))
      // The writer fills the last tensor up to the alignment, which its size is a multiple of.
      let header = Array(0..<900)
      for count in header + Array(stride(from: 901, to: whole.count, by: 997)) + [whole.count - 1] {
        try whole.prefix(count).write(to: URL(fileURLWithPath: "\(folder)/cut.gguf"))
        #expect(throws: GGUFError.self, "\(count) bytes") { try GGUFFile(path: "\(folder)/cut.gguf") }
      }
    }
  }

  /// A file of metadata alone.
  private func refusal(_ entries: [(key: String, type: UInt32, value: [UInt8])], version: UInt32 = 3) throws -> String {
    func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
    var data = Array("GGUF".utf8) + bytes(version) + bytes(UInt64(0)) + bytes(UInt64(entries.count))
    for entry in entries {
      data += bytes(UInt64(entry.key.utf8.count)) + Array(entry.key.utf8) + bytes(entry.type) + entry.value
    }
    return try withTemporaryFolder { folder in
      try Data(data).write(to: URL(fileURLWithPath: "\(folder)/made.gguf"))
      return message { _ = try GGUFFile(path: "\(folder)/made.gguf") }
    }
  }

  @Test func damagedMetadataIsRefusedWithItsPlace() throws {
    let alignment = "general.alignment"
    #expect(try refusal([]) == "nothing was thrown")
    #expect(try refusal([], version: 1).contains("version 1 is not supported"))
    #expect(try refusal([], version: 0x0300_0000).contains("little-endian"))
    for value: [UInt8] in [[0, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 64]] {
      #expect(try refusal([(alignment, 4, value)]).contains("general.alignment: is"))
    }
    #expect(try refusal([("a", 7, [1]), ("a", 7, [1])]).contains("metadata a: occurs twice"))
    #expect(try refusal([("a", 99, [1])]).contains("unknown value type 99"))
    #expect(try refusal([("a\n", 7, [1])]).contains("control characters"))
    let long: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 128]
    #expect(try refusal([("a", 8, long)]).contains("more than the file can hold"))
    #expect(try refusal([("a", 9, [4, 0, 0, 0] + long)]).contains("more than the file can hold"))
    let deep = [[UInt8]](repeating: [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], count: 50).flatMap { $0 }
    #expect(try refusal([("a", 9, deep)]).contains("nested too deep"))
  }

  @Test func arraysThatWouldFillTheMemoryAreRefused() throws {
    // An element of one byte takes 24 in memory.
    let count = 5_000_000
    let value: [UInt8] = [0, 0, 0, 0] + withUnsafeBytes(of: UInt64(count).littleEndian) { Array($0) }
    #expect(
      try refusal([("a", 9, value + [UInt8](repeating: 1, count: count))]).contains("5000000 elements are too many"))
  }

  /// A file of one tensor of a type by its number.
  private func refusal(type: UInt32) throws -> String {
    func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
    let parts: [[UInt8]] = [
      Array("GGUF".utf8), bytes(UInt32(3)), bytes(UInt64(1)), bytes(UInt64(0)),
      bytes(UInt64(1)), [0x78], bytes(UInt32(1)), bytes(UInt64(256)), bytes(type), bytes(UInt64(0)),
    ]
    let data = parts.flatMap { $0 }
    return try withTemporaryFolder { folder in
      try Data(data + [UInt8](repeating: 0, count: 2048)).write(to: URL(fileURLWithPath: "\(folder)/made.gguf"))
      return message { _ = try GGUFFile(path: "\(folder)/made.gguf") }
    }
  }

  @Test func typesThatCannotBeReadAreRefusedByTheirName() throws {
    #expect(try refusal(type: 0) == "nothing was thrown")
    #expect(try refusal(type: 16).contains("tensor x: type IQ2_XXS cannot be read (these can: F32, F16, Q4_0"))
    #expect(try refusal(type: 31).contains("type Q4_0_4_4 cannot be read"))
    #expect(try refusal(type: 1000).contains("type number 1000 cannot be read"))
  }

  @Test func onlyTheFirstBytesSayWhatAFileIs() throws {
    try withTemporaryFolder { folder in
      try Data("GGUFx".utf8).write(to: URL(fileURLWithPath: "\(folder)/a"))
      try Data("GGU".utf8).write(to: URL(fileURLWithPath: "\(folder)/b"))
      #expect(mkfifo("\(folder)/pipe", 0o600) == 0)
      #expect(GGUFFile.isGGUF("\(folder)/a"))
      for name in ["b", "pipe", "none", ""] { #expect(!GGUFFile.isGGUF("\(folder)/\(name)")) }
    }
  }
}
