import Formats
import Foundation
import Testing
import Training

/// Runs that compute with what is no number, or learn nothing any more.
struct RunHealthTests {
  /// Writes an adapter whose every number is `value`.
  private func adapter(_ value: Float, in folder: String) throws -> String {
    try train("\(folder)/first", ["max-steps": ["1"]])
    let file = "\(folder)/first/adapter_model.safetensors"
    let read = try SafetensorsFile(path: file)
    let tensors = read.tensorNames.compactMap(read.tensor).map { ($0.name, $0.shape, $0.elementCount) }
    let writer = try SafetensorsWriter(path: file, headerByteCount: 1 << 16)
    for (name, shape, count) in tensors {
      try writer.write(name, .f32, shape: shape, [Float](repeating: value, count: count))
    }
    try writer.finish()
    return "\(folder)/first"
  }

  @Test(arguments: [Float.nan, .infinity]) func anAdapterThatIsNotFiniteIsRefused(value: Float) throws {
    try withFolder { folder in
      let adapter = try adapter(value, in: folder)
      #expect(throws: CheckpointError.self) {
        try train("\(folder)/second", ["max-steps": ["2"], "init-adapter": [adapter]])
      }
      #expect(!FileManager.default.fileExists(atPath: "\(folder)/second"))
    }
  }

  @Test(arguments: ["f32", "bf16", "int8"]) func aLossThatIsNotFiniteEndsTheRun(inputs: String) throws {
    try withFolder { folder in
      let adapter = try adapter(1e30, in: folder)
      let output = "\(folder)/second"
      do {
        try train(output, ["max-steps": ["2"], "init-adapter": [adapter], "layer-inputs": [inputs]])
        Issue.record("the run went on")
      } catch let error as RunFailed {
        #expect(error.step == 1)
        #expect("\(error)".contains("--learning-rate"))
      }
      #expect(!FileManager.default.fileExists(atPath: "\(output)/adapter_model.safetensors"))
    }
  }
}
