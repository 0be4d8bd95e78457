import Formats
import FoundationEssentials
import Memory

/// Resident memory over the steps of a run, by kind, as a few lines of text.
struct MemoryChart {
  private var names: [String] = []
  private var values: [String: [Int]] = [:]
  private var sums: [Int] = []
  private static let width = 48

  /// - Parameter metrics: `metrics.jsonl` of the run; `nil` if it tells nothing
  init?(metrics: String) {
    guard let text = try? String(contentsOfFile: metrics, encoding: .utf8) else { return nil }
    for line in text.split(separator: "\n") {
      guard let json = try? JSONValue.parse(String(line), file: metrics), let sum = json["rss_bytes"]?.intValue,
        let kinds = json["memory"]?.objectValue
      else { continue }
      for (name, value) in kinds.entries {
        if values[name] == nil {
          names.append(name)
          values[name] = [Int](repeating: 0, count: sums.count)
        }
        values[name]?.append(value.intValue ?? 0)
      }
      sums.append(sum)
      for name in names where (values[name]?.count ?? 0) < sums.count { values[name]?.append(0) }
    }
    if sums.count < 2 { return nil }
  }

  /// A line per kind and one for all: a bar for each stretch of steps, as high as its most, and the most of all.
  var text: String {
    let scale = sums.max() ?? 1
    let rows = names.map { ($0, values[$0] ?? []) } + [("all", sums)]
    return (["memory over \(sums.count) steps:"] + rows.map { line($0.0, $0.1, scale: scale) }).joined(separator: "\n")
  }

  private func line(_ name: String, _ values: [Int], scale: Int) -> String {
    let marks = Array(" ▁▂▃▄▅▆▇█")
    let columns = min(Self.width, values.count)
    let bars = (0..<columns).map { column -> Character in
      let most = values[column * values.count / columns..<(column + 1) * values.count / columns].max() ?? 0
      return marks[min(8, (most * 8 + scale - 1) / max(scale, 1))]
    }
    let label = name + String(repeating: " ", count: max(1, 16 - name.count))
    return "  \(label)\(String(bars))  \(ByteCount.text(values.max() ?? 0))"
  }
}
