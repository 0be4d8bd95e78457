import Architectures
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

/// An initial adapter has a method and options of its own.
@Test func whatAnInitialAdapterLeavesNoRoomForIsKnown() throws {
  let given = ["rank": ["4"], "method": ["dora"], "lora-fa": [], "learning-rate": ["1e-3"]]
  #expect(try TrainingOptions(given.merging(["init-adapter": ["a"]]) { $1 }).method.ignored == ["method", "rank"])
  #expect(try TrainingOptions(given).method.ignored.isEmpty)
}

@Test(arguments: [
  ["rank": ["0"]], ["alpha": ["nan"]], ["alpha": ["0"]], ["alpha-pattern": ["q_proj=0"]],
  ["dropout": ["1"]], ["lr-scheduler": ["step"]], ["eval-steps": ["5"]],
  ["eval-split": ["0.1"], "eval-data": ["a.jsonl"]], ["max-mem": ["lots"]], ["seed": ["-1"]],
  ["optimizer-moments": ["int4"]], ["gradient-top-k": ["0"]], ["gradient-top-k": ["2"]],
  ["gradient-top-k": ["0.5"], "optim": ["adafactor"]], ["gradient-top-k": ["0.5"], "optim": ["adamw_8bit"]],
  ["gradient-top-k": ["0.5"], "optimizer-moments": ["int8"]], ["init-lora-weights": ["pissa_niter_0"]],
  ["init-lora-weights": ["svd"]], ["init-lora-weights": ["loftq"]], ["original-model": ["a"]],
  ["init-lora-weights": ["pissa"], "use-dora": []], ["method": ["bottleneck"], "adapter-config": ["seq_bn+seq_bn"]],
  ["method": ["bottleneck"], "adapter-config": ["seq_bn+double_seq_bn"]],
  ["method": ["bottleneck"], "adapter-config": ["seq_bn+par_bn+par_bn"]],
  ["method": ["bottleneck"], "adapter-config": ["seq_bn+"]], ["method": ["bottleneck"], "reduction-factor": ["0"]],
  ["method": ["bottleneck"], "parallel-reduction-factor": ["4"]],
  ["method": ["bottleneck"], "adapter-config": ["par_bn"], "parallel-scaling": ["4"]],
  ["method": ["bottleneck"], "reduction-factor": ["0.001"]], ["method": ["bottleneck"], "adapter-off": ["3-1"]],
  ["method": ["bottleneck"], "adapter-off": ["0-99999999999"]],
  ["method": ["prefix_tuning"], "num-virtual-tokens": ["0"]],
  [
    "method": ["bottleneck+prefix_tuning"], "adapter-config": ["seq_bn+par_bn"], "reduction-factor": ["0"],
    "parallel-reduction-factor": ["0"], "num-virtual-tokens": ["0"],
  ],
])
func aValueThatMakesNoSenseIsRefused(values: [String: [String]]) {
  #expect(throws: OptionError.self) { try TrainingOptions(values) }
}

/// What a loss has no place for would be passed over without a word.
@Test func optionsOfAnotherLossAreRefused() throws {
  let smooth = try TrainingOptions(["label-smoothing": ["0.1"]]).task
  let weighted = try TrainingOptions(["class-weights": ["1,2"]]).task
  func labelling(_ problem: ProblemType) -> Labelling {
    Labelling(task: .sequenceClassification, problem: problem, labels: ["a", "b"])
  }
  try smooth.checkLoss(of: labelling(.singleLabel))
  try weighted.checkLoss(of: labelling(.singleLabel))
  try weighted.checkLoss(of: labelling(.multiLabel))
  #expect(throws: OptionError.self) { try smooth.checkLoss(of: labelling(.multiLabel)) }
  for none in [labelling(.regression), nil] {
    #expect(throws: OptionError.self) { try smooth.checkLoss(of: none) }
    #expect(throws: OptionError.self) { try weighted.checkLoss(of: none) }
  }
}

/// A serial and a parallel bottleneck and a prefix, each of which may be left out.
@Test func labelsHaveNoPrompts() throws {
  try withFolder { folder in
    #expect(throws: OptionError.self) {
      try prepare(folder, ["train-on-prompt": []], data: "intents/held-out.jsonl")
    }
    _ = try prepare(folder, ["train-on-prompt": []])
  }
}

@Test func whatIsLeftOutIsNoPart() throws {
  func parts(_ serial: String, _ parallel: String, _ prefix: String) throws -> [String] {
    let options = try TrainingOptions([
      "method": ["bottleneck+prefix_tuning"], "adapter-config": ["par_bn+seq_bn"], "reduction-factor": [serial],
      "parallel-reduction-factor": [parallel], "num-virtual-tokens": [prefix], "adapter-off": ["0-2,5"],
    ])
    let configuration = try options.method.configuration { _ in [] }
    switch configuration {
    case let both as CombinedConfiguration: return both.parts.map(\.name)
    case let one as BottleneckConfiguration: return [one.isParallel ? "par_bn" : "seq_bn"]
    case let prefix as PrefixConfiguration: return ["\(prefix.count) without \(prefix.leaveOut)"]
    default: return []
    }
  }
  #expect(try parts("16", "8", "6") == ["bottleneck", "parallel bottleneck", "prefix_tuning"])
  #expect(try parts("16", "8", "0") == ["bottleneck", "parallel bottleneck"])
  #expect(try parts("16", "0", "6") == ["bottleneck", "prefix_tuning"])
  #expect(try parts("0", "8", "0") == ["par_bn"])
  #expect(try parts("16", "0", "0") == ["seq_bn"])
  #expect(try parts("0", "0", "6") == ["6 without [0, 1, 2, 5]"])
}
