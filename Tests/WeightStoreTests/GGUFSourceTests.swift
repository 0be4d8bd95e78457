import Architectures
import Formats
import Foundation
import Kernels
import Quantization
import Testing

@Suite struct GGUFSourceTests {
  @Test func tensorsComeInHuggingFacesNamesAndOrderOfRows() throws {
    let source = try ModelSource.open("\(golden)/tiny.gguf")
    let expected = try SafetensorsFile(path: "\(golden)/tiny-gguf-expected.safetensors")
    #expect(expected.tensorNames.count == 11)
    for name in expected.tensorNames {
      let tensor = try #require(expected.tensor(name))
      #expect(try values(source.tensor(named: name)) == tensor.floats(), "\(name)")
    }
  }

  @Test func aFolderWithOneFileIsThatFile() throws {
    try withTemporaryFolder { folder in
      let manager = FileManager.default
      try manager.copyItem(atPath: "\(golden)/tiny.gguf", toPath: "\(folder)/tiny.gguf")
      try Data("# tiny".utf8).write(to: URL(fileURLWithPath: "\(folder)/README.md"))
      #expect(try ModelSource.open(folder).path == "\(folder)/tiny.gguf")
      // Parts of one model are one; of two models neither is meant.
      try manager.moveItem(atPath: "\(folder)/tiny.gguf", toPath: "\(folder)/tiny-00001-of-00002.gguf")
      try manager.copyItem(atPath: "\(golden)/tiny.gguf", toPath: "\(folder)/tiny-00002-of-00002.gguf")
      #expect(try ModelSource.open(folder).path == "\(folder)/tiny-00001-of-00002.gguf")
      try manager.copyItem(atPath: "\(golden)/tiny.gguf", toPath: "\(folder)/other.gguf")
      #expect(throws: (any Error).self) { _ = try ModelSource.open(folder) }
    }
  }

  @Test func partsOfAHeadAreReadOnTheirOwn() throws {
    let tensor = try ModelSource.open("\(golden)/tiny.gguf").tensor(
      named: "model.layers.0.self_attn.q_proj.weight")
    let whole = values(tensor)
    var part = [Float](repeating: 0, count: 3 * 32)
    part.withUnsafeMutableBufferPointer { tensor.fill(13..<16, $0) }
    #expect(part == Array(whole[13 * 32..<16 * 32]))
  }

  @Test func theConfigurationIsRebuiltWithLlama3Scaling() throws {
    let found = try ModelSource.open("\(golden)/tiny.gguf").description
    let attention = found.layers[0].attention
    #expect(found.family == .llama && found.hiddenSize == 32 && attention.headCount == 2)
    #expect(attention.keyValueHeadCount == 1 && found.vocabularySize == 40 && found.head.isTied)
    #expect(found.maximumPositions == 131_072 && found.bosTokenID == 1 && found.eosTokenIDs == [2])
    let expected = try ModelDescription(
      json: try JSONValue.parse(
        """
        {"architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
         "num_attention_heads": 2, "vocab_size": 40, "max_position_embeddings": 131072,
         "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000, "factor": 32, "low_freq_factor": 1,
         "high_freq_factor": 4, "original_max_position_embeddings": 8192}}
        """, file: "expected"), file: "expected")
    #expect(found.rotaries == expected.rotaries)
    #expect(found.rotaries[0].frequencies[0] == 1 && found.rotaries[0].frequencies[7] < pow(500_000, -14.0 / 16))
  }

  /// As llama.cpp's converter leaves it beside NVFP4.
  @Test func aWeightIsMultipliedWithTheScaleBesideIt() throws {
    try withTemporaryFolder { folder in
      var builder = GGUFBuilder()
      builder.tensors.append(("blk.0.ffn_up.scale", [1]))
      builder.fills = ["blk.0.ffn_up.weight": 3, "blk.0.ffn_gate.weight": 3, "blk.0.ffn_up.scale": 0.5]
      try builder.write(to: "\(folder)/model")
      let source = try ModelSource.open("\(folder)/model")
      for (name, expected) in [("up_proj", Float(1.5)), ("gate_proj", 3)] {
        let found = try values(source.tensor(named: "model.layers.0.mlp.\(name).weight"))
        #expect(found.allSatisfy { $0 == expected }, "\(name)")
      }
      builder.tensors[builder.tensors.count - 1].shape = [2]
      try builder.write(to: "\(folder)/model")
      let other = try ModelSource.open("\(folder)/model")
      let told = message { _ = try other.tensor(named: "model.layers.0.mlp.up_proj.weight") }
      #expect(told.contains("blk.0.ffn_up.scale: has shape [2], expected one number"), "\(told)")
    }
  }

