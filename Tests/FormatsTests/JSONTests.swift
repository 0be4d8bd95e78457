import Formats
import Testing

/// The vocabulary of a multilingual model has both; as one they would be a token too few.
@Test func keysThatOnlyMeanTheSameAreDifferent() throws {
  let composed = "\u{E9}"
  let decomposed = "e\u{301}"
  var json = try JSONValue.parse(#"{"\#(composed)": 1, "\#(decomposed)": 2}"#, file: "test")
  #expect(json[composed]?.intValue == 1)
  #expect(json[decomposed]?.intValue == 2)
  json = try JSONValue.parse(json.serialized(), file: "test")
  #expect(json.objectValue?.entries.map { Array($0.key.utf8).count } == [2, 3])
  var object = try #require(json.objectValue)
  object[composed] = nil
  #expect(object.entries.count == 1 && object[decomposed]?.intValue == 2)
}
