/// A text that grows at its end, and its tokens: those that no further text can change are not looked for again.
public struct GrowingText {
  private let tokenizer: Tokenizer
  /// The tokens before `tail`.
  private var settled: [Int32]
  /// What is encoded anew.
  private var tail = ""

  /// - Parameter addsSpecialTokens: whether what the tokenizer puts before a text is put before this one
  public init(_ tokenizer: Tokenizer, addsSpecialTokens: Bool) {
    self.tokenizer = tokenizer
    settled = addsSpecialTokens ? tokenizer.pipeline.prefix : []
  }

  /// Adds text at the end.
  /// - Returns: the tokens of the whole text
  public mutating func append(_ rest: String) -> [Int32] {
    tail += rest
    let (tokens, cut) = tail.withUTF8 { text in tokenizer.withEncoder { $0.encodeGrowing(text) } }
    let all = settled + tokens
    settled += tokens[..<cut.tokenCount]
    tail = String(decoding: tail.utf8.dropFirst(cut.byteCount), as: UTF8.self)
    return all
  }
}
