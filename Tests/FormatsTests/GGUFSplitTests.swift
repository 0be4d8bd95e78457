import Formats
import Foundation
import Testing

@Suite struct GGUFSplitTests {
  private static let names = (1...3).map { "split-0000\($0)-of-00003.gguf" }

  @Test(arguments: names)
  func anyPartOpensTheWhole(name: String) throws {
    let file = try GGUFFile(path: "\(golden)/\(name)")
    #expect(file.parts == Self.names.map { "\(golden)/\($0)" })
    #expect(file.tensors.map(\.name) == ["a", "b", "c", "d"])
    #expect(file.metadata["llama.block_count"] == .integer(2))
    for tensor in file.tensors {
      var found = [Float](repeating: 0, count: 8)
      found.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: 0..<2, into: $0) }
      let first = try #require(tensor.name.utf8.first)
      #expect(found == [Float](repeating: Float(first), count: 8))
      file.dropPages(of: tensor)
    }
  }

  /// Copies the parts by `names` (nil: left out) and opens the first one that is there.
  private func open(_ names: [String?], changing change: (Int, inout Data) -> Void = { _, _ in }) throws -> String {
    try withTemporaryFolder { folder in
      for (index, name) in names.enumerated() {
        guard let name else { continue }
        var data = try #require(FileManager.default.contents(atPath: "\(golden)/\(Self.names[index])"))
        change(index, &data)
        try data.write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
      }
      let first = try #require(names.compactMap { $0 }.first)
      return message { _ = try GGUFFile(path: "\(folder)/\(first)") }
    }
  }

  @Test func missingPartsAreNamed() throws {
    #expect(try open(Self.names) == "nothing was thrown")
    let text = try open([nil, Self.names[1], nil])
    #expect(text.contains("is one of 3 parts; not in its folder: \(Self.names[0]), \(Self.names[2])\n"), "\(text)")
  }

  @Test func partsThatDoNotBelongTogetherAreRefused() throws {
    #expect(try open(["model.gguf", nil, nil]).contains("its name does not end with -00001-of-00003.gguf"))
    #expect(try open([Self.names[0], Self.names[2], Self.names[1]]).contains("split.no: is not 1"))
    let replaced = try open(Self.names) { index, data in
      // The first part's names of tensors are the last two bytes of their kind: b becomes c.
      guard index == 0, let place = data.range(of: Data([1, 0, 0, 0, 0, 0, 0, 0, 0x62])) else { return }
      data[place.upperBound - 1] = 0x63
    }
    #expect(replaced.contains("tensor c: is in ") && replaced.contains("as well"), "\(replaced)")
    let counted = try open(Self.names) { index, data in
      guard index == 0, let place = data.range(of: Data("split.tensors.count".utf8)) else { return }
      data[place.upperBound + 4] = 9
    }
    #expect(counted.contains("split.tensors.count: is 9, but the parts have 4"), "\(counted)")
    let numbered = try open(Self.names) { index, data in
      guard index == 0, let place = data.range(of: Data("split.count".utf8)) else { return }
      data[place.upperBound + 4] = 0xFF
      data[place.upperBound + 5] = 0xFF
    }
    #expect(numbered.contains("does not end with -00001-of-65535.gguf"), "\(numbered)")
  }
}
