import Hub
import Options
import Training

let fetchCommand = Command(
  name: "fetch", summary: "bring a model or data set from the Hugging Face hub", positional: ["REPOSITORY[@REVISION]"],
  options: [
    .init("output", "DIR", aliases: ["o"], "the folder, which appears whole (also -o; default: the name)"),
    .init(
      "include", "PATTERN", isList: true,
      "only files that fit, such as Q4_K_M or '*.jsonl' (default: what is needed)"),
    .init("repo-type", "KIND", default: "model", "model or dataset; datasets/NAME says it too"),
    .init("revision", "REV", "branch, tag or commit, as behind @ (default: main)"),
    .init("force", nil, "replace an output that exists"),
  ]
) { arguments in
  guard let text = arguments.positional.first else {
    throw UsageError(description: "name a repository, such as HuggingFaceTB/SmolLM2-135M-Instruct")
  }
  let kind = try arguments.values.choice("repo-type", RepositoryName.Kind.self)
  let revision = arguments.text("revision")
  if revision != nil, text.contains("@") { throw UsageError(description: "--revision takes the place of @") }
  let repository = try RepositoryName(text + (revision.map { "@\($0)" } ?? ""), kind: kind)
  let output = arguments.text("output") ?? repository.name
  StopRequest.install()
  let fetch = try RepositoryFetch(
    repository, from: try HubAddress.fromEnvironment(), userAgent: "edge-lora/\(EdgeLoRA.version)",
    shouldStop: { StopRequest.signalNumber != nil }, report: FetchConsole.show)
  let files = try fetch.run(
    wishes: arguments.values.list("include"), to: output, force: arguments.flag("force"))
  Console.print("wrote \(output)")
  if let next = FetchConsole.nextCommand(repository, files, output) { Console.print(next) }
  return ExitCode.success
}

/// What the person who waits sees.
private enum FetchConsole {
  static func show(_ event: RepositoryFetch.Event) {
    switch event {
    case .chosen(let files, let byteCount, let commit):
      Console.error("\(files) file\(files == 1 ? "" : "s"), \(size(byteCount)), of revision \(commit.prefix(12))")
    case .progress(let done, let all, let file):
      Console.progress(done: done / 1_000_000, of: max(1, all / 1_000_000), "MB \(file)")
    case .finished(let file, let isOld):
      Console.error("\(file.path) (\(size(file.byteCount)))\(isOld ? ": is there already" : "")")
    case .retrying(let reason, let seconds):
      Console.error("\(reason); again in \(Console.decimal(seconds, seconds < 10 ? 1 : 0)) s")
    }
  }

  private static func size(_ byteCount: Int) -> String {
    byteCount < 1_000_000
      ? "\((byteCount + 999) / 1000) kB"
      : "\(Console.decimal(Double(byteCount) / 1e6, byteCount < 10_000_000 ? 1 : 0)) MB"
  }

  static func nextCommand(_ repository: RepositoryName, _ files: [HubFile], _ output: String) -> String? {
    guard repository.kind == .model else { return nil }
    let gguf = files.filter { $0.path.lowercased().hasSuffix(".gguf") }
    if let file = gguf.first { return "next: edge-lora quantize \(output)/\(file.path)" }
    if files.contains(where: { $0.path == "adapter_config.json" }) { return nil }
    return files.contains { $0.path.hasSuffix(".safetensors") } ? "next: edge-lora quantize \(output)" : nil
  }
}
