import FoundationEssentials
import Glibc
import Kernels
import Options

@main
struct EdgeLoRA {
  static let version = Program.version
  static let commands: [Command] = [
    quantizeCommand, trainCommand, planCommand, searchCommand, adviseCommand, evaluateCommand, predictCommand,
    generateCommand,
    chatCommand, serveCommand, mergeCommand, combineCommand, adaptersCommand, exportCommand, inspectCommand,
    verifyCommand,
    reportCommand, fetchCommand, benchCommand,
  ]

  static func main() {
    signal(SIGPIPE, SIG_IGN)
    // A file beyond `ulimit -f` is then an error of the write, which has a name and leaves nothing half.
    signal(SIGXFSZ, SIG_IGN)
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
    if name == "help", words.count > 1, !words[1].hasPrefix("-") { return run(words.dropFirst() + ["--help"]) }
    if name == "--help" || name == "-h" || name == "help" {
      Console.print(usage)
      return ExitCode.success
    }
    guard let named = (commands + [manualCommand, completionsCommand]).first(where: { $0.name == name }) else {
      let suggestion = Arguments.suggestion(name, commands)
      Console.error("error: unknown command \(name)\(suggestion)\n       edge-lora --help lists the commands")
      return ExitCode.usage
    }
    let (command, given) = named.meant(by: Array(words.dropFirst()))
    if words.contains("--help") || words.contains("-h") {
      Console.print(command.help)
      return ExitCode.success
    }
    do {
      try InstructionSet.checkEnvironment()
      let arguments = try Arguments(given, for: command)
      try MissingPath.check(arguments, of: command)
      let code = try command.run(arguments)
      try Console.checkOutput()
      return code
    } catch {
      Console.finishLine()
      Console.error("error: \(error)")
      if error is UsageError { Console.error("       edge-lora \(command.name) --help lists the options") }
      return ExitCode.of(error)
    }
  }

  private static var usage: String {
    let lines = commands.map { Command.row("  \($0.name)", $0.summary, column: 14) }
    return """
      edge-lora \(version): fine-tune language models on small boards

      usage: edge-lora COMMAND [options]

      \(lines.joined(separator: "\n"))

      edge-lora COMMAND --help lists the options of a command.
      \(exitCodes)
      """
  }
  /// The exit codes in lines of a terminal.
  private static var exitCodes: String {
    let words = "Exit codes: \(ExitCode.meanings.map { "\($0.codes) \($0.meaning)" }.joined(separator: ", "))."
    return TerminalText.wrapped(words)
  }
}
