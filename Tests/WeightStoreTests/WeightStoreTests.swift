import Architectures
import Formats
import Foundation
import Kernels
import Testing
import WeightStore

@Suite struct WeightStoreTests {
  static let stem = "model.layers.0.self_attn.q_proj"

  @Test(arguments: ["bitsandbytes-nf4", "bitsandbytes-nf4-double", "compressed-int8", "compressed-int4"])
  func storesOfOtherProgramsDecodeToTheirValues(name: String) throws {
    let store = try WeightStore.open("\(golden)/\(name)")
    let decoded = try values(store, Self.stem, rows: 32, columns: 32)
    let expected = try #require(try SafetensorsFile(path: "\(golden)/\(name)/expected").tensor("expected")).floats()
    // Double quantisation: bitsandbytes may or may not fuse the product with the addition of the offset.
    let tolerance: Float = name.hasSuffix("double") ? 1e-6 : 0
    #expect(zip(decoded, expected).allSatisfy { abs($0 - $1) <= tolerance * abs($1) })
    #expect(decoded.count == expected.count && expected.contains { $0 != 0 })
  }

  /// A store of a few tensors beside the configuration of a golden one.
  private func store(
    _ tensors: [(String, ElementType, [Int], [UInt8])], in folder: String, configuration: String = "compressed-int4"
  ) throws -> WeightStore {
    try FileManager.default.copyItem(
      atPath: "\(golden)/\(configuration)/config.json", toPath: "\(folder)/config.json")
    let writer = try SafetensorsWriter(path: "\(folder)/model.safetensors", headerByteCount: 4096)
    for (name, type, shape, bytes) in tensors { try writer.write(name, type, shape: shape, bytes) }
    try writer.finish()
    return try WeightStore.open(folder)
  }

  private static func zeros(_ name: String, _ type: ElementType, _ shape: [Int]) -> (
    String, ElementType, [Int], [UInt8]
  ) {
    (name, type, shape, [UInt8](repeating: 0, count: shape.reduce(type.byteCount, *)))
  }

  @Test func missingTensorsAndWrongShapesAreNamed() throws {
    try withTemporaryFolder { (folder: String) throws in
      let store = try store([Self.zeros("\(Self.stem).weight", .f16, [32, 64])], in: folder)
      let missing = message { _ = try store.matrix("model.embed_tokens", rows: 40, columns: 32) }
      #expect(missing.contains("model.embed_tokens.weight is missing"))
      let text = message { _ = try store.matrix(Self.stem, rows: 32, columns: 32) }
      #expect(text.contains("[32, 64]") && text.contains("[32, 32]"), "\(text)")
    }
  }

  /// BERT that was trained on masked words has none.
  @Test func labelsOfTextsNeedAPooler() throws {
    try withTemporaryFolder { folder in
      let configuration = """
        {"architectures": ["BertForMaskedLM"], "model_type": "bert", "hidden_size": 32, "intermediate_size": 64,
         "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 64, "max_position_embeddings": 24,
         "type_vocab_size": 1, "hidden_act": "gelu"}
        """
      try OutputFile.write(configuration, to: "\(folder)/config.json")
      let weights = "\(folder)/model.safetensors"
      let name = "bert.embeddings.word_embeddings.weight"
      let embedding = (name, [64, 32], [Float](repeating: 0, count: 64 * 32))
      try SafetensorsWriter.write([embedding], to: weights)
      _ = try WeightStore.open(folder, labelling: Labelling(task: .tokenClassification, labels: ["a", "b"]))
      let labelling = Labelling(task: .sequenceClassification, labels: ["a", "b"])
      do {
        _ = try WeightStore.open(folder, labelling: labelling)
        Issue.record("a text has a label without a pooler")
      } catch let error as WeightStore.Invalid {
        #expect("\(error)".contains("bert.pooler.dense.weight is missing") && "\(error)".contains("--task token_cls"))
      }
      let pooler = ("bert.pooler.dense.weight", [32, 32], [Float](repeating: 0, count: 32 * 32))
      try SafetensorsWriter.write([embedding, pooler], to: weights)
      _ = try WeightStore.open(folder, labelling: labelling)
    }
  }

  @Test func int4InActivationOrderIsRefused() throws {
    try withTemporaryFolder { (folder: String) throws in
      let store = try store(
        [
          Self.zeros("\(Self.stem).weight_packed", .i32, [32, 4]),
          Self.zeros("\(Self.stem).weight_scale", .f16, [32, 1]),
          Self.zeros("\(Self.stem).weight_g_idx", .i32, [32]),
        ], in: folder)
      #expect(message { _ = try store.matrix(Self.stem, rows: 32, columns: 32) }.contains("activation order"))
    }
  }

  @Test(arguments: [0, 3])
  func asymmetricCodesAreRefusedAndZeroPointsOfZeroAreNot(zeroPoint: UInt8) throws {
    try withTemporaryFolder { (folder: String) throws in
      let store = try store(
        [
          Self.zeros("\(Self.stem).weight_packed", .i32, [32, 4]),
          Self.zeros("\(Self.stem).weight_scale", .f16, [32, 1]),
          ("\(Self.stem).weight_zero_point", .i8, [32, 1], [UInt8](repeating: zeroPoint, count: 32)),
        ], in: folder)
      let text = message { _ = try store.matrix(Self.stem, rows: 32, columns: 32) }
      #expect(text.contains("asymmetric") == (zeroPoint != 0))
    }
  }

