/// Counts in which scripts a text is written: as near to its language as one gets without a model.
package struct ScriptCounter {
  private var counts: [String: Int] = [:]
  private var all = 0
  /// More letters say nothing new.
  private static let enough = 2_000_000

  private static let ranges: [(range: ClosedRange<UInt32>, name: String)] = [
    (0x41...0x24F, "Latin"), (0x370...0x3FF, "Greek"), (0x400...0x52F, "Cyrillic"), (0x530...0x58F, "Armenian"),
    (0x590...0x5FF, "Hebrew"), (0x600...0x77F, "Arabic"), (0x900...0x97F, "Devanagari"), (0x980...0xDFF, "Indic"),
    (0xE00...0xE7F, "Thai"), (0x10A0...0x10FF, "Georgian"), (0x1100...0x11FF, "Hangul"), (0x1E00...0x1EFF, "Latin"),
    (0x1F00...0x1FFF, "Greek"), (0x3040...0x30FF, "Kana"), (0x3400...0x4DBF, "Han"), (0x4E00...0x9FFF, "Han"),
    (0xAC00...0xD7AF, "Hangul"), (0x20000...0x2FA1F, "Han"),
  ]

  package init() {}

  package mutating func add(_ text: String) {
    for scalar in text.unicodeScalars {
      guard all < Self.enough else { return }
      if scalar.isASCII {
        // The letters of most texts, without asking for their properties.
        let lower = scalar.value | 0x20
        guard lower >= 0x61, lower <= 0x7A else { continue }
        counts["Latin", default: 0] += 1
      } else {
        guard scalar.properties.isAlphabetic else { continue }
        let name = Self.ranges.first { $0.range.contains(scalar.value) }?.name ?? "other"
        counts[name, default: 0] += 1
      }
      all += 1
    }
  }

  /// Shares of the letters, the largest first; what is less than a hundredth is left out.
  package var shares: [(name: String, share: Double)] {
    let shares = counts.map { (name: $0.key, share: Double($0.value) / Double(max(all, 1))) }
    return shares.filter { $0.share >= 0.01 }.sorted { ($1.share, $0.name) < ($0.share, $1.name) }
  }
}
