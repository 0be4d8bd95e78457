/// Turns ids into text as they come, holding back what does not make a whole character yet.
///
/// All pieces and the rest from `finish` together are what `Tokenizer.decode` gives for all ids at once, or what it adds for
/// them to the text of those that they continue (of ids that do not make UTF-8, tokenizers with byte fallback may give another number of U+FFFD).
public struct StreamingDecoder {
  private let tokenizer: Tokenizer
  private let skipsSpecialTokens: Bool
  /// Bytes of a character that is not complete (byte-level tokenizers).
  private var pending: [UInt8] = []
  /// The ids that the next text may depend on (other tokenizers), and how many of them have been written.
  private var window: [Int32] = []
  private var writtenCount = 0

  /// - Parameters:
  ///   - skipSpecialTokens: whether special tokens are left out
  ///   - context: what the ids continue: tokenizers that write a space as part of the word after it drop that of the first
  ///     word of a text, which this one is not then
  public init(_ tokenizer: Tokenizer, skipSpecialTokens: Bool = true, after context: [Int32] = []) {
    self.tokenizer = tokenizer
    skipsSpecialTokens = skipSpecialTokens
    guard !tokenizer.pipeline.decoder.isByteLevel else { return }
    window = context.filter { !skipSpecialTokens || !tokenizer.isSpecial($0) }.suffix(Self.contextLength)
    writtenCount = window.count
  }

  /// More ids of the context than a character can take.
  private static let contextLength = 8

  /// The text that `id` completes.
  public mutating func append(_ id: Int32) -> String {
    if skipsSpecialTokens, tokenizer.isSpecial(id) { return "" }
    guard tokenizer.pipeline.decoder.isByteLevel else { return appendToWindow(id) }
    pending += tokenizer.plainBytes(id)
    let complete = pending.count - Self.openBytes(pending)
    defer { pending.removeFirst(complete) }
    return String(decoding: pending[0..<complete], as: UTF8.self)
  }

  /// What is left at the end: characters that were never completed, as U+FFFD.
  public mutating func finish() -> String {
    defer {
      pending = []
      window = []
      writtenCount = 0
    }
    if tokenizer.pipeline.decoder.isByteLevel { return String(decoding: pending, as: UTF8.self) }
    return newText()
  }

  private mutating func appendToWindow(_ id: Int32) -> String {
    window.append(id)
    // Tokens of single bytes wait until they make characters.
    var bytes: [UInt8] = []
    for id in window[writtenCount...].reversed() {
      guard let byte = tokenizer.fallbackByte(id) else { break }
      bytes.insert(byte, at: 0)
    }
    if Self.openBytes(bytes) > 0 { return "" }
    let text = newText()
    if text.isEmpty { return "" }
    window.removeFirst(writtenCount)
    writtenCount = window.count
    return text
  }

  /// What the ids that are not written yet add to those that are.
  private func newText() -> String {
    let before = tokenizer.decode(Array(window[0..<writtenCount]))
    let all = tokenizer.decode(window)
    guard all.utf8.starts(with: before.utf8) else { return tokenizer.decode(Array(window[writtenCount...])) }
    return String(decoding: all.utf8.dropFirst(before.utf8.count), as: UTF8.self)
  }

  /// How many bytes at the end start a character without ending it.
  private static func openBytes(_ bytes: [UInt8]) -> Int {
    for back in 1..<4 where back <= bytes.count {
      let byte = bytes[bytes.count - back]
      if byte & 0xC0 == 0x80 { continue }
      let length = byte < 0xC2 || byte > 0xF4 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2
      return length > back ? back : 0
    }
    return 0
  }
}
