import Formats
import Tuning

let combineCommand = Command(
  name: "combine", summary: "several LoRA adapters as one", positional: [],
  options: [
    .init("adapter", "DIR[:WEIGHT]", isList: true, "PEFT adapter folders, each with its weight (default: 1)"),
    .init("output", "DIR", aliases: ["o"], "the combined adapter (also -o)"),
    .init(
      "combination-type", "KIND", default: "linear",
      "\(AdapterCombination.Kind.allCases.map(\.rawValue).joined(separator: ", ")) (cat is exact)"),
    .init("density", "SHARE", default: "0.5", "ties, dare, magnitude_prune: share of the numbers that stay"),
    .init("svd-rank", "N", "svd: rank of the result (default: the largest of the adapters)"),
    .init("seed", "N", default: "42", "dare: of what is dropped"),
    .init("force", nil, "replace an output that exists"),
  ]
) { arguments in
  let adapters = arguments.values.list("adapter").map(WeightedAdapter.init)
  guard adapters.count > 1 else {
    throw UsageError(description: "--adapter is needed, several times: DIR or DIR:WEIGHT")
  }
  let output = try arguments.required("output")
  let combination = AdapterCombination(
    kind: try arguments.values.choice("combination-type", AdapterCombination.Kind.self),
    density: try arguments.number("density", in: 0...1),
    rank: try arguments.values.optionalNumber("svd-rank", in: 1...4096),
    seed: try arguments.number("seed", in: 0...UInt64.max))
  let staging = try AtomicOutput(path: output, force: arguments.flag("force"))
  try staging.createDirectory()
  try combination.combine(adapters.map { ($0.directory, $0.weight) }, to: staging.temporaryPath)
  try staging.commit()
  Console.print("wrote \(output)")
  return ExitCode.success
}
