import Options
import Testing

struct TerminalTextTests {
  @Test func linesEndBeforeTheEdgeAndHaveAllWords() {
    let words = (0..<60).map { String(repeating: "x", count: 1 + $0 % 9) }
    let lines = TerminalText.wrapped(words.joined(separator: " "), indent: 4).split(separator: "\n")
    #expect(lines.count > 1 && lines.allSatisfy { $0.count <= TerminalText.width })
    #expect(lines.dropFirst().allSatisfy { $0.hasPrefix("    x") })
    let found = lines.flatMap { $0.split(separator: " ") }
    #expect(found.map { String($0) } == words)
  }

  @Test func whatStandsInFrontTakesItsRoom() {
    #expect(TerminalText.wrapped("one two", indent: 2, used: 75) == "one\n  two")
    #expect(TerminalText.wrapped("  one two") == "  one two")
    let long = String(repeating: "x", count: 100)
    #expect(TerminalText.wrapped("a \(long) b") == "a\n\(long)\nb")
    #expect(TerminalText.wrapped("").isEmpty)
  }
}