  @Test(arguments: [1, -1.25, Float.nan]) func aCodebookBeyondOneIsRefused(value: Float) throws {
    try withTemporaryFolder { (folder: String) throws in
      let state = Array(#"{"quant_type": "nf4", "blocksize": 64, "shape": [32, 64], "dtype": "float16"}"#.utf8)
      let values = (0..<16).map { $0 == 3 ? value : Float($0) / 15 }
      let store = try store(
        [
          Self.zeros("\(Self.stem).weight", .u8, [1024, 1]), Self.zeros("\(Self.stem).weight.absmax", .f32, [32]),
          ("\(Self.stem).weight.quant_map", .f32, [16], values.withUnsafeBytes { Array($0) }),
          ("\(Self.stem).weight.quant_state.bitsandbytes__nf4", .u8, [state.count], state),
        ], in: folder, configuration: "bitsandbytes-nf4")
      let text = message { _ = try store.matrix(Self.stem, rows: 32, columns: 64) }
      #expect(text.contains("quant_map") == (value != 1), "\(text)")
    }
  }

  @Test func scalesOfAnotherCountAreRefused() throws {
    try withTemporaryFolder { (folder: String) throws in
      let store = try store(
        [Self.zeros("\(Self.stem).weight", .i8, [32, 32]), Self.zeros("\(Self.stem).weight_scale", .f32, [1])],
        in: folder)
      #expect(message { _ = try store.matrix(Self.stem, rows: 32, columns: 32) }.contains("weight_scale"))
    }
  }

  @Test(arguments: [
    (#""nested_blocksize": 256"#, #""nested_blocksize": 9223372036854775807"#, "nested_blocksize"),
    (#""blocksize": 64"#, #""blocksize": 7"#, "block size 7"),
    (#""shape": [32, 32]"#, #""shape": [32, 31]"#, "[32, 31]"),
    (#""shape": [32, 32]"#, #""shape": "#, "quant_state"),
  ])
  func aDamagedQuantisationStateIsRefused(old: String, new: String, expected: String) throws {
    try withTemporaryFolder { (folder: String) throws in
      let file = try SafetensorsFile(path: "\(golden)/bitsandbytes-nf4-double/model.safetensors")
      var trailing: [(String, ElementType, [Int], [UInt8])] = []
      var tensors: [(String, ElementType, [Int], [UInt8])] = []
      for name in file.tensorNames {
        let tensor = try #require(file.tensor(name))
        if name.contains("quant_state") {
          let text = String(decoding: tensor.bytes, as: UTF8.self)
          let changed = Array(text.replacingOccurrences(of: old, with: new).utf8)
          #expect(text.contains(old))
          trailing.append((name, .u8, [changed.count], changed))
        } else {
          tensors.append((name, tensor.elementType, tensor.shape, bytes(tensor)))
        }
      }
      let store = try store(tensors + trailing, in: folder, configuration: "bitsandbytes-nf4-double")
      #expect(message { _ = try store.matrix(Self.stem, rows: 32, columns: 32) }.contains(expected))
    }
  }

  @Test(arguments: [
    (
      #"{"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "fp4"}"#,
      "bitsandbytes fp4, which is not read"
    ),
    (#"{"quant_method": "bitsandbytes", "load_in_8bit": true}"#, "bitsandbytes in 8 bits, which is not read"),
    (#"{"quant_method": "gptq"}"#, "gptq, which is not read"),
    (#"{"quant_method": "compressed-tensors", "format": "float-quantized"}"#, "float-quantized, which is not read"),
  ])
  func otherQuantisationsAreRefusedWithTheReason(configuration: String, expected: String) throws {
    try withTemporaryFolder { (folder: String) throws in
      _ = try store([Self.zeros("\(Self.stem).weight", .f16, [32, 32])], in: folder)
      let path = "\(folder)/config.json"
      var json = try #require(try JSONValue.parse(contentsOf: path).objectValue)
      json["quantization_config"] = try JSONValue.parse(configuration, file: "test")
      try JSONValue.object(json).serialized().write(toFile: path, atomically: true, encoding: .utf8)
      #expect(message { _ = try WeightStore.open(folder) }.contains(expected))
    }
  }

  /// The checkpoint of one task is where another one begins.
  @Test func aHeadOfOtherLabelsIsNotThere() throws {
    try withTemporaryFolder { folder in
      let configuration = """
        {"architectures": ["RobertaForSequenceClassification"], "model_type": "roberta", "hidden_size": 32,
         "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 64,
         "max_position_embeddings": 24, "type_vocab_size": 1, "id2label": {"0": "a", "1": "b", "2": "c"}}
        """
      try OutputFile.write(configuration, to: "\(folder)/config.json")
      func zeros(_ name: String, _ shape: [Int]) -> (String, [Int], [Float]) {
        (name, shape, [Float](repeating: 0, count: shape.reduce(1, *)))
      }
      try SafetensorsWriter.write(
        [
          zeros("classifier.dense.weight", [32, 32]), zeros("classifier.out_proj.weight", [3, 32]),
          zeros("roberta.embeddings.word_embeddings.weight", [64, 32]),
        ], to: "\(folder)/model.safetensors")
      func held(_ labels: [String]) throws -> [Bool] {
        let labelling = Labelling(task: .sequenceClassification, labels: labels)
        let store = try WeightStore.open(folder, labelling: labelling)
        return try #require(store.description.head.labels).layers.map { store.holds($0.linear.weight) }
      }
      #expect(try held(["x", "y", "z"]) == [true, true])
      #expect(try held(["x", "y"]) == [true, false])
    }
  }
}
