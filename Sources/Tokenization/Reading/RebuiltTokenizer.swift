import Formats

/// A tokenizer that came in another form, as the files that all programs read.
public struct RebuiltTokenizer: Sendable {
  /// `tokenizer.json`
  public let tokenizer: JSONValue
  /// `tokenizer_config.json`
  public let configuration: JSONValue
  /// What had to be guessed, for the user to know.
  public let warnings: [String]
}
