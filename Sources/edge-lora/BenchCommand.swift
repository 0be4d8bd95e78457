/// Measurements of this machine.
let benchCommand = Command(
  name: "bench", summary: "measure this machine: bench train, or bench kernels", positional: ["train|kernels"],
  options: benchOptions
) { arguments in
  switch arguments.positional.first {
  case "train": return try TrainingBench.run(arguments)
  case "kernels": return try KernelBench.run(arguments)
  case let other: throw UsageError(description: "bench \(other ?? ""): expected train or kernels")
  }
}

/// What both measurements take; where they share a name, the help is the training's.
private let benchOptions =
  TrainingBench.options
  + KernelBench.options.filter { option in !TrainingBench.options.contains { $0.name == option.name } }
