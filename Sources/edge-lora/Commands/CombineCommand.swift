import Formats
import Tuning

let combineCommand = Command(
  name: "combine", summary: "several LoRA adapters as one", positional: [],
  options: [
    .init("adapter", "DIR[:WEIGHT]", isList: true, "PEFT adapter folders, each with its weight (default: 1)"),
    .init("output", "DIR", aliases: ["o"], "the combined adapter (also -o)"),
    .init(
      "combination-type", "KIND", default: "linear",
      "\(AdapterCombination.Kind.allCases.map(\.rawValue).joined(separator: ", ")) (cat is the exact sum, arrow a mixture)"
    ),
    .init("density", "SHARE", default: "0.5", "ties, dare, magnitude_prune: share of the numbers that stay"),
    .init("svd-rank", "N", "svd: rank of the result (default: the largest of the adapters)"),
    .init("expert-top-k", "N", default: "3", "arrow: experts that take part at a token"),
    .init("router-temperature", "X", default: "1", "arrow: of the softmax over them"),
    .init("seed", "N", default: "42", "dare: of what is dropped"),
    .init("force", nil, "replace an output that exists"),
  ]
) { arguments in
  let adapters = arguments.values.list("adapter").map(WeightedAdapter.init)
  guard adapters.count > 1 else {
    throw UsageError(description: "--adapter is needed, several times: DIR or DIR:WEIGHT")
  }
  let output = try arguments.required("output")
  let kind = try arguments.values.choice("combination-type", AdapterCombination.Kind.self)
  if let idle = kind.idleOptions.first(where: arguments.values.isGiven) {
    throw UsageError(description: "--\(idle) has no effect with --combination-type \(kind.rawValue)")
  }
  var combination = AdapterCombination(
    kind: kind,
    density: try arguments.number("density", in: 0...1),
    rank: try arguments.values.optionalNumber("svd-rank", in: 1...4096),
    seed: try arguments.number("seed", in: 0...UInt64.max))
  combination.topK = try arguments.number("expert-top-k", in: 1...64)
  combination.temperature = try arguments.number("router-temperature", in: 1e-6...1e6)
  let staging = try AtomicOutput(path: output, force: arguments.flag("force"), inputs: adapters.map(\.directory))
  try staging.requireResult(PEFTConfiguration.fileName, kind: "an adapter")
  try staging.createDirectory()
  try combination.combine(adapters, to: staging.temporaryPath)
  try staging.commit()
  Console.print("wrote \(output)")
  return ExitCode.success
}

extension AdapterCombination.Kind {
  /// Options of `combine` that say nothing to this kind.
  fileprivate var idleOptions: [String] {
    let own: Set<String> =
      switch self {
      case .linear, .cat: []
      case .svd: ["svd-rank"]
      case .ties, .magnitudePrune: ["density"]
      case .dareLinear, .dareTies: ["density", "seed"]
      case .arrow: ["expert-top-k", "router-temperature"]
      }
    return ["density", "svd-rank", "expert-top-k", "router-temperature", "seed"].filter { !own.contains($0) }
  }
}
