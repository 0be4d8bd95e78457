import Foundation
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

/// README and the pages of `docs`: what they tell a reader to type, and what they point at, is there.
struct PagesTests {
  private struct Page {
    let path: String
    let text: String
  }

  private let pages: [Page]
  private let names: [String]

  init() throws {
    let documents = try FileManager.default.contentsOfDirectory(atPath: root.path + "/docs").sorted()
    let paths = ["README.md"] + documents.filter { $0.hasSuffix(".md") }.map { "docs/" + $0 }
    pages = try paths.map {
      Page(path: $0, text: try String(contentsOf: root.appendingPathComponent($0), encoding: .utf8))
    }
    let lines = try Program.run(["--help"]).output.split(separator: "\n")
    names = lines.filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") }.compactMap {
      $0.split(separator: " ").first.map(String.init)
    }
  }

  /// The words of each command on a page that begins with `program`: up to the line's end, or that of the inline code or
  /// the brackets around it; a backslash joins lines. What stands in quotes is one word, and a comment is none.
  private func commands(_ program: String, in page: Page) -> [[String]] {
    let text = page.text.replacingOccurrences(of: "\\\n", with: " ")
    var found: [[String]] = []
    for piece in text.components(separatedBy: program).dropFirst() {
      var words: [String] = []
      var word = ""
      var quote: Character?
      var depth = 0
      for character in piece.prefix(2000) {
        if quote == nil, character == "\n" || character == "`" { break }
        if quote == nil { depth += character == "(" ? 1 : character == ")" ? -1 : 0 }
        if depth < 0 { break }
        if character == quote {
          quote = nil
        } else if quote == nil, character == "\"" || character == "'" {
          quote = character
        } else if quote == nil, character == " " {
          words.append(word)
          word = ""
        } else {
          word.append(quote != nil && character == "-" ? "_" : character)
        }
      }
      words.append(word)
      let end = words.firstIndex { ["#", "|", ">", "&", "&&"].contains($0) } ?? words.count
      found.append(words[..<end].map { $0.trimmingCharacters(in: ["[", "]", "(", ")", ",", ".", ";", ":"]) })
    }
    return found
  }

  /// Words that are options, without what is behind `=`.
  private func options(_ words: [String]) -> [String] {
    words.filter { $0.hasPrefix("-") && $0.count > 1 && Double($0) == nil }
      .map { String($0.split(separator: "=")[0]) }
  }

  @Test func everyOptionOnAPageIsInTheHelpOfItsCommand() throws {
    var helps: [String: Set<String>] = [:]
    var count = 0
    for page in pages {
      for words in commands("edge-lora ", in: page) {
        guard let name = words.first, names.contains(name) else {
          // A sentence about the program has no options; those of `--product edge-lora` are another program's.
          let isSentence = words.first?.hasPrefix("-") ?? true || options(words).allSatisfy { $0 == "--help" }
          #expect(isSentence, "\(page.path): edge-lora \(words.joined(separator: " "))")
          continue
        }
        let command = name == "bench" ? Array(words.prefix(2)) : [name]
        let key = command.joined(separator: " ")
        if helps[key] == nil { helps[key] = try helpOptions(command).union(["-o"]) }
        for option in options(words) {
          let isListed = helps[key]?.contains(option) ?? false
          #expect(isListed, "\(page.path): \(key) \(option)")
          count += 1
        }
      }
    }
    #expect(count > 100)  // the pages have that many: the test has read them
  }

  /// The options that a command's help lists.
  private func helpOptions(_ command: [String]) throws -> Set<String> {
    let help = try Program.run(command + ["--help"])
    #expect(help.code == 0, "\(command)")
    let lines = help.output.split(separator: "\n").filter { $0.hasPrefix("  -") }
    return Set(lines.compactMap { $0.split(separator: " ").first.map(String.init) })
  }

  @Test func everyCommandAndOptionIsOnAPage() throws {
    let all = pages.map(\.text).joined(separator: "\n")
    let words = Set(all.split { !($0.isLetter || $0.isNumber || $0 == "-") }.map(String.init))
    for name in names {
      #expect(all.contains("edge-lora \(name)"), "\(name)")
      for option in try helpOptions([name]).sorted() { #expect(words.contains(option), "\(name) \(option)") }
    }
    for part in ["train", "generate", "kernels"] {
      for option in try helpOptions(["bench", part]).sorted() { #expect(words.contains(option), "\(part) \(option)") }
    }
  }

  @Test func everyToolOnAPageIsThereAndKnowsItsOptions() throws {
    for page in pages {
      for words in commands("Tools/", in: page) {
        let path = root.path + "/Tools/" + (words.first ?? "")
        let isThere = FileManager.default.fileExists(atPath: path)
        #expect(isThere, "\(page.path): Tools/\(words.first ?? "")")
        guard let source = try? String(contentsOfFile: path, encoding: .utf8) else { continue }
        for option in options(words) {
          let isKnown = source.contains(option)
          #expect(isKnown, "\(page.path): Tools/\(words[0]) \(option)")
        }
      }
    }
  }

  @Test func everyLinkLeadsToAFileAndAHeading() throws {
    for page in pages {
      for piece in page.text.components(separatedBy: "](").dropFirst() {
        let target = String(piece.prefix { $0 != ")" && $0 != "\n" })
        if target.hasPrefix("http") { continue }
        let parts = target.split(separator: "#", omittingEmptySubsequences: false).map(String.init)
        let place = root.appendingPathComponent(page.path).deletingLastPathComponent()
        let file = parts[0].isEmpty ? root.appendingPathComponent(page.path) : place.appendingPathComponent(parts[0])
        let isThere = FileManager.default.fileExists(atPath: file.standardized.path)
        #expect(isThere, "\(page.path): \(target)")
        guard isThere, parts.count > 1 else { continue }
        let headings = try String(contentsOf: file.standardized, encoding: .utf8).split(separator: "\n")
          .filter { $0.hasPrefix("#") }.map(anchor)
        #expect(headings.contains(parts[1]), "\(page.path): \(target)")
      }
    }
  }

  /// A heading as browsers address it: small letters, hyphens for spaces, without marks.
  private func anchor(_ heading: Substring) -> String {
    let text = heading.drop { $0 == "#" }.trimmingCharacters(in: .whitespaces).lowercased()
    return String(text.filter { $0.isLetter || $0.isNumber || " -_".contains($0) }.map { $0 == " " ? "-" : $0 })
  }
}
