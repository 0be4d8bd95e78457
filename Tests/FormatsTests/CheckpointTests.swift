import Formats
import Foundation
import Testing

@Suite struct CheckpointTests {
  private static func tensor(_ name: String) -> String {
    #"{"\#(name)":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#
  }

  /// Opens a folder of two shards with an index of the given map.
  private func open(_ map: String, second: String = "b") throws -> String {
    try withTemporaryFolder { folder in
      try safetensors(Self.tensor("a"), data: [1]).write(to: URL(fileURLWithPath: "\(folder)/1.safetensors"))
      try safetensors(Self.tensor(second), data: [2]).write(to: URL(fileURLWithPath: "\(folder)/2.safetensors"))
      let index = Data("{\"weight_map\": \(map)}".utf8)
      try index.write(to: URL(fileURLWithPath: "\(folder)/model.safetensors.index.json"))
      return message {
        let names = try Checkpoint.open(folder).tensorNames
        #expect(names == ["a", second])
      }
    }
  }

  @Test func shardsAreReadAsOne() throws {
    #expect(try open(#"{"a": "1.safetensors", "b": "2.safetensors"}"#) == "nothing was thrown")
  }

  @Test(arguments: [
    (#"{"a": "1.safetensors", "b": "3.safetensors"}"#, "names 3.safetensors, which is not in the folder"),
    (#"{"a": "2.safetensors", "b": "2.safetensors"}"#, "says that 2.safetensors holds a, but it does not"),
    (#"{"a": "1.safetensors", "a": "2.safetensors"}"#, "key a occurs twice"),
    (#"{"a": "../1.safetensors"}"#, "expected a plain file name"), (#"{"a": 1}"#, "expected a plain file name"),
    ("[]", "has no weight_map"),
  ])
  func aWrongIndexIsRefused(map: String, expected: String) throws {
    let text = try open(map)
    #expect(text.contains(expected), "\(text)")
  }

  @Test func aTensorInTwoShardsIsRefused() throws {
    let text = try open(#"{"a": "1.safetensors", "a2": "2.safetensors"}"#, second: "a2")
    #expect(text == "nothing was thrown")
    let twice = try withTemporaryFolder { folder in
      for name in ["1", "2"] {
        let data = safetensors(
          #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"#
            + #""\#(name)":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}"#, data: [1])
        try data.write(to: URL(fileURLWithPath: "\(folder)/\(name).safetensors"))
      }
      try Data(#"{"weight_map": {"1": "1.safetensors", "2": "2.safetensors"}}"#.utf8).write(
        to: URL(fileURLWithPath: "\(folder)/model.safetensors.index.json"))
      return message { _ = try Checkpoint.open(folder) }
    }
    #expect(twice.contains("2.safetensors: tensor a: is in") && twice.contains("as well"), "\(twice)")
  }

  @Test func pipesAndDevicesAreRefusedAtOnce() throws {
    try withTemporaryFolder { folder in
      #expect(mkfifo("\(folder)/pipe", 0o600) == 0)
      for path in ["\(folder)/pipe", "/dev/zero"] {
        #expect(message { _ = try Checkpoint.open(path) }.contains("is a pipe or a device"))
      }
      #expect(message { _ = try Checkpoint.open("\(folder)/none") }.contains("No such file"))
      #expect(message { _ = try Checkpoint.open(folder) }.contains("no model.safetensors"))
    }
  }

  @Test func integersAndFloatsOfEveryTypeAreRead() throws {
    let types: [(String, [UInt8], [Float])] = [
      ("F32", [0, 0, 192, 63], [1.5]), ("F16", [0, 190], [-1.5]), ("BF16", [192, 63], [1.5]), ("I8", [255], [-1]),
      ("U8", [255], [255]), ("I32", [254, 255, 255, 255], [-2]),
    ]
    try withTemporaryFolder { folder in
      for (type, bytes, expected) in types {
        let header = #"{"x":{"dtype":"\#(type)","shape":[1],"data_offsets":[0,\#(bytes.count)]}}"#
        try safetensors(header, data: bytes).write(to: URL(fileURLWithPath: "\(folder)/\(type).safetensors"))
        #expect(try Checkpoint.open("\(folder)/\(type).safetensors").tensor("x")?.floats() == expected)
      }
    }
  }
}