  @Test func aMissingTensorIsNamed() throws {
    let source = try ModelSource.open("\(golden)/tiny.gguf")
    let lmHead = TensorDescription(
      "lm_head.weight", shape: [40, 32], role: .embedding, gguf: .init("output.weight"))
    #expect(message { _ = try source.tensor(lmHead) }.contains("output.weight"))
  }

  private func open(_ change: (inout GGUFBuilder) -> Void) throws -> ModelDescription {
    try withTemporaryFolder { folder in
      var builder = GGUFBuilder()
      change(&builder)
      // GGUF files are told by their content.
      try builder.write(to: "\(folder)/model")
      return try ModelSource.open("\(folder)/model").description
    }
  }

  /// Base 10,000, heads of 16.
  private let plain = (0..<8).map { 1 / pow(10_000, Double(2 * $0) / 16) }

  @Test func aFileIsToldByItsContentAndItsDefaultsAreThoseOfLlama() throws {
    let found = try open { _ in }
    #expect(found.family == .llama && found.rotaries.map(\.frequencies) == [plain])
  }

  @Test func linearScalingIsReadInItsOldAndNewKeys() throws {
    let old = try open { $0.metadata.append(("llama.rope.scale_linear", .number(4))) }
    let new = try open {
      $0.metadata += [("llama.rope.scaling.type", .text("linear")), ("llama.rope.scaling.factor", .number(4))]
    }
    let expected = [plain.map { $0 / 4 }]
    #expect(old.rotaries.map(\.frequencies) == expected && new.rotaries.map(\.frequencies) == expected)
  }

  @Test func whatWouldGiveAnotherModelIsRefused() {
    func refusal(_ change: (inout GGUFBuilder) -> Void) -> String { message { _ = try open(change) } }
    func with(_ key: String, _ value: GGUFBuilder.Value) -> String { refusal { $0.metadata.append((key, value)) } }
    #expect(with("llama.rope.dimension_count", .integer(8)).contains("dimension_count is 8, expected the head size 16"))
    #expect(with("llama.rope.dimension_count", .integer(16)) == "nothing was thrown")
    #expect(with("llama.expert_count", .integer(8)).contains("expert_count is 8"))
    #expect(with("llama.rope.scaling.type", .text("ntk")).contains("rope type ntk is not supported"))
    #expect(refusal { $0.metadata[0].value = .text("falcon") }.contains("supported are llama, qwen2"))
    #expect(refusal { $0.metadata[2].value = .integer(0) }.contains("hidden_size is 0"))
    #expect(refusal { $0.metadata[5].value = .integer(0) }.contains("head_count is 0"))
    #expect(refusal { $0.metadata.remove(at: 7) }.contains("layer_norm_rms_epsilon is missing"))
    #expect(refusal { $0.tensors.append(("blk.0.attn_q_norm.weight", [16])) }.contains("q_norm.weight is no part"))
    #expect(refusal { $0.tensors.append(("blk.1.attn_q.weight", [32, 32])) }.contains("LlamaForCausalLM of 1 layers"))
  }

  @Test func aWindowShorterThanTheContextMakesAMistral() throws {
    func span(_ window: UInt32) throws -> (Family, AttentionSpan) {
      let found = try open { $0.metadata.append(("llama.attention.sliding_window", .integer(window))) }
      return (found.family, found.layers[0].attention.span)
    }
    #expect(try span(16) == (.mistral, .window(16)))
    #expect(try span(64) == (.llama, .causal))
  }

  @Test func yarnTakesItsFactorFromTheFile() throws {
    let found = try open {
      $0.metadata += [
        ("llama.rope.scaling.type", .text("yarn")), ("llama.rope.scaling.factor", .number(4)),
        ("llama.rope.scaling.original_context_length", .integer(16)), ("llama.rope.scaling.attn_factor", .number(2)),
      ]
    }
    #expect(abs(found.rotaries[0].factor - 2 * (0.1 * log(4) + 1)) < 1e-6)
    #expect(found.rotaries[0].frequencies[0] == 1)
  }
}
