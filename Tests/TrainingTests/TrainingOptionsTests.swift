import Options
import Testing
import Training
import Tuning

/// transformers' defaults, and no others, where it has the option.
@Test func defaultsAreThoseThatAreStated() throws {
  let options = try TrainingOptions([:])
  #expect(options.method.lowRank == LowRankConfiguration(rank: 8, alpha: 16, dropout: 0))
  let optimization = options.optimization
  #expect(optimization.learningRate == 2e-4 && optimization.schedule == .linear && optimization.weightDecay == 0)
  #expect(optimization.maximumGradientNorm == 1 && optimization.epochs == 3 && optimization.seed == 42)
  #expect(optimization.warmupSteps == nil && optimization.warmupRatio == 0 && optimization.maximumSteps == nil)
  #expect(options.data.shuffles && options.data.evaluationFiles.isEmpty && options.plan.maximumMemory == nil)
}

@Test(arguments: [
  ["rank": ["0"]], ["alpha": ["nan"]], ["dropout": ["1"]], ["lr-scheduler": ["step"]], ["eval-steps": ["5"]],
  ["eval-split": ["0.1"], "eval-data": ["a.jsonl"]], ["max-mem": ["lots"]], ["seed": ["-1"]],
  ["optimizer-moments": ["int4"]], ["gradient-top-k": ["0"]], ["gradient-top-k": ["2"]],
  ["gradient-top-k": ["0.5"], "optim": ["adafactor"]], ["gradient-top-k": ["0.5"], "optim": ["adamw_8bit"]],
  ["gradient-top-k": ["0.5"], "optimizer-moments": ["int8"]], ["init-lora-weights": ["pissa_niter_0"]],
  ["init-lora-weights": ["svd"]], ["init-lora-weights": ["loftq"]], ["original-model": ["a"]],
  ["init-lora-weights": ["pissa"], "use-dora": []],
])
func aValueThatMakesNoSenseIsRefused(values: [String: [String]]) {
  #expect(throws: OptionError.self) { try TrainingOptions(values) }
}
