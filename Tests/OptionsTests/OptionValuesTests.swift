import Options
import Testing

struct OptionValuesTests {
  private enum Color: String, CaseIterable { case red, green }

  private func values(_ given: [String: [String]]) -> OptionValues {
    OptionValues(
      given,
      [
        .init("rate", "X", default: "2e-4", aliases: ["lr"], identifies: true, "a number with a fallback"),
        .init("steps", "N", "a number without one"), .init("color", "KIND", default: "red", "one of two words"),
        .init("files", "FILE...", isList: true, identifies: true, "a list"),
        .init("quiet", nil, identifies: true, "a switch"), .init("limit", "SIZE", "a size"),
      ])
  }

  @Test func whatIsNotGivenIsWhatItsDeclarationSays() throws {
    let none = values([:])
    #expect(try none.number("rate", in: 0...1.0) == 2e-4 && none.choice("color", Color.self) == .red)
    #expect(try none.optionalNumber("steps", in: 0...9) == nil && none.size("limit") == nil)
    #expect(none.list("files").isEmpty && !none.flag("quiet") && !none.isGiven("rate"))
    #expect(throws: OptionError.self) { try none.number("steps", in: 0...9) }
    #expect(throws: OptionError.self) { try none.required("files") }
  }

  @Test func numbersAreListedOneByOneOrFromTo() {
    #expect(NumberList.parse("0-3,7") == [0, 1, 2, 3, 7] && NumberList.parse("5") == [5])
    for text in ["3-1", "-1", "1-2-3", "a", "1,b", "0-99999", "4294967296"] { #expect(NumberList.parse(text) == nil) }
  }

  @Test func theLastValueCountsAndAllOfAList() throws {
    let given = values(["rate": ["1", "0.5"], "files": ["a", "b"], "quiet": [], "limit": ["2K"]])
    #expect(try given.number("rate", in: 0...1.0) == 0.5 && given.list("files") == ["a", "b"] && given.flag("quiet"))
    #expect(try given.size("limit") == 2048)
  }

  @Test(arguments: [
    ("steps", "10", "--steps 10: expected a number from 0 to 9"), ("steps", "1.5", "expected a number"),
    ("steps", "", "expected a number"), ("color", "blue", "--color blue: expected red, green"),
    ("limit", "much", "expected a size"), ("rate", "nan", "expected a number"),
  ])
  func aValueOutOfRangeIsRefusedByName(name: String, value: String, expected: String) {
    let given = values([name: [value]])
    do {
      _ = try given.optionalNumber("steps", in: 0...9)
      _ = try given.number("rate", in: 0...1.0)
      _ = try given.choice("color", Color.self)
      _ = try given.size("limit")
      Issue.record("\(name) \(value) was taken")
    } catch {
      #expect("\(error)".contains(expected), "\(error)")
    }
  }

  @Test func whatTheCommandLineSaysWinsOverDefaults() throws {
    var given = values(["rate": ["0.5"]])
    given.addDefaults(["rate": ["0.1"], "color": ["green"]])
    #expect(try given.number("rate", in: 0...1.0) == 0.5 && given.choice("color", Color.self) == .green)
  }

  /// A resumed run may spell a number otherwise.
  @Test func identityIsOfValuesNotOfSpellings() {
    func text(_ given: [String: [String]]) -> String {
      values(given).identity.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
    }
    #expect(text([:]) == text(["rate": ["0.0002"]]) && text([:]) == text(["color": ["green"]]))
    #expect(text([:]) != text(["rate": ["0.1"]]) && text([:]) != text(["quiet": []]))
    #expect(text(["files": ["a", "b"]]) != text(["files": ["b"]]))
  }
}
