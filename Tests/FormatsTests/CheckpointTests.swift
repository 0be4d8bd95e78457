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
    (#"{"a": "1.safetensors", "b": "1.safetensors", "c": "3.safetensors"}"#, "names 3.safetensors, which is not"),
    (#"{"a": "1.safetensors", "a": "2.safetensors"}"#, "key a occurs twice"),
    (#"{"a": "../1.safetensors"}"#, "expected a plain file name"), (#"{"a": 1}"#, "expected a plain file name"),
    ("[]", "has no weight_map"),
  ])
  func aWrongIndexIsRefused(map: String, expected: String) throws {
    let text = try open(map)
    #expect(text.contains(expected), "\(text)")
  }

  /// As some tied models have it: their index lists a head that no file holds.
  @Test func namesThatNoFileHasMatterOnlyWhenTheyAreAskedFor() throws {
    try withTemporaryFolder { folder in
      for name in ["a", "b"] {
        try safetensors(Self.tensor(name), data: [1]).write(to: URL(fileURLWithPath: "\(folder)/\(name).safetensors"))
      }
      try Data(#"{"weight_map": {"a": "a.safetensors", "b": "b.safetensors", "lm_head": "b.safetensors"}}"#.utf8).write(
        to: URL(fileURLWithPath: "\(folder)/model.safetensors.index.json"))
      let checkpoint = try Checkpoint.open(folder)
      #expect(checkpoint.tensorNames == ["a", "b"] && checkpoint.absentNames == ["lm_head"])
      #expect(checkpoint.tensor("lm_head") == nil)
      #expect(
        message { _ = try checkpoint.requiredTensor("lm_head") }.contains(
          "model.safetensors.index.json: says that b.safetensors holds lm_head, but it does not"))
      #expect(message { _ = try checkpoint.requiredTensor("c") }.contains("tensor c is missing"))
    }
  }

  /// Opens two shards that both have tensor `a`.
  private func openTwice(_ first: (header: String, data: [UInt8]), _ second: (header: String, data: [UInt8])) throws
    -> String
  {
    try withTemporaryFolder { folder in
      for (name, shard) in [("1", first), ("2", second)] {
        let extra = #""\#(name)":{"dtype":"U8","shape":[0],"data_offsets":[\#(shard.data.count),\#(shard.data.count)]}"#
        let data = safetensors("{\"a\":\(shard.header),\(extra)}", data: shard.data)
        try data.write(to: URL(fileURLWithPath: "\(folder)/\(name).safetensors"))
      }
      try Data(#"{"weight_map": {"1": "1.safetensors", "2": "2.safetensors"}}"#.utf8).write(
        to: URL(fileURLWithPath: "\(folder)/model.safetensors.index.json"))
      return message {
        let checkpoint = try Checkpoint.open(folder)
        #expect(checkpoint.tensorNames.sorted() == ["1", "2", "a"])
      }
    }
  }

  @Test func aTensorInTwoShardsIsAcceptedWhenBothAreTheSame() throws {
    let one = (header: #"{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#, data: [1, 2] as [UInt8])
    #expect(try openTwice(one, one) == "nothing was thrown")
    for (header, data, what) in [
      (one.header, [1, 3] as [UInt8], "values"),
      (#"{"dtype":"I8","shape":[2],"data_offsets":[0,2]}"#, [1, 2], "elements"),
      (#"{"dtype":"U8","shape":[1,2],"data_offsets":[0,2]}"#, [1, 2], "dimensions"),
    ] {
      let text = try openTwice(one, (header, data))
      #expect(text.contains("2.safetensors: tensor a: is in ") && text.contains("with other \(what)"), "\(text)")
    }
  }

  @Test func tensorsWithoutAlignmentAreRead() throws {
    let types: [(String, [UInt8], Float)] = [
      ("F32", [0, 0, 192, 63], 1.5), ("F16", [0, 190], -1.5), ("BF16", [192, 63], 1.5),
      ("F64", [0, 0, 0, 0, 0, 0, 248, 63], 1.5),
      ("I64", [254, 255, 255, 255, 255, 255, 255, 255], -2), ("I16", [254, 255], -2),
    ]
    try withTemporaryFolder { folder in
      for (type, bytes, expected) in types {
        for spaces in 0..<2 {
          let header =
            #"{"o":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"\#(type)","shape":[1],"#
            + #""data_offsets":[1,\#(bytes.count + 1)]}}"# + String(repeating: " ", count: spaces)
          try safetensors(header, data: [9] + bytes).write(to: URL(fileURLWithPath: "\(folder)/x.safetensors"))
          #expect(try Checkpoint.open(folder).tensor("x")?.floats() == [expected])
        }
      }
    }
  }

  /// Both are é: one text for Swift, two names for everyone else.
  @Test func namesThatOnlyMeanTheSameAreRefusedAndNoTrap() throws {
    try withTemporaryFolder { folder in
      let header =
        "{"
        + ["\u{E9}", "e\u{301}"].map { #""\#($0)":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"# }
        .joined(separator: ",") + "}"
      try safetensors(header, data: []).write(to: URL(fileURLWithPath: "\(folder)/x.safetensors"))
      #expect(message { _ = try Checkpoint.open(folder) }.contains("occurs twice"))
    }
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
