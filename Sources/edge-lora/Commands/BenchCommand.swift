/// Measurements of this machine.
let benchCommand = Command(
  name: "bench", summary: "measure this machine: bench train, bench generate, or bench kernels",
  positional: ["train|generate|kernels"], options: benchOptions
) { arguments in
  switch arguments.positional.first {
  case "train": return try TrainingBench.run(arguments)
  case "generate": return try GenerationBench.run(arguments)
  case "kernels": return try KernelBench.run(arguments)
  case let other: throw UsageError(description: "bench \(other ?? ""): expected train, generate or kernels")
  }
}

/// What the measurements take; where they share a name, the help is that of the first.
private let benchOptions = [TrainingBench.options, GenerationBench.options, KernelBench.options].reduce(into: []) {
  all, options in
  all += options.filter { option in !all.contains { $0.name == option.name } }
}
