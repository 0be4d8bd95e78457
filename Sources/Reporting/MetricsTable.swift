import Formats

/// The figures of runs as CSV (RFC 4180): a row per step, an evaluation in the row of its step.
public enum MetricsTable {
  /// Columns are named as in `metrics.jsonl`, those inside others with a point between: `memory.weights`. Numbers are written
  /// so that reading gives the same bits.
  public static func csv(_ runs: [RunRecord]) -> String {
    let rows = runs.map { run in (run: run, rows: Self.rows(run)) }
    var columns: [String] = []
    var known: Set<String> = []
    for (_, rows) in rows {
      for row in rows {
        for (key, _) in row.cells where known.insert(key).inserted { columns.append(key) }
      }
    }
    let names = runs.count > 1 ? ["run"] : []
    var text = (names + ["step"] + columns).map(quoted).joined(separator: ",") + "\r\n"
    for (run, rows) in rows {
      for row in rows {
        let values = Dictionary(row.cells, uniquingKeysWith: { first, _ in first })
        let cells = (runs.count > 1 ? [run.name] : []) + [String(row.step)] + columns.map { values[$0] ?? "" }
        text += cells.map(quoted).joined(separator: ",") + "\r\n"
      }
    }
    return text
  }

  /// Whether a file is such a table.
  public static func isOne(_ path: String) -> Bool {
    guard let file = try? MappedFile(path: path) else { return false }
    return withExtendedLifetime(file) {
      let start = String(decoding: file.bytes.prefix(9), as: UTF8.self)
      return ["step,", "step\r", "run,step,", "run,step\r"].contains { start.hasPrefix($0) }
    }
  }

  private static func rows(_ run: RunRecord) -> [(step: Int, cells: [(String, String)])] {
    var rows: [Int: [(String, String)]] = [:]
    for line in run.steps + run.evaluations {
      guard let step = line["step"]?.intValue else { continue }
      let isEvaluation = line["eval_loss"] != nil
      for (key, value) in line.entries where key != "step" {
        // What an evaluation says of itself, such as its time, must not take the place of the step's.
        let name = isEvaluation && !key.hasPrefix("eval_") ? "eval_\(key)" : key
        rows[step, default: []] += cells(value, name)
      }
    }
    return rows.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  private static func cells(_ value: JSONValue, _ name: String) -> [(String, String)] {
    switch value {
    case .null, .array: []
    case .bool(let value): [(name, value ? "1" : "0")]
    case .integer(let value): [(name, String(value))]
    case .number(let value): [(name, "\(value)")]
    case .string(let value), .longInteger(let value): [(name, value)]
    case .object(let object): object.entries.flatMap { cells($0.value, "\(name).\($0.key)") }
    }
  }

  private static func quoted(_ cell: String) -> String {
    guard cell.utf8.contains(where: { [0x22, 0x2C, 0x0A, 0x0D].contains($0) }) else { return cell }
    return "\"" + cell.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
  }
}
