import Formats

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Text helpers of the template language that follow Python's.
enum TemplateText {
  /// Equal scalar by scalar: Swift's `==` also joins what is written differently.
  static func areSame(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

  /// Below, at or above 0 as `a` stands before `b`, is `b`, or stands behind it.
  static func order(_ a: String, _ b: String) -> Int {
    if a.utf8.lexicographicallyPrecedes(b.utf8) { return -1 }
    return areSame(a, b) ? 0 : 1
  }

  /// The byte at which `part` first occurs.
  static func first(_ part: String, in text: String) -> Int? { first(Array(part.utf8), in: Array(text.utf8), from: 0) }

  /// The byte at which `part` last occurs.
  static func last(_ part: String, in text: String) -> Int? {
    let (bytes, part) = (Array(text.utf8), Array(part.utf8))
    var place = bytes.count - part.count
    while place >= 0 {
      if bytes[place..<place + part.count].elementsEqual(part) { return place }
      place -= 1
    }
    return nil
  }

  private static func first(_ part: [UInt8], in text: [UInt8], from start: Int) -> Int? {
    guard let head = part.first else { return start }
    guard part.count <= text.count else { return nil }
    var place = start
    while place <= text.count - part.count {
      if text[place] == head, text[place..<place + part.count].elementsEqual(part) { return place }
      place += 1
    }
    return nil
  }

  /// How many scalars stand before a byte.
  static func scalarCount(_ text: String, before byte: Int) -> Int {
    text.utf8.prefix(byte).count { $0 & 0xC0 != 0x80 }
  }

  /// The parts between occurrences of a separator that is not empty.
  static func split(_ text: String, at separator: String, most: Int?) -> [String] {
    let (bytes, part) = (Array(text.utf8), Array(separator.utf8))
    var result: [String] = []
    var start = 0
    while most.map({ result.count < $0 }) ?? true, let place = first(part, in: bytes, from: start) {
      result.append(String(decoding: bytes[start..<place], as: UTF8.self))
      start = place + part.count
    }
    return result + [String(decoding: bytes[start...], as: UTF8.self)]
  }

  /// How often a text that is not empty occurs, one after another.
  static func occurrences(of part: String, in text: String) -> Int {
    let (bytes, part) = (Array(text.utf8), Array(part.utf8))
    var count = 0
    var start = 0
    while let place = first(part, in: bytes, from: start) {
      count += 1
      start = place + part.count
    }
    return count
  }

  static func replace(_ part: String, by other: String, in text: String) -> String {
    var result = ""
    if part.isEmpty {
      result = other
      for scalar in text.unicodeScalars {
        result.unicodeScalars.append(scalar)
        result += other
      }
      return result
    }
    let (bytes, part) = (Array(text.utf8), Array(part.utf8))
    var start = 0
    while let place = first(part, in: bytes, from: start) {
      result += String(decoding: bytes[start..<place], as: UTF8.self)
      result += other
      start = place + part.count
    }
    return result + String(decoding: bytes[start...], as: UTF8.self)
  }

  static func lines(_ text: String) -> [String] {
    let plain = replace("\r", by: "\n", in: replace("\r\n", by: "\n", in: text))
    var lines = split(plain, at: "\n", most: nil)
    if lines.last?.isEmpty == true { lines.removeLast() }
    return lines
  }

  static func capitalized(_ text: String) -> String {
    guard let first = text.unicodeScalars.first else { return text }
    return first.properties.titlecaseMapping + String(text.unicodeScalars.dropFirst()).lowercased()
  }

  static func title(_ text: String) -> String {
    var result = ""
    var isInside = false
    for scalar in text.unicodeScalars {
      result += isInside ? scalar.properties.lowercaseMapping : scalar.properties.titlecaseMapping
      isInside = scalar.properties.isAlphabetic
    }
    return result
  }

  /// As Python's `repr` writes a text.
  static func quoted(_ text: String) -> String {
    let scalars = text.unicodeScalars
    let quote: Unicode.Scalar = scalars.contains("'") && !scalars.contains("\"") ? "\"" : "'"
    var result = String(quote)
    for scalar in scalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case quote: result += "\\\(quote)"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let digits = String(scalar.value, radix: 16)
        result += "\\x" + (digits.count < 2 ? "0" : "") + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + String(quote)
  }

  /// The local time as C's `strftime` writes it.
  static func now(format: String) -> String {
    var seconds = time(nil)
    var parts = tm()
    localtime_r(&seconds, &parts)
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = strftime(&buffer, buffer.count, format, &parts)
    return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  static func strip(_ text: String, _ characters: String?, left: Bool, right: Bool) -> String {
    var scalars = text[...].unicodeScalars
    let set = characters.map { Set($0.unicodeScalars) }
    func strips(_ scalar: Unicode.Scalar) -> Bool { set?.contains(scalar) ?? scalar.properties.isWhitespace }
    if left { scalars = scalars.drop(while: strips) }
    if right { while let last = scalars.last, strips(last) { scalars.removeLast() } }
    return String(scalars)
  }
}
