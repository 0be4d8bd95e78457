import Testing
import Tokenization

@Test(arguments: [
  (#".*\.(q|v)_proj"#, "model.layers.0.self_attn.q_proj", true),
  (#".*\.(q|v)_proj"#, "model.layers.0.self_attn.q_proj.x", false),
  (#"model\.layers\.(1[0-9]|2)\.mlp\..*"#, "model.layers.15.mlp.up_proj", true),
  (#"model\.layers\.(1[0-9]|2)\.mlp\..*"#, "model.layers.1.mlp.up_proj", false),
  (#"^model.*proj$"#, "model.q_proj", true),
  (#"(?!.*lm_head).*"#, "lm_head", false),
  (#"(?!.*lm_head).*"#, "model.embed", true),
  (#"a|ab"#, "ab", true),
  (#"a??ab"#, "aab", true),
  (#"[\w.]+?\d{1,2}"#, "h.12", true),
  (#"[[]x]"#, "[x]", true),
  ("(?i:kelvin)", "\u{212A}elVIN", true),
  ("(?i:\u{17F})", "S", true),
  ("(?i:\u{E9})", "\u{C9}", true),
  ("(?i:[a-z]+)", "AbZ", true),
  ("(?i:@)", "`", false),
  ("", "", true),
  ("", "a", false),
  ("a", "", false),
])
func wholeTextsMatchAsInPython(pattern: String, text: String, expected: Bool) throws {
  #expect(try TextPattern(pattern).matchesWhole(text) == expected)
}

@Test(arguments: ["(", "a)", "[a", "*", "(?P<n>a)", #"(a)\1"#, "a{3,1}"])
func aWrongPatternIsRefused(pattern: String) {
  #expect(throws: TextPatternError.self) { try TextPattern(pattern) }
}

@Test func aPatternWithoutEndIsGivenUp() throws {
  let pattern = try TextPattern("(a+)+b")
  #expect(throws: TextPatternError.self) { try pattern.matchesWhole(String(repeating: "a", count: 60)) }
}

@Test func aPatternOfMegabytesIsRefused() {
  #expect(throws: TextPatternError.self) { try TextPattern(String(repeating: "a", count: 1 << 20)) }
}
