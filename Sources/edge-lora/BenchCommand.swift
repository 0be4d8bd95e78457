/// Measurements of this machine.
let benchCommand = Command(
  name: "bench", summary: "measure training on this machine: bench train", positional: ["train"],
  options: TrainingBench.options
) { arguments in
  switch arguments.positional.first {
  case "train": return try TrainingBench.run(arguments)
  case let other: throw UsageError(description: "bench \(other ?? ""): expected train")
  }
}
