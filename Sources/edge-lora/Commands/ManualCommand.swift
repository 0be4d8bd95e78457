import Options

/// Prints the manual page; for packages, and not listed.
let manualCommand = Command(
  name: "manual", summary: "print the manual page, as roff", positional: [], options: []
) { _ in
  Console.print(ManualPage.text(EdgeLoRA.commands))
  return ExitCode.success
}

/// The manual page, made of what the commands declare.
enum ManualPage {
  static func text(_ commands: [Command]) -> String {
    var lines = [
      ".TH EDGE\\-LORA 1 \"\" \"edge\\-lora \(EdgeLoRA.version)\" \"User Commands\"", ".SH NAME",
      "edge\\-lora \\- fine\\-tune language models on small boards", ".SH SYNOPSIS", ".B edge\\-lora", ".I COMMAND",
      "[\\fIoptions\\fR]", ".SH DESCRIPTION",
      roff(
        "A checkpoint becomes a 4-bit or 8-bit store, adapters train on it inside a memory budget, and the result is "
          + "evaluated, used, or merged into a model. Options of train and plan can also stand in edge-lora.json in "
          + "the working directory; what the command line says counts more."),
      ".SH COMMANDS",
    ]
    for command in commands.flatMap({ $0.parts.isEmpty ? [$0] : $0.parts }) {
      lines += [".SS \(roff(command.name)) \(command.positional.map(roff).joined(separator: " "))".trimmedEnd]
      lines.append(roff(sentence(command.summary)))
      for option in command.options + [OptionDeclaration("help", nil, "print the options")] {
        lines += [".TP", heading(option), roff(option.help + (option.fallback.map { " (default: \($0))" } ?? ""))]
      }
    }
    lines += [".SH ENVIRONMENT"]
    for (name, meaning) in variables { lines += [".TP", ".B \(roff(name))", roff(meaning)] }
    lines += [".SH \"EXIT STATUS\""]
    for (codes, meaning) in ExitCode.meanings { lines += [".TP", ".B \(roff(codes))", roff(meaning)] }
    lines += [
      ".SH EXAMPLES", ".nf", roff("edge-lora quantize model.safetensors -o base"),
      roff("edge-lora train --model base --data train.jsonl --max-mem 1G --output adapter"),
      roff("edge-lora generate --model base --adapter adapter --prompt \"lights off in the kitchen\""), ".fi",
    ]
    return lines.joined(separator: "\n")
  }

  private static let variables = [
    ("EDGELORA_ISA", "the instruction set to use instead of the best one that the processor has"),
    ("HF_ENDPOINT", "the address of the hub that fetch asks (default: https://huggingface.co)"),
    (
      "HF_TOKEN",
      "the access token that fetch sends to the hub; otherwise that of a login, in HF_TOKEN_PATH or HF_HOME/token"
    ),
  ]

  private static func heading(_ option: OptionDeclaration) -> String {
    let names = ([option.name] + option.aliases.filter { $0.count == 1 }).sorted { $0.count < $1.count }
    let dashed = names.map { "\\fB\($0.count == 1 ? "\\-" : "\\-\\-")\(roff($0))\\fR" }.joined(separator: ", ")
    let value =
      option.placeholder.map { " \\fI\(roff($0))\\fR\(option.isList && !$0.hasSuffix("...") ? " ..." : "")" } ?? ""
    return dashed + value
  }

  private static func sentence(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() + "." }

  /// Text that roff takes as it is.
  private static func roff(_ text: String) -> String {
    var result = ""
    for character in text {
      switch character {
      case "\\": result += "\\e"
      case "-": result += "\\-"
      default: result.append(character)
      }
    }
    return result.hasPrefix(".") || result.hasPrefix("'") ? "\\&" + result : result
  }
}

extension String {
  fileprivate var trimmedEnd: String { hasSuffix(" ") ? String(dropLast()) : self }
}
