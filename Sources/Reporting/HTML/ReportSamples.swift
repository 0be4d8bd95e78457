import Formats

/// What the model answered to sample prompts while it learnt: a member `samples` of lines of `metrics.jsonl`, a list of texts
/// or of objects with texts.
struct ReportSamples {
  private let runs: [RunRecord]
  /// Times of a run that are shown: the first, the last, and some between.
  private static let mostTimes = 8
  private static let mostSamples = 20
  private static let mostCharacters = 1500

  init(_ runs: [RunRecord]) { self.runs = runs }

  var html: String { runs.map(html).joined(separator: "\n") }

  private func html(_ run: RunRecord) -> String {
    var lines = run.evaluations + run.others + run.steps
    lines.removeAll { ($0["samples"]?.arrayValue ?? []).isEmpty }
    lines.sort { ($0["step"]?.intValue ?? 0) < ($1["step"]?.intValue ?? 0) }
    guard !lines.isEmpty else { return "" }
    let count = min(lines.count, Self.mostTimes)
    var parts: [String] = []
    for place in 0..<count {
      let index = count == 1 ? lines.count - 1 : (lines.count - 1) * place / (count - 1)
      let line = lines[index]
      let step = HTMLText.decimal(line["step"]?.doubleValue ?? 0, 0)
      let samples = (line["samples"]?.arrayValue ?? []).prefix(Self.mostSamples).map(Self.sample).joined()
      let open = place == count - 1 ? " open" : ""
      parts.append("<details\(open)><summary>after step \(step)</summary><div>\(samples)</div></details>")
    }
    let title = runs.count > 1 ? "<h3>\(HTMLText.escaped(run.name))</h3>" : ""
    return title + parts.joined(separator: "\n")
  }

  private static func sample(_ value: JSONValue) -> String {
    func text(_ value: JSONValue) -> String {
      HTMLText.escaped(HTMLText.shortened(value.stringValue ?? value.serialized(), mostCharacters))
    }
    guard let object = value.objectValue else { return "<dl class=\"sample\"><dd>\(text(value))</dd></dl>" }
    let parts = object.entries.filter { $0.value != .null }.map { key, value in
      "<dt>\(HTMLText.escaped(ReportCharts.words(key)))</dt><dd>\(text(value))</dd>"
    }
    return "<dl class=\"sample\">\(parts.joined())</dl>"
  }
}
