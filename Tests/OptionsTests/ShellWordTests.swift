import Options
import Testing

@Test(arguments: [
  ("adapter/run-1", "adapter/run-1"), ("Wörter", "Wörter"), ("", "''"), ("my run", "'my run'"),
  ("it's", "'it'\\''s'"), ("$HOME", "'$HOME'"), ("a;b", "'a;b'"),
])
func wordsAreQuotedForAShellWhereTheyMustBe(word: String, quoted: String) {
  #expect(ShellWord.quoted(word) == quoted)
}
