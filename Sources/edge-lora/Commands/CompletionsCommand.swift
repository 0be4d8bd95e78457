import Options

/// Prints what a shell needs to complete command lines; for packages, and not listed.
let completionsCommand = Command(
  name: "completions", summary: "print completions for a shell", positional: ["bash|zsh|fish"], options: []
) { arguments in
  guard let shell = arguments.positional.first.flatMap(Completions.init) else {
    throw UsageError(description: "name a shell: bash, zsh or fish")
  }
  Console.print(shell.text(EdgeLoRA.commands))
  return ExitCode.success
}

/// Completions made of what the commands declare.
enum Completions: String {
  case bash, zsh, fish

  func text(_ commands: [Command]) -> String {
    switch self {
    case .bash: Self.bash(commands)
    case .zsh: Self.zsh(commands)
    case .fish: Self.fish(commands)
    }
  }

  /// What stands for the value of an option.
  private enum Value {
    case none, path, folder, other

    init(_ option: OptionDeclaration) {
      switch option.placeholder {
      case nil: self = .none
      case let text? where text.contains("FILE") || text.contains("CONFIG"): self = .path
      case let text? where text.contains("DIR"): self = text.contains("|") ? .path : .folder
      default: self = .other
      }
    }
  }

  private static let help = OptionDeclaration("help", nil, "print the options")

  /// Words that can stand behind a command's name, if they are known.
  private static func words(_ command: Command) -> [String] {
    command.positional.filter { $0.contains("|") && $0 == $0.lowercased() }
      .flatMap { $0.split(separator: "|").map(String.init) }
  }

  /// Whether a file can stand behind a command's name.
  private static func takesPath(_ command: Command) -> Bool {
    command.positional.contains { $0.contains("FILE") || $0.contains("SOURCE") || $0.contains("DIR") }
  }

  /// An option as it is typed.
  private static func dashed(_ name: String) -> String { (name.count == 1 ? "-" : "--") + name }

  /// Text between the quotes of a shell.
  private static func quoted(_ text: String) -> String { "'" + text.replacing("'", with: "'\\''") + "'" }

  // MARK: Bash

  private static func bash(_ commands: [Command]) -> String {
    var lines = [
      "# bash completion for edge-lora", "_edge_lora() {",
      "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} name=${COMP_WORDS[1]}",
      "  local options= words= paths= folders= values=", "  COMPREPLY=()",
      "  if ((COMP_CWORD == 1)) || [[ $COMP_CWORD == 2 && $name == help ]]; then",
      "    COMPREPLY=($(compgen -W \"\(commands.map(\.name).joined(separator: " ")) help\" -- \"$word\"))",
      "    return",
      "  fi", "  case $name in",
    ]
    for command in commands {
      let options = command.options + [help]
      func names(_ value: Value) -> String {
        var names: [String] = []
        for option in options where Value(option) == value {
          for name in [option.name] + option.aliases { names.append(Self.dashed(name)) }
        }
        return names.joined(separator: " ")
      }
      let all = options.map { Self.dashed($0.name) }.joined(separator: " ")
      let behind = words(command).joined(separator: " ") + (takesPath(command) ? " FILE" : "")
      lines += [
        "    \(command.name))", "      options=\"\(all)\"",
        "      words=\"\(behind)\"",
        "      paths=\"\(names(.path))\"", "      folders=\"\(names(.folder))\"",
        "      values=\"\(names(.other))\"", "      ;;",
      ]
    }
    lines += [
      "  esac", "  local kind=words", "  [[ \" $paths \" == *\" $previous \"* ]] && kind=f",
      "  [[ \" $folders \" == *\" $previous \"* ]] && kind=d", "  [[ \" $values \" == *\" $previous \"* ]] && kind=",
      "  if [[ $word == -* ]]; then", "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))", "    return", "  fi",
      "  if [[ $kind == words ]]; then", "    if [[ $words == *FILE ]]; then", "      kind=f", "    else",
      "      COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))", "    fi", "  fi",
      "  if [[ $kind == f || $kind == d ]]; then", "    compopt -o filenames 2>/dev/null",
      "    local IFS=$'\\n'", "    COMPREPLY=($(compgen -$kind -- \"$word\"))", "  fi", "}",
      "complete -F _edge_lora edge-lora",
    ]
    return lines.joined(separator: "\n")
  }

  // MARK: Zsh

  private static func zsh(_ commands: [Command]) -> String {
    func escaped(_ text: String, _ special: String) -> String {
      text.map { special.contains($0) ? "\\\($0)" : String($0) }.joined()
    }
    var lines = ["#compdef edge-lora", "_edge_lora() {", "  local -a commands", "  commands=("]
    for command in commands {
      lines.append("    " + quoted("\(command.name):\(escaped(command.summary, ":\\"))"))
    }
    lines += [
      "    'help:list the commands, or the options of one'", "  )",
      "  if (( CURRENT == 2 )) || [[ $CURRENT == 3 && $words[2] == help ]]; then", "    _describe command commands",
      "    return", "  fi", "  local name=$words[2]", "  shift words", "  (( CURRENT-- ))", "  case $name in",
    ]
    for command in commands {
      lines.append("    \(command.name)) _arguments \\")
      for option in command.options + [help] {
        let about = "[\(escaped(option.help, "[]:\\"))]"
        let value =
          option.placeholder.map { text in
            let action =
              switch Value(option) {
              case .path: "_files"
              case .folder: "_files -/"
              case .none, .other: " "
              }
            return ":\(escaped(text, "[]:\\")):\(action)"
          } ?? ""
        for name in [option.name] + option.aliases.filter({ $0.count == 1 }) {
          lines.append("      " + quoted("*\(dashed(name))\(about)\(value)") + " \\")
        }
      }
      let positional = escaped(command.positional.joined(separator: " "), "[]:\\")
      let known = words(command)
      let action = known.isEmpty ? takesPath(command) ? "_files" : " " : "(\(known.joined(separator: " ")))"
      lines.append("      " + (command.positional.isEmpty ? "&& return" : quoted("1:\(positional):\(action)")) + " ;;")
    }
    return (lines + ["  esac", "}", "_edge_lora \"$@\""]).joined(separator: "\n")
  }

  // MARK: Fish

  private static func fish(_ commands: [Command]) -> String {
    func text(_ plain: String) -> String {
      "'" + plain.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
    }
    var lines = ["# fish completion for edge-lora", "complete -c edge-lora -f"]
    let names = commands.map(\.name).joined(separator: " ")
    for command in commands {
      lines.append(
        "complete -c edge-lora -n __fish_use_subcommand -a \(command.name) -d \(text(command.summary))")
    }
    lines += [
      "complete -c edge-lora -n __fish_use_subcommand -a help -d 'list the commands, or the options of one'",
      "complete -c edge-lora -n '__fish_seen_subcommand_from help' -a \(text(names))",
    ]
    for command in commands {
      let start = "complete -c edge-lora -n '__fish_seen_subcommand_from \(command.name)'"
      let known = words(command)
      if !known.isEmpty { lines.append("\(start) -a '\(known.joined(separator: " "))'") }
      if takesPath(command) { lines.append("\(start) -F") }
      for option in command.options + [help] {
        let short = option.aliases.filter { $0.count == 1 }.map { " -s \($0)" }.joined()
        let value =
          switch Value(option) {
          case .none: ""
          case .path: " -r -F"
          case .folder: " -x -a '(__fish_complete_directories)'"
          case .other: " -x"
          }
        lines.append("\(start) -l \(option.name)\(short)\(value) -d \(text(option.help))")
      }
    }
    return lines.joined(separator: "\n")
  }
}
