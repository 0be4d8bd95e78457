import Foundation
import Testing

/// The manual page and the completions that packages bring.
struct ReferenceTests {
  /// Flags of a command with their dashes, as its help lists them, or the helps of its parts.
  static func flags(_ command: String) throws -> Set<String> {
    let lines = try help([command])
    let parts = lines.filter { $0.hasPrefix("  \(command) ") }.map { $0.split(separator: " ")[1] }
    let all = try parts.isEmpty ? lines : parts.flatMap { try help([command, String($0)]) }
    return Set(all.filter { $0.hasPrefix("  -") }.compactMap { $0.split(separator: " ").first.map(String.init) })
  }

  private static func help(_ words: [String]) throws -> [Substring] {
    try Program.run(words + ["--help"]).output.split(separator: "\n")
  }

  static func commands() throws -> [String] {
    let usage = try Program.run(["--help"]).output
    let lines = usage.split(separator: "\n").filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") }
    return lines.compactMap { $0.split(separator: " ").first.map(String.init) }
  }

  @Test func theManualHasEveryOptionOfEveryCommand() throws {
    let manual = try Program.run(["manual"])
    #expect(manual.code == 0 && manual.output.hasPrefix(".TH "))
    let sections = manual.output.components(separatedBy: "\n.SS ").dropFirst()
    for command in try Self.commands() {
      let own = sections.filter { $0.hasPrefix(command) && !($0.dropFirst(command.count).first?.isLetter ?? false) }
      #expect(!own.isEmpty, "\(command)")
      let text = own.joined().replacingOccurrences(of: "\\-", with: "-")
      for flag in try Self.flags(command) { #expect(text.contains("\\fB\(flag)\\fR"), "\(command) \(flag)") }
    }
    // No line that roff would take as a request which it is not.
    let requests: Set<String> = [".TH", ".SH", ".SS", ".TP", ".B", ".I", ".nf", ".fi"]
    for line in manual.output.split(separator: "\n") where line.hasPrefix(".") || line.hasPrefix("'") {
      #expect(requests.contains(String(line.prefix { $0 != " " })), "\(line)")
    }
  }

  @Test func bashCompletesEveryOptionOfEveryCommand() throws {
    let script = try Program.run(["completions", "bash"]).output
    for command in try Self.commands() {
      let words = try Self.complete(script, ["edge-lora", command, "-"])
      let flags = try Self.flags(command)
      #expect(Set(words) == flags, "\(command)")
    }
    #expect(try Self.complete(script, ["edge-lora", "tr"]) == ["train"])
    #expect(try Self.complete(script, ["edge-lora", "help", "quan"]) == ["quantize"])
    #expect(try Self.complete(script, ["edge-lora", "bench", "ke"]) == ["kernels"])
    #expect(try Self.complete(script, ["edge-lora", "train", "--rank", ""]) == [])
    #expect(try Self.complete(script, ["edge-lora", "train", "--model", "/us"]) == ["/usr"])
  }

  @Test(arguments: ["zsh", "fish"]) func otherShellsHaveEveryOptionToo(shell: String) throws {
    let script = try Program.run(["completions", shell]).output
    for command in try Self.commands() {
      for flag in try Self.flags(command) {
        let name = flag.drop { $0 == "-" }
        #expect(script.contains(shell == "zsh" ? "'*\(flag)[" : " -l \(name) "), "\(command) \(flag)")
      }
    }
    #expect(try Program.run(["completions", "csh"]).code == 2)
  }

  /// What bash proposes for the last of `words`.
  private static func complete(_ script: String, _ words: [String]) throws -> [String] {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    let list = words.map { "'\($0)'" }.joined(separator: " ")
    process.arguments = [
      "-c",
      script + "\nCOMP_WORDS=(\(list)); COMP_CWORD=\(words.count - 1); _edge_lora; printf '%s\\n' \"${COMPREPLY[@]}\"",
    ]
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return output.split(separator: "\n").map(String.init)
  }
}
