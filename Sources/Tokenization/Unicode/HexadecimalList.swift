/// Reads the tables that `Tools/golden/tokenization_unicode.py` writes: entries with spaces between, hexadecimal numbers
/// within.
enum HexadecimalList {
  /// The numbers of each entry; one that is not written is 1.
  static func forEachEntry(_ text: StaticString, _ body: ([UInt32]) -> Void) {
    text.withUTF8Buffer { bytes in
      for entry in bytes.split(separator: 0x20) {
        body(
          entry.split(maxSplits: .max, omittingEmptySubsequences: false) {
            $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ",")
          }.map { number($0, radix: 16) ?? 1 })
      }
    }
  }

  /// The entries `first-last:value`, `first:value`, `first-last` and `first`; a value is decimal, 0 if it is not written.
  static func forEachRange(_ text: StaticString, _ body: (ClosedRange<UInt32>, UInt32) -> Void) {
    text.withUTF8Buffer { bytes in
      for entry in bytes.split(separator: 0x20) {
        let parts = entry.split(separator: UInt8(ascii: ":"))
        let bounds = parts[0].split(separator: UInt8(ascii: "-")).compactMap { number($0, radix: 16) }
        body(bounds[0]...bounds[bounds.count - 1], parts.count > 1 ? number(parts[1], radix: 10) ?? 0 : 0)
      }
    }
  }

  private static func number(_ digits: Slice<UnsafeBufferPointer<UInt8>>, radix: Int) -> UInt32? {
    UInt32(String(decoding: digits, as: UTF8.self), radix: radix)
  }
}

/// Ranges of scalars in order.
struct ScalarRanges: Sendable {
  private var starts: [UInt32] = []
  private var ends: [UInt32] = []

  init(_ text: StaticString) {
    HexadecimalList.forEachRange(text) { range, _ in
      starts.append(range.lowerBound)
      ends.append(range.upperBound)
    }
  }

  func contains(_ scalar: UInt32) -> Bool {
    SortedSearch.last(in: starts, notAbove: scalar).map { ends[$0] >= scalar } ?? false
  }
}

enum SortedSearch {
  /// The place of the last value that is not greater than `value`.
  static func last(in values: [UInt32], notAbove value: UInt32) -> Int? {
    var low = 0
    var high = values.count
    while low < high {
      let middle = (low + high) / 2
      if values[middle] <= value { low = middle + 1 } else { high = middle }
    }
    return low > 0 ? low - 1 : nil
  }
}
