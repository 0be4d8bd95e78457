import Formats
import Foundation
import Testing
import Training
import Tuning

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
      #expect(throws: AdapterError.self) {
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

  /// - Returns: the step at which a run with these losses is ended, from 1; `nil` where it goes on
  private func end(of losses: [Double], gradientNorm: Double = 1, labelledTokens: Int = 9) -> Int? {
    var health = RunHealth(vocabularySize: 1000)  // ln 1000 = 6.9
    for (index, loss) in losses.enumerated() {
      do {
        try health.check(step: index + 1, loss: loss, gradientNorm: gradientNorm, labelledTokens: labelledTokens)
      } catch { return (error as? RunFailed)?.step }
    }
    return nil
  }

  private func repeated(_ loss: Double, _ count: Int) -> [Double] { [Double](repeating: loss, count: count) }

  @Test func aStartWithoutAGradientIsNoDamageOfTheBaseFirst() {
    var health = RunHealth(vocabularySize: 1000)
    do {
      try health.check(step: 1, loss: 5, gradientNorm: 0, labelledTokens: 9)
      Issue.record("the run went on")
    } catch { #expect("\(error)".contains("nothing that is trained moves the loss: see whether a factor (--scaling")) }
  }

  @Test func tenLossesFarAboveTheFirstOnesAreADeath() {
    #expect(end(of: repeated(2, 10) + repeated(7.1, 10)) == 20)
    #expect(end(of: repeated(2, 10) + repeated(6.5, 50)) == nil)
    #expect(end(of: repeated(2, 10) + repeated(7.1, 9) + [2] + repeated(7.1, 9)) == nil)
    #expect(end(of: repeated(2, 10) + repeated(7.1, 9) + [2] + repeated(7.1, 10)) == 30)
    // The first ten are what the others are measured by.
    #expect(end(of: repeated(90, 9)) == nil)
  }

  @Test func aModelThatForgetsEverythingIsADeathUnlessItBeganSo() {
    #expect(end(of: repeated(4, 10) + repeated(6.7, 10)) == 20)
    #expect(end(of: repeated(6.9, 10) + repeated(6.9, 50)) == nil)
  }

  @Test func noGradientIsADeathWhereThereIsMuchToLearn() {
    #expect(end(of: [2], gradientNorm: 0) == 1)
    #expect(end(of: repeated(0.04, 40), gradientNorm: 0) == nil)
    #expect(end(of: [2], gradientNorm: 0, labelledTokens: 0) == nil)
  }

  @Test func aStateOfABadStepIsNotWorthKeeping() throws {
    var health = RunHealth(vocabularySize: 1000)
    for step in 1...10 { try health.check(step: step, loss: 1, gradientNorm: 1, labelledTokens: 9) }
    #expect(!health.isSuspect)
    try health.check(step: 11, loss: 9, gradientNorm: 1, labelledTokens: 9)
    #expect(health.isSuspect)
    try health.check(step: 12, loss: 1, gradientNorm: 1, labelledTokens: 9)
    #expect(!health.isSuspect)
  }
}
