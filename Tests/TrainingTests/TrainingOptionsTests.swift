import Planning
import Testing
import Training
import Tuning

/// transformers' defaults, and no others, where it has the option.
@Test func defaultsAreThoseThatAreStated() throws {
  let options = try TrainingOptions([:])
  #expect(options.adapter == LowRankConfiguration(rank: 8, alpha: 16, dropout: 0))
  #expect(options.learningRate == 2e-4 && options.schedule == .linear && options.weightDecay == 0)
  #expect(options.maximumGradientNorm == 1 && options.epochs == 3 && options.seed == 42 && options.shuffles)
  #expect(options.warmupSteps == nil && options.warmupRatio == 0 && options.maximumSteps == nil)
}

@Test(arguments: [
  ["rank": ["0"]], ["alpha": ["nan"]], ["dropout": ["1"]], ["lr-scheduler": ["step"]], ["eval-steps": ["5"]],
  ["eval-split": ["0.1"], "eval-data": ["a.jsonl"]], ["max-mem": ["lots"]], ["seed": ["-1"]],
  ["optimizer-moments": ["int4"]],
])
func aValueThatMakesNoSenseIsRefused(values: [String: [String]]) {
  #expect(throws: OptionError.self) { try TrainingOptions(values) }
}
