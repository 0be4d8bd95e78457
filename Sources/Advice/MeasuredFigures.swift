// Written by Tools/measure-methods; docs/methods.md has the table.

extension MeasuredFigure {
  /// What small runs of every method came to.
  static let all: [MeasuredFigure] = [
    .init(
      task: .answers, data: "home-control", method: "lora", figure: .exactMatch,
      quality: 0.7000, best: 0.9000, speed: 1.00, learningRate: 0.003),
    .init(
      task: .answers, data: "home-control", method: "lora, all linear", figure: .exactMatch,
      quality: 0.9000, best: 0.9000, speed: 0.83, learningRate: 0.003),
    .init(
      task: .answers, data: "home-control", method: "dora", figure: .exactMatch,
      quality: 0.7250, best: 0.9000, speed: 0.86, learningRate: 0.003),
    .init(
      task: .texts, data: "sst2", method: "lora", figure: .accuracy,
      quality: 0.8234, best: 0.8257, speed: 1.00, learningRate: 0.003),
    .init(
      task: .texts, data: "sst2", method: "lora, all linear", figure: .accuracy,
      quality: 0.8142, best: 0.8257, speed: 0.91, learningRate: 0.003),
    .init(
      task: .texts, data: "sst2", method: "dora", figure: .accuracy,
      quality: 0.8234, best: 0.8257, speed: 0.78, learningRate: 0.003),
    .init(
      task: .texts, data: "sst2", method: "ia3", figure: .accuracy,
      quality: 0.8165, best: 0.8257, speed: 1.17, learningRate: 0.03),
    .init(
      task: .texts, data: "sst2", method: "bottleneck, seq_bn", figure: .accuracy,
      quality: 0.8257, best: 0.8257, speed: 1.00, learningRate: 0.003),
    .init(
      task: .texts, data: "sst2", method: "bottleneck, par_bn", figure: .accuracy,
      quality: 0.8119, best: 0.8257, speed: 0.80, learningRate: 0.003),
    .init(
      task: .texts, data: "sst2", method: "bottleneck, double_seq_bn", figure: .accuracy,
      quality: 0.8050, best: 0.8257, speed: 0.72, learningRate: 0.003),
    .init(
      task: .texts, data: "sst2", method: "prefix_tuning", figure: .accuracy,
      quality: 0.7638, best: 0.8257, speed: 1.09, learningRate: 0.03),
    .init(
      task: .texts, data: "sst2", method: "ptuning_v2", figure: .accuracy,
      quality: 0.5252, best: 0.8257, speed: 1.20, learningRate: 0.003),
  ]
}
