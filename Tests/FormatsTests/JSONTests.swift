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

@Test func wholeNumbersKeepAllTheirDigits() throws {
  for text in ["9007199254740993", "9223372036854775807", "-9223372036854775808"] {
    let value = try JSONValue.parse(text, file: "test")
    let number = try #require(Int(text))
    #expect(value == .integer(number) && value.serialized() == text)
  }
  for text in ["9223372036854775808", "-123456789012345678901234567890"] {
    let value = try JSONValue.parse(text, file: "test")
    #expect(value == .longInteger(text) && value.serialized() == text && value.doubleValue == Double(text))
  }
}

@Test func onlyHexadecimalDigitsMakeACharacter() {
  for text in [#""\u+041""#, #""\u-041""#, #""\u 041""#, #""\u00g0""#, #""\u004"#, #""\ud800""#, #""\ud800\u0041""#] {
    #expect(throws: JSONError.self, "\(text)") { try JSONValue.parse(text, file: "test") }
  }
}

@Test func objectsOfAnySizeKeepTheirOrder() {
  var object = JSONObject()
  for number in 0..<40 {
    object["k\(number)"] = .integer(number)
    object["k\(number / 2)"] = .integer(-number)
  }
  for number in 0..<35 { object["k\(number)"] = nil }
  #expect(object.keys == ["k35", "k36", "k37", "k38", "k39"] && object["k37"] == .integer(37) && object["k1"] == nil)
}

@Test func otherEncodingsAreNamedAndAMarkIsPassedOver() throws {
  #expect(try JSONValue.parse("\u{FEFF}[1]", file: "test") == .array([.integer(1)]))
  let bytes: [UInt8] = [0xFF, 0xFE, 0x5B, 0, 0x5D, 0]
  #expect(
    message { _ = try bytes.withUnsafeBytes { try JSONValue.parse($0, file: "test") } }
      == "test:1:1: not JSON: the text is UTF-16, expected UTF-8")
}

/// A value takes up to fifty times its text.
@Test func documentsOfMoreValuesThanTextAreRefused() {
  let text = "[" + String(repeating: "[],", count: 700_000) + "0]"
  #expect(message { _ = try JSONValue.parse(text, file: "test") }.contains("values"))
}

@Test func numbersBeyondAllBoundsAreRefused() throws {
  #expect(message { _ = try JSONValue.parse("[1e999]", file: "test") }.contains("beyond all bounds"))
  #expect(try JSONValue.parse("1e-999", file: "test") == .number(0))
}
