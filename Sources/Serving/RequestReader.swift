import Formats

/// Reads the fields of a request; what is wrong is named.
package struct RequestReader {
  private let object: JSONObject

  /// - Throws: `APIError` where the body is no JSON object
  package init(_ body: [UInt8]) throws(APIError) {
    let json: JSONValue
    do {
      json = try body.withUnsafeBytes { try JSONValue.parse($0, file: "request") }
    } catch { throw APIError("the body is not JSON: \(error)") }
    guard let object = json.objectValue else { throw APIError("the body is no JSON object") }
    self.object = object
  }

  /// A field that is there and not null.
  package subscript(key: String) -> JSONValue? { object[key].flatMap { $0 == .null ? nil : $0 } }

  package func text(_ key: String) throws(APIError) -> String? {
    guard let value = self[key] else { return nil }
    guard let text = value.stringValue else { throw APIError("\(key) is no text") }
    return text
  }

  package func flag(_ key: String) throws(APIError) -> Bool {
    guard let value = self[key] else { return false }
    guard let flag = value.boolValue else { throw APIError("\(key) is neither true nor false") }
    return flag
  }

  package func number(_ key: String, in range: ClosedRange<Double>) throws(APIError) -> Double? {
    guard let value = self[key] else { return nil }
    guard let number = value.doubleValue, range.contains(number) else {
      throw APIError("\(key) is no number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  package func integer(_ key: String, in range: ClosedRange<Int>) throws(APIError) -> Int? {
    guard let value = self[key] else { return nil }
    guard let number = value.intValue, range.contains(number) else {
      throw APIError("\(key) is no whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  /// One text, or a list of up to `most`.
  package func texts(_ key: String, most: Int) throws(APIError) -> [String]? {
    guard let value = self[key] else { return nil }
    if let text = value.stringValue { return [text] }
    guard let list = value.arrayValue, list.count <= most else {
      throw APIError("\(key) is neither a text nor a list of up to \(most) texts")
    }
    var texts: [String] = []
    for value in list {
      guard let text = value.stringValue else { throw APIError("\(key) holds something that is no text") }
      texts.append(text)
    }
    return texts
  }
}
