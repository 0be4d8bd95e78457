import Formats
import Foundation
import Kernels
import Quantization
import Testing
import WeightStore

@Suite struct QuantizerTests {
  static let formats: [StoreFormat] = [
    .nf4(doubleQuantization: false), .nf4(doubleQuantization: true), .int8, .int4(groupSize: 32), .f16,
  ]

  private func source() throws -> ModelSource {
    try ModelSource.random(
      configurationJSON: try JSONValue.parse(tinyConfiguration, file: "config.json"), seed: 7,
      companions: [CompanionFile(name: "tokenizer.json", text: "{}")])
  }

  private func quantizer(_ format: StoreFormat, int8Embeddings: Bool = false, threads: Int = 2) -> Quantizer {
    Quantizer(format: format, int8Embeddings: int8Embeddings, pool: immortalPool(threadCount: threads))
  }

  @Test(arguments: formats)
  func aStoreDecodesToWhatTheReportPromises(format: StoreFormat) throws {
    try withTemporaryFolder { (folder: String) throws in
      let source = try source()
      let report = try quantizer(format).write(source, to: "\(folder)/store") { _, _ in }
      let store = try WeightStore.open("\(folder)/store")
      #expect(store.format == format.name)
      #expect(store.description == source.description)
      #expect(FileManager.default.fileExists(atPath: "\(folder)/store/tokenizer.json"))
      let original = values(try source.tensor(named: "model.layers.1.mlp.down_proj.weight"))
      let decoded = try values(store, "model.layers.1.mlp.down_proj", rows: 64, columns: 128)
      let error = zip(original, decoded).reduce(0.0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
      let squares = original.reduce(0.0) { $0 + Double($1) * Double($1) }
      let relative = (error / squares).squareRoot()
      let line = try #require(report.lines.first { $0.kind == "down_proj" })
      #expect(line.tensors == 2 && line.elements == 2 * 64 * 128)
      #expect(relative <= line.worstError * 1.0001)
      // Bounds: half a step of a uniform code against the deviation, with the largest of 128 near 3 deviations.
      let bound: [String: Double] = ["nf4": 0.12, "int8": 0.012, "int4": 0.13, "f16": 5e-4]
      #expect(relative < (bound[format.name] ?? 0))
      #expect(line.worstError > 0)
      let bias = try store.vector("model.layers.0.self_attn.k_proj.bias", count: 32)
      #expect(bias.contains { $0 != 0 })
      #expect(try store.vector("model.norm.weight", count: 64).allSatisfy { $0 == 1 })
    }
  }

  @Test(arguments: formats)
  func theBytesDoNotDependOnTheNumberOfThreads(format: StoreFormat) throws {
    try withTemporaryFolder { (folder: String) throws in
      let source = try source()
      for threads in [1, 3] {
        _ = try quantizer(format, threads: threads).write(source, to: "\(folder)/\(threads)") { _, _ in }
      }
      let first = FileManager.default.contents(atPath: "\(folder)/1/model.safetensors")
      #expect(first != nil && first == FileManager.default.contents(atPath: "\(folder)/3/model.safetensors"))
    }
  }

  @Test func int8EmbeddingsAreReadBack() throws {
    try withTemporaryFolder { (folder: String) throws in
      let source = try source()
      _ = try quantizer(.int8, int8Embeddings: true).write(source, to: "\(folder)/store") { _, _ in }
      let original = values(try source.tensor(named: "lm_head.weight"))
      let decoded = try values(try WeightStore.open("\(folder)/store"), "lm_head", rows: 100, columns: 64)
      #expect(zip(original, decoded).allSatisfy { abs($0 - $1) < 0.003 })
      #expect(zip(original, decoded).contains { $0 != $1 })
    }
  }

  @Test func aStoreIsASourceOfItsOwnDecodedWeights() throws {
    try withTemporaryFolder { (folder: String) throws in
      _ = try quantizer(.nf4(doubleQuantization: true)).write(try source(), to: "\(folder)/store") { _, _ in }
      let store = try WeightStore.open("\(folder)/store")
      let again = try ModelSource.open(store: store)
      let changed = try again.tensor(named: "model.layers.0.mlp.up_proj.weight").changing { _, values in
        for index in values.indices { values[index] += 1 }
      }
      let decoded = try values(store, "model.layers.0.mlp.up_proj", rows: 128, columns: 64)
      #expect(values(changed) == decoded.map { $0 + 1 })
    }
  }

  @Test func bfloat16ModelsKeepTheirTypeAndValues() throws {
    try withTemporaryFolder { (folder: String) throws in
      let description = try source().description
      try FileManager.default.createDirectory(atPath: "\(folder)/in", withIntermediateDirectories: true)
      try tinyConfiguration.write(toFile: "\(folder)/in/config.json", atomically: true, encoding: .utf8)
      _ = try quantizer(.f16).write(try source(), to: "\(folder)/half") { _, _ in }
      let half = try SafetensorsFile(path: "\(folder)/half/model.safetensors")
      let writer = try SafetensorsWriter(
        path: "\(folder)/in/model.safetensors",
        headerByteCount: SafetensorsWriter.headerByteCount(tensors: half.tensorNames.count, longestName: 100))
      for name in half.tensorNames {
        let tensor = try #require(half.tensor(name))
        // 1e6 is beyond half precision.
        let values = tensor.floats().enumerated().map { HalfPrecision.brainBits($0.offset == 3 ? 1e6 : $0.element) }
        try writer.write(name, .bf16, shape: tensor.shape, values)
      }
      try writer.finish()
      _ = try quantizer(.nf4(doubleQuantization: false)).write(
        try ModelSource.open("\(folder)/in"), to: "\(folder)/store"
      ) { _, _ in }
      let before = try SafetensorsFile(path: "\(folder)/in/model.safetensors")
      let after = try SafetensorsFile(path: "\(folder)/store/model.safetensors")
      for name in ["model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.bias"] {
        #expect(after.tensor(name)?.elementType == .bf16)
        #expect(after.tensor(name).map(bytes) == before.tensor(name).map(bytes))
      }
      let state = try #require(after.tensor("model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4"))
      #expect(String(decoding: state.bytes, as: UTF8.self).contains(#""dtype": "bfloat16""#))
      #expect(try WeightStore.open("\(folder)/store").description == description)
    }
  }

  @Test func aWeightThatOverflowsIsRefusedWithItsPlaceAndWhatTakesIt() throws {
    try withTemporaryFolder { (folder: String) throws in
      func text(_ format: StoreFormat, _ value: Float = -1e5) -> String {
        message {
          _ = try quantizer(format).write(
            try source(), to: "\(folder)/store",
            transform: { tensor in
              tensor.changing { rows, values in
                if tensor.name.hasSuffix("1.mlp.up_proj.weight"), rows.contains(77) {
                  values[(77 - rows.lowerBound) * 64 + 5] = value
                }
              }
            }, progress: { _, _ in })
        }
      }
      let refused = text(.f16)
      #expect(refused.contains("row 77 has a value too large for F16; --format bf16 takes it"), "\(refused)")
      let taken = text(.bf16)
      #expect(!taken.contains("too large"), "\(taken)")
      // a group's scale is a half: 65504 times 8 is the most that int4 takes
      try FileManager.default.removeItem(atPath: "\(folder)/store")
      let scaled = text(.int4(groupSize: 64), -6e5)
      #expect(scaled.contains("row 77 has a value too large for INT4; --format bf16 takes it"), "\(scaled)")
      #expect(!text(.int4(groupSize: 64), -5e5).contains("too large"))
    }
  }

  @Test func aWeightThatIsNotFiniteIsRefusedByName() throws {
    try withTemporaryFolder { (folder: String) throws in
      let text = message {
        _ = try quantizer(.int8).write(
          try source(), to: "\(folder)/store",
          transform: { tensor in
            tensor.changing { rows, values in
              if tensor.name.hasSuffix("1.mlp.up_proj.weight"), rows.contains(77) {
                values[(77 - rows.lowerBound) * 64 + 5] = .infinity
              }
            }
          }, progress: { _, _ in })
      }
      #expect(text.contains("model.layers.1.mlp.up_proj.weight, row 77 holds a value that is not finite"))
      let left = try FileManager.default.contentsOfDirectory(atPath: folder)
      #expect(left.isEmpty)
    }
  }

  @Test func anOutputThatExistsIsKeptWithoutForce() throws {
    try withTemporaryFolder { (folder: String) throws in
      _ = try quantizer(.f16).write(try source(), to: "\(folder)/store") { _, _ in }
      #expect(
        message { _ = try quantizer(.int8).write(try source(), to: "\(folder)/store") { _, _ in } }.contains("exists"))
      #expect(try WeightStore.open("\(folder)/store").format == "f16")
      var forced = quantizer(.int8)
      forced.force = true
      _ = try forced.write(try source(), to: "\(folder)/store") { _, _ in }
      #expect(try WeightStore.open("\(folder)/store").format == "int8")
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["store"])
    }
  }

  @Test func aStoreIsNotQuantisedAgain() throws {
    try withTemporaryFolder { (folder: String) throws in
      _ = try quantizer(.int8).write(try source(), to: "\(folder)/store") { _, _ in }
      #expect(
        message { _ = try ModelSource.open("\(folder)/store") }.contains(
          "is quantised already (compressed-tensors int-quantized)"))
    }
  }

  @Test func groupsThatDoNotFillTheRowsAreRefused() throws {
    try withTemporaryFolder { (folder: String) throws in
      let text = message {
        _ = try quantizer(.int4(groupSize: 128)).write(try source(), to: "\(folder)/store") { _, _ in }
      }
      #expect(text.contains("int4 groups of 128 do not fill rows of 64"))
    }
  }

  @Test func forceReplacesNothingButAnOlderResult() throws {
    try withTemporaryFolder { (folder: String) throws in
      var forced = quantizer(.f16)
      forced.force = true
      func refusal(_ output: String, _ source: ModelSource) -> String {
        message { _ = try forced.write(source, to: output) { _, _ in } }
      }
      try "keep".write(toFile: "\(folder)/file", atomically: true, encoding: .utf8)
      #expect(try refusal("\(folder)/file", source()).contains("is no folder"))
      #expect(try refusal(folder, source()).contains("it holds no checksums.json"))
      let published = "\(folder)/published"
      try FileManager.default.createDirectory(atPath: published, withIntermediateDirectories: true)
      try tinyConfiguration.write(toFile: "\(published)/config.json", atomically: true, encoding: .utf8)
      #expect(try refusal(published, source()).contains("it holds no checksums.json"))
      _ = try forced.write(try source(), to: "\(folder)/model") { _, _ in }
      #expect(try refusal("\(folder)/model", ModelSource.open("\(folder)/model")).contains("the source is in it"))
      try FileManager.default.createDirectory(
        atPath: "\(folder)/model/adapter", withIntermediateDirectories: true)
      #expect(try refusal("\(folder)/model", source()).contains("it holds the folder adapter"))
      #expect(FileManager.default.fileExists(atPath: "\(folder)/model/model.safetensors"))
    }
  }

  @Test func aRunThatIsStoppedLeavesNothing() throws {
    struct Stop: Error {}
    try withTemporaryFolder { (folder: String) throws in
      var calls = 0
      #expect(throws: Stop.self) {
        try quantizer(.int8).write(try source(), to: "\(folder)/store") { done, all in
          calls += 1
          #expect(done > 0 && done <= all)
          if done > all / 2 { throw Stop() }
        }
      }
      #expect(calls > 1)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    }
  }

  @Test func weightsThatTheConfigurationHasNoPlaceForAreRefused() throws {
    try withTemporaryFolder { (folder: String) throws in
      _ = try quantizer(.f16).write(try source(), to: "\(folder)/model") { _, _ in }
      var json = try #require(try JSONValue.parse(contentsOf: "\(folder)/model/config.json").objectValue)
      func refusal(_ key: String, _ value: JSONValue) throws -> String {
        let old = json[key]
        json[key] = value
        try JSONValue.object(json).serialized().write(
          toFile: "\(folder)/model/config.json", atomically: true, encoding: .utf8)
        json[key] = old
        let texts = [
          message { _ = try ModelSource.open("\(folder)/model") },
          message { _ = try WeightStore.open("\(folder)/model") },
        ]
        #expect(texts.allSatisfy { $0.contains("is no part of a") })
        return texts[0]
      }
      #expect(try refusal("num_hidden_layers", .integer(1)).contains("tensor model.layers.1.input_layernorm.weight"))
      #expect(try refusal("architectures", .array([.string("LlamaForCausalLM")])).contains("q_proj.bias"))
    }
  }

  @Test(arguments: [
    (StoreFormat.nf4(doubleQuantization: true), "nf4"), (.nf4(doubleQuantization: false), "nf4"), (.int8, "int8"),
    (.int4(groupSize: 32), "int4"), (.f16, "F16"),
  ])
  func theInventoryListsWeightsNotTheirParts(format: StoreFormat, name: String) throws {
    try withTemporaryFolder { (folder: String) throws in
      let report = try quantizer(format).write(try source(), to: "\(folder)/store") { _, _ in }
      let inventory = try Checkpoint.open("\(folder)/store").inventory
      #expect(inventory.count == 2 * 12 + 3)
      let entry = try #require(inventory.first { $0.name == "model.layers.1.mlp.down_proj.weight" })
      #expect(entry.format == name && entry.shape == [64, 128])
      let embedding = try #require(inventory.first { $0.name == "model.embed_tokens.weight" })
      #expect(embedding.format == "F16" && embedding.byteCount == 100 * 64 * 2)
      #expect(inventory.reduce(0) { $0 + $1.byteCount } == report.byteCount)
    }
  }
}
