import Formats
import Foundation
import Testing
import Tokenization

private let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
  "Golden/tokenizers.json")

private func texts(_ json: JSONValue?) -> [String]? { json?.arrayValue?.compactMap(\.stringValue) }

/// Ids, types, places and words of texts, of pairs, and of texts that are given word by word.
@Test func placesAreThoseOfTokenizers() throws {
  var count = 0
  for entry in try JSONValue.parse(contentsOf: golden.path).arrayValue ?? [] {
    let tokenizer = try Tokenizer(json: try #require(entry["tokenizer"]?.stringValue))
    for testCase in entry["places"]?.arrayValue ?? [] {
      let encoding =
        if let words = texts(testCase["text"]) {
          tokenizer.encoding(words: words)
        } else {
          tokenizer.encoding(try #require(testCase["text"]?.stringValue), pair: testCase["pair"]?.stringValue)
        }
      func numbers(_ key: String) -> [Int?] { testCase[key]?.arrayValue?.map(\.intValue) ?? [] }
      let label = Comment("\(entry["name"]?.stringValue ?? ""): \(testCase["text"]?.serialized() ?? "")")
      #expect(encoding.ids.map { Int($0) } == numbers("ids"), label)
      #expect(encoding.typeIDs.map { Int($0) } == numbers("types"), label)
      #expect(encoding.wordIndices == numbers("words"), label)
      #expect(encoding.textIndices == numbers("texts"), label)
      let offsets = testCase["offsets"]?.arrayValue?.map { $0.arrayValue?.compactMap(\.intValue) ?? [] }
      #expect(encoding.offsets.map { [$0.lowerBound, $0.upperBound] } == offsets, label)
      count += 1
    }
  }
  #expect(count > 300)
}

@Test func specialTokensAreLeftOutOfPairs() throws {
  let entries = try JSONValue.parse(contentsOf: golden.path).arrayValue ?? []
  let bert = try #require(entries.first { $0["name"]?.stringValue == "wordpiece bert" })
  let tokenizer = try Tokenizer(json: try #require(bert["tokenizer"]?.stringValue))
  let encoding = tokenizer.encoding("a", pair: "b", addSpecialTokens: false)
  #expect(encoding.textIndices == [0, 1])
  #expect(encoding.typeIDs == [0, 1])
  #expect(encoding.ids == tokenizer.encode("a b", addSpecialTokens: false))
}
