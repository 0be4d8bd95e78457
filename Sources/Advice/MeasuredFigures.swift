// Written by Tools/measure-methods; docs/methods.md has the table.

extension MeasuredFigure {
  /// What small runs of every method came to.
  static let all: [MeasuredFigure] = [
    .init(
      task: .answers, data: "home-control", method: "lora", figure: .exactMatch,
      quality: 0.9800, best: 1.0000, speed: 1.00, learningRate: 0.003),
    .init(
      task: .answers, data: "home-control", method: "lora, all linear", figure: .exactMatch,
      quality: 1.0000, best: 1.0000, speed: 0.80, learningRate: 0.003),
    .init(
      task: .answers, data: "home-control", method: "dora", figure: .exactMatch,
      quality: 0.9900, best: 1.0000, speed: 0.88, learningRate: 0.003),
    .init(
      task: .answers, data: "home-control", method: "ia3", figure: .exactMatch,
      quality: 0.9900, best: 1.0000, speed: 0.98, learningRate: 0.03),
    .init(
      task: .answers, data: "home-control", method: "bottleneck, seq_bn", figure: .exactMatch,
      quality: 0.9900, best: 1.0000, speed: 1.00, learningRate: 0.003),
    .init(
      task: .answers, data: "home-control", method: "bottleneck, par_bn", figure: .exactMatch,
      quality: 0.9900, best: 1.0000, speed: 0.97, learningRate: 0.001),
    .init(
      task: .answers, data: "home-control", method: "bottleneck, double_seq_bn", figure: .exactMatch,
      quality: 0.9800, best: 1.0000, speed: 0.96, learningRate: 0.001),
    .init(
      task: .answers, data: "home-control", method: "prefix_tuning", figure: .exactMatch,
      quality: 0.2200, best: 1.0000, speed: 0.96, learningRate: 0.03),
    .init(
      task: .answers, data: "home-control", method: "ptuning_v2", figure: .exactMatch,
      quality: 0.9900, best: 1.0000, speed: 0.91, learningRate: 0.003),
    .init(
      task: .answers, data: "home-control", method: "prompt_tuning", figure: .exactMatch,
      quality: 0.8400, best: 1.0000, speed: 1.02, learningRate: 0.03),
    .init(
      task: .answers, data: "home-control", method: "p_tuning", figure: .exactMatch,
      quality: 0.8500, best: 1.0000, speed: 0.69, learningRate: 0.003),
    .init(
      task: .reasoning, data: "gsm8k", method: "lora", figure: .loss,
      quality: 0.8767, best: 0.8334, speed: 1.00, learningRate: 0.003),
    .init(
      task: .reasoning, data: "gsm8k", method: "lora, all linear", figure: .loss,
      quality: 0.8334, best: 0.8334, speed: 0.88, learningRate: 0.003),
    .init(
      task: .reasoning, data: "gsm8k", method: "dora", figure: .loss,
      quality: 0.8707, best: 0.8334, speed: 0.95, learningRate: 0.003),
    .init(
      task: .reasoning, data: "gsm8k", method: "ia3", figure: .loss,
      quality: 0.8949, best: 0.8334, speed: 0.97, learningRate: 0.03),
    .init(
      task: .reasoning, data: "gsm8k", method: "bottleneck, seq_bn", figure: .loss,
      quality: 0.8609, best: 0.8334, speed: 0.97, learningRate: 0.003),
    .init(
      task: .reasoning, data: "gsm8k", method: "bottleneck, par_bn", figure: .loss,
      quality: 0.8524, best: 0.8334, speed: 0.97, learningRate: 0.001),
    .init(
      task: .reasoning, data: "gsm8k", method: "bottleneck, double_seq_bn", figure: .loss,
      quality: 0.8517, best: 0.8334, speed: 0.94, learningRate: 0.003),
    .init(
      task: .reasoning, data: "gsm8k", method: "prefix_tuning", figure: .loss,
      quality: 1.3348, best: 0.8334, speed: 0.94, learningRate: 0.03),
    .init(
      task: .reasoning, data: "gsm8k", method: "ptuning_v2", figure: .loss,
      quality: 0.9474, best: 0.8334, speed: 0.89, learningRate: 0.003),
    .init(
      task: .reasoning, data: "gsm8k", method: "prompt_tuning", figure: .loss,
      quality: 1.1323, best: 0.8334, speed: 1.05, learningRate: 0.03),
    .init(
      task: .reasoning, data: "gsm8k", method: "p_tuning", figure: .loss,
      quality: 1.0868, best: 0.8334, speed: 1.00, learningRate: 0.001),
    .init(
      task: .texts, data: "sst2", method: "lora", figure: .accuracy,
      quality: 0.8521, best: 0.8521, speed: 1.00, learningRate: 0.001),
    .init(
      task: .texts, data: "sst2", method: "lora, all linear", figure: .accuracy,
      quality: 0.8509, best: 0.8521, speed: 0.87, learningRate: 0.001),
    .init(
      task: .texts, data: "sst2", method: "dora", figure: .accuracy,
      quality: 0.8521, best: 0.8521, speed: 0.95, learningRate: 0.001),
    .init(
      task: .texts, data: "sst2", method: "ia3", figure: .accuracy,
      quality: 0.8452, best: 0.8521, speed: 0.96, learningRate: 0.01),
    .init(
      task: .texts, data: "sst2", method: "bottleneck, seq_bn", figure: .accuracy,
      quality: 0.8498, best: 0.8521, speed: 1.03, learningRate: 0.001),
    .init(
      task: .texts, data: "sst2", method: "bottleneck, par_bn", figure: .accuracy,
      quality: 0.8509, best: 0.8521, speed: 1.04, learningRate: 0.003),
    .init(
      task: .texts, data: "sst2", method: "bottleneck, double_seq_bn", figure: .accuracy,
      quality: 0.8303, best: 0.8521, speed: 1.00, learningRate: 0.003),
    .init(
      task: .texts, data: "sst2", method: "prefix_tuning", figure: .accuracy,
      quality: 0.8349, best: 0.8521, speed: 0.99, learningRate: 0.03),
    .init(
      task: .texts, data: "sst2", method: "ptuning_v2", figure: .accuracy,
      quality: 0.8314, best: 0.8521, speed: 1.01, learningRate: 0.001),
    .init(
      task: .texts, data: "sst2", method: "prompt_tuning", figure: .accuracy,
      quality: 0.7982, best: 0.8521, speed: 1.05, learningRate: 0.03),
    .init(
      task: .texts, data: "sst2", method: "p_tuning", figure: .accuracy,
      quality: 0.8096, best: 0.8521, speed: 1.10, learningRate: 0.001),
    .init(
      task: .words, data: "wnut17", method: "lora", figure: .f1,
      quality: 0.5229, best: 0.5702, speed: 1.00, learningRate: 0.003),
    .init(
      task: .words, data: "wnut17", method: "lora, all linear", figure: .f1,
      quality: 0.5702, best: 0.5702, speed: 0.86, learningRate: 0.001),
    .init(
      task: .words, data: "wnut17", method: "dora", figure: .f1,
      quality: 0.5180, best: 0.5702, speed: 0.92, learningRate: 0.003),
    .init(
      task: .words, data: "wnut17", method: "ia3", figure: .f1,
      quality: 0.5129, best: 0.5702, speed: 0.77, learningRate: 0.01),
    .init(
      task: .words, data: "wnut17", method: "bottleneck, seq_bn", figure: .f1,
      quality: 0.5212, best: 0.5702, speed: 0.99, learningRate: 0.003),
    .init(
      task: .words, data: "wnut17", method: "bottleneck, par_bn", figure: .f1,
      quality: 0.4178, best: 0.5702, speed: 1.01, learningRate: 0.001),
    .init(
      task: .words, data: "wnut17", method: "bottleneck, double_seq_bn", figure: .f1,
      quality: 0.5541, best: 0.5702, speed: 0.97, learningRate: 0.003),
    .init(
      task: .words, data: "wnut17", method: "prefix_tuning", figure: .f1,
      quality: 0.4920, best: 0.5702, speed: 0.98, learningRate: 0.03),
    .init(
      task: .words, data: "wnut17", method: "ptuning_v2", figure: .f1,
      quality: 0.0000, best: 0.5702, speed: 0.91, learningRate: 0.001),
    .init(
      task: .words, data: "wnut17", method: "prompt_tuning", figure: .f1,
      quality: 0.4349, best: 0.5702, speed: 1.00, learningRate: 0.03),
    .init(
      task: .words, data: "wnut17", method: "p_tuning", figure: .f1,
      quality: 0.4035, best: 0.5702, speed: 0.90, learningRate: 0.003),
  ]
}
