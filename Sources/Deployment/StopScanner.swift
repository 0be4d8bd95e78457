/// Finds the first of some texts in a stream, and holds back what may be the beginning of one.
public struct StopScanner: Sendable {
  private let stops: [String]
  private var held = ""

  /// - Parameter stops: texts that end the stream; they are no part of what is let through
  public init(_ stops: [String]) { self.stops = stops.filter { !$0.isEmpty } }

  /// - Returns: what can be let through now, and whether the stream ends behind it
  public mutating func append(_ piece: String) -> (text: String, isEnd: Bool) {
    guard !stops.isEmpty else { return (piece, false) }
    held += piece
    let bytes = Array(held.utf8)
    let places = stops.compactMap { Self.firstPlace(of: Array($0.utf8), in: bytes[...]) }
    if let first = places.min() {
      held = ""
      return (String(decoding: bytes[..<first], as: UTF8.self), true)
    }
    // The longest end that begins one of the texts waits for more.
    let waiting = stops.map { Self.overlap(bytes, Array($0.utf8)) }.max() ?? 0
    held = String(decoding: bytes[(bytes.count - waiting)...], as: UTF8.self)
    return (String(decoding: bytes[..<(bytes.count - waiting)], as: UTF8.self), false)
  }

  /// What was held back, when nothing more comes.
  public mutating func finish() -> String {
    defer { held = "" }
    return held
  }

  private static func firstPlace(of stop: [UInt8], in bytes: ArraySlice<UInt8>) -> Int? {
    guard bytes.count >= stop.count else { return nil }
    return (0...(bytes.count - stop.count)).first { bytes[$0..<$0 + stop.count].elementsEqual(stop) }
  }

  /// Bytes at the end of `bytes` that `stop` begins with.
  private static func overlap(_ bytes: [UInt8], _ stop: [UInt8]) -> Int {
    (0..<min(stop.count, bytes.count + 1)).reversed().first { bytes.suffix($0).elementsEqual(stop.prefix($0)) } ?? 0
  }
}
