import Formats
import Foundation
import Testing
import Training
import WeightStore

/// Weights that hold what is no number.
struct FiniteWeightsTests {
  /// The tiny model with one element of a tensor replaced.
  private func model(_ name: String, bits: [UInt8], in folder: String) throws -> String {
    let path = "\(folder)/model"
    try FileManager.default.copyItem(atPath: tinyLlama, toPath: path)
    let tensor = try #require(try SafetensorsFile(path: "\(path)/model.safetensors").tensor(name))
    let size = tensor.byteCount / tensor.elementCount
    let file = try #require(FileHandle(forUpdatingAtPath: "\(path)/model.safetensors"))
    // The last element is the hardest to reach.
    try file.seek(toOffset: UInt64(tensor.byteOffset + tensor.byteCount - size))
    let value = size == 4 ? [0, 0] + bits : bits
    file.write(Data(value))
    try file.close()
    return path
  }

  @Test(arguments: [
    ("model.norm.weight", [0xC0, 0x7F] as [UInt8]), ("model.layers.1.mlp.up_proj.weight", [0x80, 0xFF]),
    ("model.embed_tokens.weight", [0xC0, 0xFF]),
  ]) func trainingRefusesThemBeforeItBegins(name: String, bits: [UInt8]) throws {
    try withFolder { folder in
      // f16 has its exponent a bit lower.
      let type = try #require(try SafetensorsFile(path: "\(tinyLlama)/model.safetensors").tensor(name)).elementType
      let path = try model(name, bits: type == .f16 ? [0, bits[1] & 0x80 | 0x7C] : bits, in: folder)
      do {
        _ = try prepare("\(folder)/run", ["max-steps": ["1"]], model: path).run()
        Issue.record("the run went on")
      } catch let error as WeightStore.Invalid {
        let text = "\(error)"
        #expect(text.contains("model.safetensors") && text.contains(name) && text.contains("not finite"))
      }
      #expect(!FileManager.default.fileExists(atPath: "\(folder)/run"))
      // Who wrote checksums has looked.
      try Data("{}".utf8).write(to: URL(fileURLWithPath: "\(path)/checksums.json"))
      try WeightStore.open(path).checkFinite()
    }
  }

  @Test func othersPass() throws { try WeightStore.open(tinyLlama).checkFinite() }
}
