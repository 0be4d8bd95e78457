import Formats
import Foundation
import Testing

@Suite struct GGUFWriterTests {
  @Test(arguments: ["F32", "F16", "BF16", "Q8_0", "Q4_1"])
  func rowsBecomeTheBlocksOfTheGGUFPackageByteForByte(name: String) throws {
    let file = try SafetensorsFile(path: "\(golden)/ggml-encoded.safetensors")
    let rows = try #require(file.tensor("rows"))
    let type = try #require(GGMLType.encodable.first { $0.name == name })
    let expected = Array(try #require(file.tensor(name)).bytes)
    let values = rows.floats()
    var found = [UInt8](repeating: 0xAA, count: type.byteCount(elements: values.count))
    values.withUnsafeBufferPointer { values in found.withUnsafeMutableBytes { type.encode(values, into: $0) } }
    let isSame = found == expected
    #expect(isSame)
  }

  private static let fields: [(key: String, value: GGUFField)] = [
    ("general.architecture", .string("llama")), ("a", .uint8(255)), ("b", .int8(-5)), ("c", .uint16(65535)),
    ("d", .int16(-6)), ("e", .uint32(.max)), ("f", .int32(-7)), ("g", .float32(0.5)), ("h", .bool(true)),
    ("i", .uint64(UInt64(Int.max))), ("j", .int64(.min)), ("k", .float64(0.1)), ("l", .strings(["é", "", "x"])),
    ("m", .int32s([1, -2])), ("n", .float32s([1.5])), ("o", .bools([true, false])), ("p", .uint8s([])),
    ("q", .arrays([.uint16s([1, 2]), .uint16s([3])])), ("r", .int8s([-1])), ("s", .int16s([-2])), ("t", .uint32s([4])),
    ("u", .uint64s([5])), ("v", .int64s([-6])), ("w", .float64s([0.25])), ("x", .uint16s([7])),
  ]

  @Test func whatIsWrittenIsReadBack() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/made.gguf"
      let writer = try GGUFWriter(
        path: path, metadata: Self.fields,
        tensors: [
          .init(name: "norm", type: .f32, shape: [3]), .init(name: "weight", type: .q80, shape: [5, 64]),
          .init(name: "last", type: .f16, shape: [1, 1, 1, 1]),
        ])
      let weight = (0..<5 * 64).map { Float($0 % 255 - 127) }
      try ([1, 2, 3] as [Float]).withUnsafeBytes { try writer.append($0) }
      #expect(writer.expected?.name == "weight")
      var scratch: [UInt8] = []
      for row in 0..<5 {
        try weight[row * 64..<row * 64 + 64].withUnsafeBufferPointer { try writer.append(rows: $0, scratch: &scratch) }
      }
      try ([0x3C00] as [UInt16]).withUnsafeBytes { try writer.append($0) }
      #expect(writer.expected == nil)
      try writer.finish()
      let file = try GGUFFile(path: path)
      #expect(file.metadataKeys == Self.fields.map(\.key))
      #expect(file.metadata["e"] == .integer(Int(UInt32.max)) && file.metadata["j"] == .integer(.min))
      #expect(file.metadata["l"] == .array([.string("é"), .string(""), .string("x")]))
      #expect(file.metadata["q"] == .array([.array([.integer(1), .integer(2)]), .array([.integer(3)])]))
      #expect(file.tensors.map(\.shape) == [[3], [5, 64], [1, 1, 1, 1]])
      #expect(file.tensors.allSatisfy { $0.byteOffset % 32 == 0 })
      var found = [Float](repeating: 0, count: 5 * 64)
      found.withUnsafeMutableBufferPointer { file.dequantize(file.tensors[1], rows: 0..<5, into: $0) }
      #expect(zip(found, weight).allSatisfy { abs($0 - $1) < 0.6 })
    }
  }

  @Test func tensorsThatGGUFCannotHoldAreRefused() throws {
    try withTemporaryFolder { folder in
      func refusal(_ tensors: GGUFWriter.Declaration...) -> String {
        message { _ = try GGUFWriter(path: "\(folder)/x", metadata: [], tensors: tensors) }
      }
      #expect(refusal(.init(name: "a", type: .q80, shape: [2, 33])).contains("rows of 33 are no multiple of the 32"))
      #expect(refusal(.init(name: "a", type: .f32, shape: [])).contains("cannot hold shape []"))
      #expect(refusal(.init(name: "a", type: .f32, shape: [1, 0])).contains("cannot hold shape"))
      #expect(refusal(.init(name: String(repeating: "a", count: 64), type: .f32, shape: [1])).contains("63 bytes"))
      let twice = GGUFWriter.Declaration(name: "a", type: .f32, shape: [1])
      #expect(refusal(twice, twice).contains("occurs twice"))
    }
  }
}
