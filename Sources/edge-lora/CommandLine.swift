import Options

/// A command: its name, what it takes, and what it does.
struct Command: Sendable {
  let name: String
  let summary: String
  /// What stands behind the name: `SOURCE`, ...
  let positional: [String]
  let options: [OptionDeclaration]
  /// Commands of which this one is made, such as `bench train`, each with options of its own.
  var parts: [Command] = []
  let run: @Sendable (Arguments) throws -> Int32

  /// The command, or the part of it, that the words behind its name mean, and what that is given.
  func meant(by words: [String]) -> (command: Command, words: [String]) {
    for (index, word) in words.enumerated() {
      guard let part = parts.first(where: { $0.name == "\(name) \(word)" }) else { continue }
      return (part, Array(words[..<index] + words[(index + 1)...]))
    }
    return (self, words)
  }

  /// The text of `--help`.
  var help: String {
    var lines = [
      "usage: edge-lora \(([name] + positional).joined(separator: " ")) [options]", "", TerminalText.wrapped(summary),
      "",
    ]
    guard parts.isEmpty else {
      lines += parts.map { Self.row("  " + $0.name, $0.summary, column: 18) }
      lines += ["", "edge-lora \(parts[0].name) --help lists the options of \(parts[0].name)."]
      return lines.joined(separator: "\n")
    }
    lines.append("options:")
    for option in options + [.init("help", nil, "print this")] {
      let dashes = option.name.count == 1 ? "-" : "--"
      let left = "  \(dashes)\(option.name)\(option.placeholder.map { " " + $0 } ?? "")"
      let fallback = option.fallback.map { " (default: \($0))" } ?? ""
      lines.append(Self.row(left, option.help + fallback, column: 36))
    }
    return lines.joined(separator: "\n")
  }

  /// A name and, from a column on, what it means.
  static func row(_ name: String, _ meaning: String, column: Int) -> String {
    let left = name.padding(to: column)
    return left + TerminalText.wrapped(meaning, indent: column, used: left.count)
  }
}

extension String {
  /// The text with spaces up to a column, and one at least.
  fileprivate func padding(to width: Int) -> String { self + String(repeating: " ", count: max(1, width - count)) }
}

/// Words that the command line does not allow; exit code 2.
struct UsageError: Error, CustomStringConvertible {
  let description: String
}

/// A command's words, sorted.
struct Arguments {
  private(set) var positional: [String] = []
  /// By option, with what the command's declarations say of the others.
  private(set) var values: OptionValues
  /// Switches that are turned off, as in `--no-shuffle=false`: against a settings file that turns them on.
  private var turnedOff: Set<String> = []

  /// - Throws: `UsageError`
  init(_ words: [String], for command: Command) throws {
    values = OptionValues([:], command.options)
    var values: [String: [String]] = [:]
    var rest = words[...]
    while let word = rest.popFirst() {
      guard word.hasPrefix("-"), word != "-" else {
        positional.append(word)
        continue
      }
      let body = word.drop { $0 == "-" }
      let equals = body.firstIndex(of: "=")
      // Hugging Face's scripts write their options with underscores.
      let name = String(body[..<(equals ?? body.endIndex)].map { $0 == "_" ? "-" : $0 })
      guard let option = command.options.first(where: { $0.isCalled(name) })
      else {
        throw UsageError(
          description: "unknown option \(word)"
            + (ForeignOptions.advice(name) ?? Self.suggestion(name, command.options)))
      }
      guard option.placeholder != nil else {
        var value = equals.map { String(body[body.index(after: $0)...]) }
        if value == nil, let next = rest.first, ["true", "false"].contains(next.lowercased()) {
          value = next.lowercased()
          rest.removeFirst()
        }
        switch value {
        case nil, "true":
          values[option.name] = []
          turnedOff.remove(option.name)
        case "false":
          values[option.name] = nil
          turnedOff.insert(option.name)
        case let value?: throw UsageError(description: "--\(name)=\(value): expected true or false, or nothing")
        }
        continue
      }
      if let equals {
        values[option.name, default: []].append(String(body[body.index(after: equals)...]))
        continue
      }
      guard var value = rest.popFirst(), value == "-" || !value.hasPrefix("--") else {
        throw UsageError(description: "\(word) needs a value (\(option.placeholder ?? ""))")
      }
      // PEFT's scripts take names one after the other.
      while option.placeholder == "NAMES", command.positional.isEmpty, let next = rest.first, !next.hasPrefix("-") {
        value += ",\(next)"
        rest.removeFirst()
      }
      values[option.name, default: []].append(value)
      while option.isList, let next = rest.first, next == "-" || !next.hasPrefix("-") {
        values[option.name, default: []].append(next)
        rest = rest.dropFirst()
      }
    }
    self.values = OptionValues(values, command.options)
    let takesMore = command.positional.last?.hasSuffix("...") ?? false
    guard takesMore || positional.count <= command.positional.count else {
      throw UsageError(description: "unexpected word \(positional[command.positional.count])")
    }
  }

  /// Values for options that the command line does not set.
  mutating func addDefaults(_ more: [String: [String]]) {
    values.addDefaults(more.filter { !turnedOff.contains($0.key) })
  }

  func text(_ name: String) -> String? { values.text(name) }
  func flag(_ name: String) -> Bool { values.flag(name) }
  func required(_ name: String) throws -> String { try values.required(name) }

  func number<T: LosslessStringConvertible & Comparable>(_ name: String, in range: ClosedRange<T>) throws -> T {
    try values.number(name, in: range)
  }

  func threads() throws -> Int? { try values.threads() }

  /// `; did you mean --x?` for the nearest name, if one is near.
  static func suggestion(_ name: String, _ options: [OptionDeclaration]) -> String {
    let spellings = options.flatMap { option in ([option.name] + option.aliases).map { ($0, "--" + option.name) } }
    return suggestion(name, spellings)
  }

  /// `; did you mean train?` for the nearest command, if one is near.
  static func suggestion(_ name: String, _ commands: [Command]) -> String {
    suggestion(name, commands.map { ($0.name, "edge-lora " + $0.name) })
  }

  private static func suggestion(_ name: String, _ spellings: [(spelling: String, meant: String)]) -> String {
    guard let nearest = spellings.min(by: { distance(name, $0.spelling) < distance(name, $1.spelling) }),
      distance(name, nearest.spelling) <= max(2, name.count / 3)
    else { return "" }
    return "; did you mean \(nearest.meant)?"
  }

  private static func distance(_ a: String, _ b: String) -> Int {
    let b = Array(b)
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var previous = row[0]
      row[0] = i + 1
      for j in 0..<b.count {
        let cost = min(row[j + 1] + 1, row[j] + 1, previous + (x == b[j] ? 0 : 1))
        previous = row[j + 1]
        row[j + 1] = cost
      }
    }
    return row[b.count]
  }
}
