import Formats
import Kernels
import Testing
import WeightStore

@Suite struct GGUFSourceTests {
  @Test func tensorsComeInHuggingFacesNamesAndOrderOfRows() throws {
    let source = try ModelSource.open("\(golden)/tiny.gguf")
    let expected = try SafetensorsFile(path: "\(golden)/tiny-gguf-expected.safetensors")
    #expect(expected.tensorNames.count == 11)
    for name in expected.tensorNames {
      let tensor = try #require(expected.tensor(name))
      #expect(values(try source.tensor(name, shape: tensor.shape)) == tensor.floats(), "\(name)")
    }
  }

  @Test func partsOfAHeadAreReadOnTheirOwn() throws {
    let tensor = try ModelSource.open("\(golden)/tiny.gguf").tensor(
      "model.layers.0.self_attn.q_proj.weight", shape: [32, 32])
    let whole = values(tensor)
    var part = [Float](repeating: 0, count: 3 * 32)
    part.withUnsafeMutableBufferPointer { tensor.fill(13..<16, $0) }
    #expect(part == Array(whole[13 * 32..<16 * 32]))
  }

  @Test func theConfigurationIsRebuiltWithLlama3Scaling() throws {
    let found = try ModelSource.open("\(golden)/tiny.gguf").configuration
    #expect(found.architecture == .llama && found.hiddenSize == 32 && found.headCount == 2)
    #expect(found.keyValueHeadCount == 1 && found.vocabularySize == 40 && found.tiedEmbeddings)
    #expect(found.ropeTheta == 500_000 && found.maximumPositions == 131_072)
    #expect(found.bosTokenID == 1 && found.eosTokenIDs == [2])
    #expect(
      found.ropeScaling
        == .llama3(factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaximumPositions: 8192))
  }

  @Test func aMissingTensorIsNamed() throws {
    let source = try ModelSource.open("\(golden)/tiny.gguf")
    #expect(message { _ = try source.tensor("lm_head.weight", shape: [40, 32]) }.contains("output.weight"))
  }

  private func open(_ change: (inout GGUFBuilder) -> Void) throws -> ModelConfiguration {
    try withTemporaryFolder { folder in
      var builder = GGUFBuilder()
      change(&builder)
      // GGUF files are told by their content.
      try builder.write(to: "\(folder)/model")
      return try ModelSource.open("\(folder)/model").configuration
    }
  }

  @Test func aFileIsToldByItsContentAndItsDefaultsAreThoseOfLlama() throws {
    let found = try open { _ in }
    #expect(found.architecture == .llama && found.ropeTheta == 10_000 && found.ropeScaling == .none)
  }

  @Test func linearScalingIsReadInItsOldAndNewKeys() throws {
    let old = try open { $0.metadata.append(("llama.rope.scale_linear", .number(4))) }
    let new = try open {
      $0.metadata += [("llama.rope.scaling.type", .text("linear")), ("llama.rope.scaling.factor", .number(4))]
    }
    #expect(old.ropeScaling == .linear(factor: 4) && new.ropeScaling == .linear(factor: 4))
  }

  @Test func whatWouldGiveAnotherModelIsRefused() {
    func refusal(_ change: (inout GGUFBuilder) -> Void) -> String { message { _ = try open(change) } }
    func with(_ key: String, _ value: GGUFBuilder.Value) -> String { refusal { $0.metadata.append((key, value)) } }
    #expect(with("llama.attention.sliding_window", .integer(16)).contains("sliding_window of 16"))
    #expect(with("llama.attention.sliding_window", .integer(64)) == "nothing was thrown")
    #expect(with("llama.rope.dimension_count", .integer(8)).contains("dimension_count is 8, expected the head size 16"))
    #expect(with("llama.rope.dimension_count", .integer(16)) == "nothing was thrown")
    #expect(with("llama.expert_count", .integer(8)).contains("expert_count is 8"))
    #expect(with("llama.rope.scaling.type", .text("yarn")).contains("rope type yarn is not supported"))
    #expect(refusal { $0.metadata[0].value = .text("gemma3") }.contains("supported are llama, qwen2"))
    #expect(refusal { $0.metadata[2].value = .integer(0) }.contains("hidden_size is 0"))
    #expect(refusal { $0.metadata[5].value = .integer(0) }.contains("num_attention_heads is 0"))
    #expect(refusal { $0.metadata.remove(at: 7) }.contains("layer_norm_rms_epsilon is missing"))
    #expect(refusal { $0.tensors.append(("blk.0.attn_q.bias", [32])) }.contains("blk.0.attn_q.bias is no part of"))
    #expect(refusal { $0.tensors.append(("blk.1.attn_q.weight", [32, 32])) }.contains("LlamaForCausalLM of 1 layers"))
  }
}
