import Formats
import Tuning

let adaptersCommand = Command(
  name: "adapters", summary: "what adapter folders hold", positional: ["DIR..."], options: []
) { arguments in
  guard !arguments.positional.isEmpty else { throw UsageError(description: "name at least one adapter folder") }
  for folder in arguments.positional {
    try MissingPath.checkAdapter(folder)
    let summary = try AdapterSummary(of: folder)
    Console.print(folder)
    for (name, value) in summary.lines { Console.print("  \(name): \(value)") }
  }
  return ExitCode.success
}
