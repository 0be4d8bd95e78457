import Options

/// Measurements of this machine.
let benchCommand = Command(
  name: "bench", summary: "measure this machine: bench train, bench generate, or bench kernels",
  positional: ["train|generate|kernels"], options: benchOptions, parts: benchParts
) { arguments in
  let other = arguments.positional.first.map { " \($0)" } ?? ""
  throw UsageError(description: "bench\(other): expected train, generate or kernels")
}

private let benchParts = [
  Command(
    name: "bench train", summary: "training on made-up tokens: speed, peak and where the time goes", positional: [],
    options: TrainingBench.options, run: TrainingBench.run),
  Command(
    name: "bench generate", summary: "how fast prompts are read and answers written", positional: [],
    options: GenerationBench.options, run: GenerationBench.run),
  Command(
    name: "bench kernels", summary: "the frozen products next to what the processor can do", positional: [],
    options: KernelBench.options, run: KernelBench.run),
]

/// What the measurements take together, for shells that complete words.
private let benchOptions: [OptionDeclaration] = benchParts.map(\.options).reduce(into: []) { all, options in
  all += options.filter { option in !all.contains { $0.name == option.name } }
}
