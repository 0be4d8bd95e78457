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
}
