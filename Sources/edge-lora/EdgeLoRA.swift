import FoundationEssentials
import Glibc
import Kernels
import Options

@main
struct EdgeLoRA {
  static let version = Program.version
  static let commands: [Command] = [
    quantizeCommand, trainCommand, planCommand, searchCommand, evaluateCommand, predictCommand, generateCommand,
    mergeCommand, exportCommand, inspectCommand,
    benchCommand,
  ]

  static func main() {
    signal(SIGPIPE, SIG_IGN)
    let words = Array(Swift.CommandLine.arguments.dropFirst())
    exit(run(words))
  }

  private static func run(_ words: [String]) -> Int32 {
    guard let name = words.first else {
      Console.error(usage)
      return ExitCode.usage
    }
    if name == "--version" {
      Console.print("edge-lora \(version)")
      return ExitCode.success
    }
    if name == "--help" || name == "-h" || name == "help" {
      Console.print(usage)
      return ExitCode.success
    }
    guard let command = commands.first(where: { $0.name == name }) else {
      Console.error("error: unknown command \(name)\n\n\(usage)")
      return ExitCode.usage
    }
    if words.contains("--help") || words.contains("-h") {
      Console.print(command.help)
      return ExitCode.success
    }
    do {
      try InstructionSet.checkEnvironment()
      return try command.run(try Arguments(Array(words.dropFirst()), for: command))
    } catch {
      Console.finishLine()
      Console.error("error: \(error)")
      if error is UsageError { Console.error("       edge-lora \(name) --help lists the options") }
      return ExitCode.of(error)
    }
  }

  private static var usage: String {
    let lines = commands.map { "  \($0.name)\(String(repeating: " ", count: max(1, 12 - $0.name.count)))\($0.summary)" }
    return """
      edge-lora \(version): fine-tune language models on small boards

      usage: edge-lora COMMAND [options]

      \(lines.joined(separator: "\n"))

      edge-lora COMMAND --help lists the options of a command.
      Exit codes: 0 done, 1 failed, 2 wrong usage, 65 bad data or model, 66 missing input, 69 the training has died
      (a checkpoint is left), 73 cannot create the output, 74 read or write error, 77 the memory budget cannot be met, 129,
      130 and 143 stopped by a signal (training leaves a checkpoint; a second signal ends at once).
      """
  }
}
