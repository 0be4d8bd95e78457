import Formats
import Options
import Reporting

/// What a search has found: each trial as far as it got, the best ones first.
public struct SearchTable {
  /// Those that got farther stand before the others; among equals the better one.
  public let rows: [TrialRecord]
  public let metric: String
  /// Trials that no other one beats in the metric, the number of parameters and the method's multiply-adds, by their numbers.
  public let front: Set<Int>

  public init(records: [TrialRecord], metric: String, greaterIsBetter: Bool) {
    self.metric = metric
    func cost(_ record: TrialRecord) -> Double {
      record.metric.map { greaterIsBetter ? -$0 : $0 } ?? .infinity
    }
    var last: [Int: TrialRecord] = [:]
    for record in records where record.rung >= last[record.trial]?.rung ?? 0 { last[record.trial] = record }
    let rows = last.values.sorted { left, right in
      if (left.metric == nil) != (right.metric == nil) { return right.metric == nil }
      if left.rung != right.rung { return left.rung > right.rung }
      return (cost(left), left.trial) < (cost(right), right.trial)
    }
    self.rows = rows
    let whole = rows.filter { $0.metric != nil && $0.rung == rows.first?.rung }
    func figures(_ record: TrialRecord) -> [Double] {
      [cost(record), Double(record.trainableParameters), record.methodProducts]
    }
    front = Set(
      whole.filter { row in
        let mine = figures(row)
        return !whole.contains { other in
          let theirs = figures(other)
          return theirs != mine && zip(theirs, mine).allSatisfy { $0 <= $1 }
        }
      }.map(\.trial))
  }

  /// The trial whose settings are recommended; `nil` where all failed.
  public var best: TrialRecord? { rows.first { $0.metric != nil } }

  public var json: JSONValue {
    .object(
      JSONObject([
        ("metric", .string(metric)), ("best", best.map { .integer($0.trial) } ?? .null),
        (
          "trials",
          .array(
            rows.map { row in
              guard case .object(var object) = row.json else { return row.json }
              object["front"] = .bool(front.contains(row.trial))
              return .object(object)
            })
        ),
      ]))
  }

  /// The page with pictures.
  var report: SearchReport {
    SearchReport(
      metric: metric,
      trials: rows.map { row in
        SearchReport.Trial(
          number: row.trial, settings: row.settings.entries.map { ($0.option, $0.word) }, metric: row.metric,
          failure: row.failure, parameters: row.trainableParameters, cost: row.methodProducts, steps: row.steps,
          allSteps: row.allSteps, isOnFront: front.contains(row.trial))
      }, program: "edge-lora \(Program.version)")
  }

  /// For people; multiply-adds are those that a token costs more. It says nothing of time: a search that was interrupted has
  /// the same table as one that was not.
  ///
  /// - Parameter number: writes the figure
  public func text(number: (Double) -> String) -> String {
    let columns = rows.reduce(into: [String]()) { names, row in
      for entry in row.settings.entries where !names.contains(entry.option) { names.append(entry.option) }
    }
    let head = ["trial"] + columns + ["parameters", "multiply-adds", "steps", metric, ""]
    let lines = rows.map { row -> [String] in
      let words = columns.map { name in row.settings.entries.first { $0.option == name }?.word ?? "-" }
      let figure = row.metric.map(number) ?? "failed"
      return ["\(row.trial)"] + words
        + [
          "\(row.trainableParameters)", "\(Int(row.methodProducts))", "\(row.steps)/\(row.allSteps)", figure,
          front.contains(row.trial) ? "*" : "",
        ]
    }
    let widths = head.indices.map { column in ([head] + lines).map { $0[column].count }.max() ?? 0 }
    let body = ([head] + lines).map { line -> String in
      let cells = zip(line, widths).map { String(repeating: " ", count: max(0, $1 - $0.count)) + $0 }
      return cells.joined(separator: "  ")
    }
    let note = front.isEmpty ? [] : ["* no other trial is as good with as few parameters and multiply-adds"]
    return (body + note).joined(separator: "\n")
  }
}
