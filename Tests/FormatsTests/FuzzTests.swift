import Formats
import Foundation
import Testing

/// Damaged files: each is read or refused with an error; no crash, no hang. The seeds are fixed, so that a failure comes
/// again. `Tools/fuzz-parsers` searches longer, and watches the memory.
@Suite struct FuzzTests {
  private enum Damage {
    /// A mutant of a file's bytes: cut, lengthened, bits turned over, numbers overwritten, pieces doubled or moved.
    static func of(_ original: [UInt8], _ generator: inout Generator) -> [UInt8] {
      var bytes = original
      for _ in 0...Int.random(in: 0..<3, using: &generator) {
        guard !bytes.isEmpty else { return bytes }
        let place = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0..<8, using: &generator) {
        case 0: bytes.removeLast(bytes.count - place)
        case 1: bytes.append(contentsOf: bytes.suffix(min(place, 64)))
        case 2: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 3:
          bytes[place] = [0, 0xFF, 0x7F, 0x22, 0x5C, 0x7B, 0x5B, 0x2C, 0x0A, 0x09].randomElement(using: &generator)!
        case 4:
          let number = [0, 1, 1 << 31, 1 << 32, 1 << 40, UInt64(Int.max), 1 << 63, .max].randomElement(
            using: &generator)!
          withUnsafeBytes(of: number.littleEndian) { number in
            for (index, byte) in number.enumerated() where place + index < bytes.count { bytes[place + index] = byte }
          }
        case 5:
          let end = min(place + Int.random(in: 1..<40, using: &generator), bytes.count)
          bytes.insert(contentsOf: bytes[place..<end], at: Int.random(in: 0...bytes.count, using: &generator))
        case 6: bytes.removeSubrange(place..<min(place + Int.random(in: 1..<16, using: &generator), bytes.count))
        default:
          let text = ["-1", "9223372036854775807", "1e999", "null", "[]", "{}", "\"\"", "[[[[", "\\u0000", "\u{FEFF}"]
          bytes.replaceSubrange(place..<min(place + 2, bytes.count), with: text.randomElement(using: &generator)!.utf8)
        }
      }
      return bytes
    }
  }

  /// Reads mutants of a file; counts those that are still valid, so that the test sees that it reaches the inside.
  private func survivors(
    of original: [UInt8], seed: UInt64, name: String, count: Int = 1500, _ read: (String) throws -> Void
  )
    throws -> Int
  {
    var generator = Generator(state: seed)
    return try withTemporaryFolder { folder in
      var valid = 0
      for _ in 0..<count {
        try Data(Damage.of(original, &generator)).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
        if (try? read("\(folder)/\(name)")) != nil { valid += 1 }
      }
      return valid
    }
  }

  private func bytes(_ name: String) throws -> [UInt8] {
    Array(try #require(FileManager.default.contents(atPath: "\(golden)/\(name)")))
  }

  @Test func damagedSafetensors() throws {
    let header =
      #"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"#
      + #""b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"U8","shape":[],"data_offsets":[32,33]}}"#
    let valid = try survivors(
      of: Array(safetensors(header, data: [UInt8](repeating: 1, count: 33))), seed: 1, name: "x.safetensors"
    ) {
      let checkpoint = try Checkpoint.open($0)
      for name in checkpoint.tensorNames { _ = checkpoint.tensor(name)?.floats() }
    }
    #expect(valid > 50 && valid < 1400, "\(valid)")
  }

  @Test func damagedIndexes() throws {
    let shard = safetensors(#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, data: [1])
    let index = #"{"metadata": {"total_size": 1}, "weight_map": {"a": "1.safetensors", "b": "1.safetensors"}}"#
    let valid = try survivors(of: Array(index.utf8), seed: 2, name: "model.safetensors.index.json") {
      try shard.write(to: URL(fileURLWithPath: "\(($0 as NSString).deletingLastPathComponent)/1.safetensors"))
      _ = try Checkpoint.open($0).tensorNames
    }
    #expect(valid > 10 && valid < 1400, "\(valid)")
  }

  private func readAll(_ path: String) throws {
    let file = try GGUFFile(path: path)
    for tensor in file.tensors where tensor.columns <= 1 << 16 {
      var row = [Float](repeating: 0, count: tensor.columns)
      row.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: tensor.rows - 1..<tensor.rows, into: $0) }
    }
  }

  @Test func damagedGGUF() throws {
    // The header, and enough data for its first tensors.
    let original = try bytes("ggml.gguf")
    #expect(try survivors(of: original, seed: 3, name: "x.gguf", count: 400, readAll) > 5)
    let small = try bytes("split-00001-of-00003.gguf")
    #expect(try survivors(of: small, seed: 4, name: "x.gguf", readAll) < 1400)
  }

  @Test func damagedPartsOfAGGUF() throws {
    let parts = try (1...3).map { try bytes("split-0000\($0)-of-00003.gguf") }
    for (index, part) in parts.enumerated() {
      let valid = try survivors(of: part, seed: 5 + UInt64(index), name: "s-0000\(index + 1)-of-00003.gguf", count: 500)
      {
        let folder = ($0 as NSString).deletingLastPathComponent
        for other in 0..<3 where other != index {
          let path = "\(folder)/s-0000\(other + 1)-of-00003.gguf"
          if !FileManager.default.fileExists(atPath: path) {
            try Data(parts[other]).write(to: URL(fileURLWithPath: path))
          }
        }
        try readAll($0)
      }
      #expect(valid > 3 && valid < 480, "\(valid)")
    }
  }

  @Test func damagedJSON() throws {
    let text =
      #"{"a": [1, -2.5e3, true, null, "ü\n\u00e9\ud83d\ude00"], "b": {"c": {}, "d": [[], [0]]}, "e": 12345678901234567890}"#
    let valid = try survivors(of: Array(text.utf8), seed: 8, name: "x.json") {
      let value = try JSONValue.parse(contentsOf: $0)
      #expect(try JSONValue.parse(value.serialized(), file: "again") == value)
      _ = value.serialized(pretty: true)
    }
    #expect(valid > 10 && valid < 1400, "\(valid)")
  }

  @Test func damagedTables() throws {
    let csv = try survivors(of: Array("id,text,n\r\n1,\"a \"\"b\"\", c\nd\",2\n2,ü,3\n".utf8), seed: 9, name: "x.csv") {
      let reader = try DelimitedReader(path: $0, format: .csv)
      while try reader.next() != nil {}
    }
    #expect(csv > 50 && csv < 1400, "\(csv)")
    let conll = try survivors(
      of: Array("-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\nGerman JJ B-MISC\n".utf8), seed: 10, name: "x.conll"
    ) {
      let reader = try CoNLLReader(path: $0)
      while try reader.next() != nil {}
    }
    #expect(conll > 50 && conll < 1450, "\(conll)")
  }

  @Test func damagedConfigurationsOfAdapters() throws {
    for (name, seed) in [("peft", UInt64(11)), ("adapterhub", 12)] {
      for entry in try JSONValue.parse(contentsOf: "\(golden)/\(name).json").objectValue?.entries ?? [] {
        let text = Array(entry.value.serialized(pretty: true).utf8)
        _ = try survivors(of: text, seed: seed, name: "adapter_config.json", count: 150) {
          let folder = ($0 as NSString).deletingLastPathComponent
          if name == "peft" {
            let read = try PEFTConfiguration.load(directory: folder)
            #expect(try PEFTConfiguration(json: read.json, file: "again") == read)
          } else {
            let read = try AdapterHubConfiguration.load(directory: folder)
            #expect(try AdapterHubConfiguration(json: read.json, file: "again") == read)
          }
        }
      }
    }
  }
}
