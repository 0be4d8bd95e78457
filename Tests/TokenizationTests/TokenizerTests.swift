import Formats
import Foundation
import Testing
import Tokenization

private let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
  "Golden/tokenizers.json")

private func ids(_ json: JSONValue?) -> [Int32] { json?.arrayValue?.compactMap { $0.intValue.map { Int32($0) } } ?? [] }

private func published() throws -> [JSONValue] {
  try JSONValue.parse(contentsOf: golden.path).arrayValue ?? []
}

private func tokenizer(_ entry: JSONValue) throws -> Tokenizer {
  try Tokenizer(json: try #require(entry["tokenizer"]?.stringValue))
}

@Test func idsAreThoseOfTokenizers() throws {
  for entry in try published() {
    let tokenizer = try tokenizer(entry)
    for testCase in entry["cases"]?.arrayValue ?? [] {
      guard let text = testCase["text"]?.stringValue else { continue }
      let label = Comment("\(entry["name"]?.stringValue ?? ""): \(text.debugDescription)")
      #expect(tokenizer.encode(text, addSpecialTokens: false) == ids(testCase["ids"]), label)
      #expect(tokenizer.encode(text) == ids(testCase["special"]), label)
    }
  }
}

/// Also where a stage ends within an added token, or with white space that one takes along.
@Test func aTextThatGrowsHasTheTokensOfTheWhole() throws {
  for entry in try published() {
    let tokenizer = try tokenizer(entry)
    let json = try JSONValue.parse(try #require(entry["tokenizer"]?.stringValue), file: "tokenizer")
    let added = (json["added_tokens"]?.arrayValue ?? []).compactMap { $0["content"]?.stringValue }
    let cases = (entry["cases"]?.arrayValue ?? []).compactMap { $0["text"]?.stringValue }.filter { $0.utf8.count < 80 }
    var text = ""
    for (index, piece) in cases.prefix(24).enumerated() {
      text += piece
      if !added.isEmpty { text += added[index % added.count] + (index % 3 == 0 ? " \n" : "") }
    }
    for step in [1, 7, 40] {
      var growing = GrowingText(tokenizer, addsSpecialTokens: step == 7)
      var whole = ""
      var rest = text.unicodeScalars[...]
      while !rest.isEmpty {
        let part = String(String.UnicodeScalarView(rest.prefix(step)))
        rest = rest.dropFirst(step)
        whole += part
        let expected = step == 7 ? tokenizer.encodeStart(whole) : tokenizer.encode(whole, addSpecialTokens: false)
        let found = growing.append(part)
        #expect(found == expected, "\(entry["name"]?.stringValue ?? ""): \(whole.suffix(60).debugDescription)")
        if found != expected { break }
      }
    }
  }
}

@Test func textsAreThoseOfTokenizersAlsoPieceByPiece() throws {
  for entry in try published() {
    let tokenizer = try tokenizer(entry)
    for testCase in entry["cases"]?.arrayValue ?? [] {
      let ids = ids(testCase["special"])
      let label = Comment("\(entry["name"]?.stringValue ?? ""): \(ids)")
      for (skips, expected) in [(false, testCase["decoded"]), (true, testCase["skipped"])] {
        // Byte by byte: Swift's strings are equal where only their meaning is.
        #expect(
          Array(tokenizer.decode(ids, skipSpecialTokens: skips).utf8) == expected?.stringValue.map { Array($0.utf8) },
          label)
        guard testCase["text"] != nil else { continue }
        var streaming = StreamingDecoder(tokenizer, skipSpecialTokens: skips)
        let pieces = ids.map { streaming.append($0) }.joined() + streaming.finish()
        #expect(Array(pieces.utf8) == expected?.stringValue.map { Array($0.utf8) }, label)
      }
    }
  }
}

@Test func aTextThatContinuesGetsNoSpaceBefore() throws {
  for entry in try published() where ["llama2", "mistral", "metaspace"].contains(entry["name"]?.stringValue) {
    let tokenizer = try tokenizer(entry)
    let whole = tokenizer.encode("it is", addSpecialTokens: false)
    let first = tokenizer.encode("it", addSpecialTokens: false)
    #expect(whole.starts(with: first))
    #expect(first + tokenizer.encode(" is", addSpecialTokens: false, continuing: true) == whole)
  }
}

@Test func whatContinuesATextIsWrittenWithItsSpace() throws {
  for entry in try published() where ["llama2", "mistral", "metaspace"].contains(entry["name"]?.stringValue) {
    let tokenizer = try tokenizer(entry)
    let start = tokenizer.encodeStart("it")
    let rest = tokenizer.encode(" is", addSpecialTokens: false, continuing: true)
    func text(after context: [Int32]) -> String {
      var decoder = StreamingDecoder(tokenizer, after: context)
      return rest.map { decoder.append($0) }.joined() + decoder.finish()
    }
    #expect(text(after: start) == " is")
    #expect(text(after: []) == "is")
    #expect(text(after: tokenizer.encodeStart("")) == "is", "behind special tokens alone a text begins")
  }
}

/// A million characters without a space would take hours if merging were quadratic.
@Test func aHugeWordIsEncodedInGoodTime() throws {
  for entry in try published() {
    let tokenizer = try tokenizer(entry)
    for unit in ["ab", "\u{5B57}", " "] {
      let text = String(repeating: unit, count: 200_000)
      #expect(tokenizer.decode(tokenizer.encode(text, addSpecialTokens: false)).utf8.count >= 0)
    }
  }
}

private func document(
  vocabulary: String = #"{"a":0,"b":1,"ab":2}"#, merges: String = #"["a b"]"#, extra: String = "", rest: String = ""
) -> String {
  #"{"added_tokens":[],"model":{"type":"BPE","vocab":\#(vocabulary),"merges":\#(merges)\#(extra)}\#(rest)}"#
}

@Test func theSmallestTokenizerWorks() throws {
  #expect(try Tokenizer(json: document()).encode("abba") == [2, 1, 0])
  #expect(try Tokenizer(json: document(merges: #"[["a","b"]]"#)).encode("abba") == [2, 1, 0])
}

/// Documents with one fault each.
private let damagedTokenizers: [String] = [
  "", "[]", "{}", "{", #"{"model":1}"#, #"{"model":{"type":"BPE"}}"#, "\u{0}", #"{"model":{}} x"#,
  document(vocabulary: "{}"), document(vocabulary: "[]"), document(vocabulary: #"{"a":-1}"#),
  document(vocabulary: #"{"a":0.5}"#), document(vocabulary: #"{"a":99999999999999999999}"#),
  document(vocabulary: #"{"a":0,"b":3000000}"#), document(vocabulary: #"{"a":0,"b":1,"ab":2"#),
  document(vocabulary: #"{"a":0,"b":1,"c":1}"#),
  document(merges: #"["a c"]"#), document(merges: #"["ab"]"#), document(merges: #"["a b c"]"#),
  document(merges: #"[["a"]]"#), document(merges: #"[["a","b","c"]]"#), document(merges: #"[1]"#),
  document(merges: "{}"),
  document(extra: #","unk_token":"u""#), document(extra: #","dropout":0.1"#),
  document(extra: #","continuing_subword_prefix":"x""#),
  document(rest: #","normalizer":{"type":"Nonsense"}"#), document(rest: #","normalizer":7"#),
  document(rest: #","pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"}"#),
  document(rest: #","pre_tokenizer":{"type":"Split","pattern":{"Regex":"a"},"behavior":"Sideways"}"#),
  document(rest: #","pre_tokenizer":{"type":"Split","pattern":{"Regex":"(?<n>a)\\k<n>"},"behavior":"Isolated"}"#),
  document(rest: #","decoder":{"type":"Nonsense"}"#), document(rest: #","post_processor":{"type":"Nonsense"}"#),
  document(rest: #","post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"s"}}]}"#),
  document(rest: #","added_tokens":[{"content":"x","id":-5}]"#),
  document(rest: #","added_tokens":[{"content":"x","id":1e18}]"#),
  document(rest: ",\"normalizer\":" + String(repeating: "[", count: 100_000)),
  document(
    rest: ",\"normalizer\":" + String(repeating: #"{"type":"Sequence","normalizers":["#, count: 100_000)),
  document(
    rest:
      #","pre_tokenizer":{"type":"Split","pattern":{"Regex":"\#(String(repeating: "(", count: 50_000))"},"behavior":"Isolated"}"#
  ),
  document(
    rest:
      #","pre_tokenizer":{"type":"Split","pattern":{"Regex":"((((a{1000}){1000}){1000}){1000}){1000}"},"behavior":"Isolated"}"#
  ),
]

@Test(arguments: damagedTokenizers)
func aDamagedTokenizerIsRefused(json: String) {
  #expect(throws: (any Error).self) { try Tokenizer(json: json) }
}

@Test func everyTruncationOfATokenizerIsRefused() throws {
  let whole = Array(try #require(try published().first?["tokenizer"]?.stringValue).utf8)
  for end in stride(from: 0, to: whole.count - 1, by: 37) {
    #expect(throws: (any Error).self) { try Tokenizer(json: String(decoding: whole[..<end], as: UTF8.self)) }
  }
}

/// Patterns that take exponential time by backtracking must not stop a run.
@Test func aCatastrophicPatternEnds() throws {
  let tokenizer = try Tokenizer(
    json: document(
      rest: #","pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a+)+c"},"behavior":"Isolated","invert":false}"#))
  let ids = tokenizer.encode(String(repeating: "a", count: 5000) + "b")
  #expect(ids.count == 5000)
}

/// Both would take hours or all memory: a pattern whose time grows with the third power of the text, begun anew at each of its
/// characters, and replacements of replacements.
@Test func aTokenizerThatDoesTooMuchIsGivenUp() throws {
  let model = #""model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [], "unk_token": "a"}}"#
  let pattern = #"{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a*a*a*b"}, "behavior": "Isolated"}, "#
  let slow = try Tokenizer(json: pattern + model)
  #expect(slow.encode(String(repeating: "a", count: 420)).count == 420)
  let replacement =
    "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a\"}, \"content\": \"\(String(repeating: "a", count: 4096))\"}"
  let normalizers = [String](repeating: replacement, count: 3).joined(separator: ", ")
  let growing = try Tokenizer(
    json: "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [\(normalizers)]}, " + model)
  #expect(growing.encode("aaaa").count < 1 << 23)
}

/// Characters of several tokens come apart, and the spaces between tokens stay.
@Test func tokensHaveTheirBytes() throws {
  let text = "日本語 😀 a word"
  var count = 0
  for entry in try published() {
    let tokenizer = try tokenizer(entry)
    let ids = tokenizer.encode(text, addSpecialTokens: false)
    guard tokenizer.decode(ids) == text else { continue }
    let bytes = ids.flatMap { tokenizer.bytes(decoding: $0) }
    // Some put a space before a text.
    let label = Comment("\(entry["name"]?.stringValue ?? "")")
    #expect([text, " " + text].map { Array($0.utf8) }.contains(bytes), label)
    count += 1
  }
  #expect(count > 1)
}
