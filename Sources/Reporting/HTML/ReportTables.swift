import Formats
import Memory

/// The parts of a report that are text and tables, which can be read without scripts.
struct ReportTables {
  private let runs: [RunRecord]

  init(_ runs: [RunRecord]) { self.runs = runs }

  // MARK: At the top

  /// The figures of one run as tiles, of several as a table.
  var overview: String {
    guard runs.count > 1 else {
      let tiles = RunFacts(run: runs[0]).figures.map { figure in
        "<div class=\"tile\"><div class=\"label\">\(HTMLText.escaped(figure.label))</div><div class=\"value\">"
          + "\(HTMLText.escaped(figure.value))</div><div class=\"under\">\(HTMLText.escaped(figure.beside))</div></div>"
      }
      return "<div class=\"tiles\">\(tiles.joined(separator: "\n"))</div>\n"
    }
    let facts = runs.map { RunFacts(run: $0) }
    var labels: [String] = []
    for figure in facts.flatMap(\.figures) where !labels.contains(figure.label) { labels.append(figure.label) }
    let head = (["Run", "Method", "State"] + labels.filter { $0 != "Steps" } + ["Steps"]).enumerated().map {
      "<th\($0 > 2 ? " class=\"n\"" : "")>\(HTMLText.escaped($1))</th>"
    }
    let rows = zip(runs, facts).enumerated().map { place, pair in
      let (run, facts) = pair
      let figures = facts.figures
      func value(_ label: String) -> String { figures.first { $0.label == label }?.value ?? "-" }
      let cells = (labels.filter { $0 != "Steps" } + ["Steps"]).map {
        "<td class=\"n\">\(HTMLText.escaped(value($0)))</td>"
      }
      return
        "<tr><th scope=\"row\"><span class=\"key\" style=\"background:var(--c\(place % ReportStyle.colourCount))\">"
        + "</span>\(HTMLText.escaped(run.name))</th><td class=\"w\">\(HTMLText.escaped(facts.method ?? "-"))</td>"
        + "<td style=\"white-space:nowrap\">\(HTMLText.escaped(facts.state))</td>\(cells.joined())</tr>"
    }
    return "<div class=\"scroll\" style=\"margin-top:20px\"><table><thead><tr>\(head.joined())</tr></thead><tbody>"
      + "\(rows.joined(separator: "\n"))</tbody></table></div>\n"
  }

  // MARK: Labels

  /// Confusion matrices and the figures of each label, of each run's last evaluation.
  var labels: String {
    runs.map { run in
      let figures = run.evaluations.last { $0["eval_labels"] != nil || $0["eval_confusion_matrix"] != nil }
      guard let figures else { return "" }
      let names = figures["eval_labels"]?.objectValue?.keys ?? []
      let parts = [Self.confusion(figures, names: names), Self.perLabel(figures)].filter { !$0.isEmpty }
      guard !parts.isEmpty else { return "" }
      let step = HTMLText.decimal(figures["step"]?.doubleValue ?? 0, 0)
      let title = runs.count > 1 ? "<h3>\(HTMLText.escaped(run.name))</h3>" : ""
      return title + "<p class=\"note\" style=\"margin-bottom:8px\">Evaluation after step \(step). Rows: what is true; "
        + "columns: what the model says.</p><div class=\"two\">\(parts.joined(separator: "\n"))</div>"
    }.joined(separator: "\n")
  }

  /// More labels are no matrix that can be read.
  private static let mostLabels = 40

  private static func confusion(_ figures: JSONObject, names: [String]) -> String {
    let matrix = (figures["eval_confusion_matrix"]?.arrayValue ?? []).map { row in
      (row.arrayValue ?? []).map { $0.doubleValue ?? 0 }
    }
    guard !matrix.isEmpty, matrix.allSatisfy({ $0.count == matrix.count }) else { return "" }
    guard matrix.count <= mostLabels else {
      return "<p class=\"note\">The confusion matrix of \(matrix.count) labels is in metrics.jsonl.</p>"
    }
    func name(_ index: Int) -> String {
      HTMLText.escaped(HTMLText.shortened(names.count == matrix.count ? names[index] : "\(index)", 40))
    }
    let head = matrix.indices.map { "<th>\(name($0))</th>" }.joined()
    let rows = matrix.enumerated().map { index, row in
      let sum = row.reduce(0, +)
      let cells = row.map { count in
        let share = sum > 0 ? count / sum : 0
        return "<td style=\"background:rgba(var(--heat),\(HTMLText.decimal(share * 0.55, 3)))\" title=\""
          + "\(HTMLText.decimal(share * 100, 1)) %\">\(HTMLText.decimal(count, 0))</td>"
      }
      return "<tr><th scope=\"row\">\(name(index))</th>\(cells.joined())</tr>"
    }
    return "<div class=\"scroll\"><table class=\"confusion\"><thead><tr><th></th>\(head)</tr></thead><tbody>"
      + "\(rows.joined())</tbody></table></div>"
  }

  private static func perLabel(_ figures: JSONObject) -> String {
    let labels = figures["eval_labels"]?.objectValue?.entries ?? []
    guard !labels.isEmpty else { return "" }
    let keys = ["precision", "recall", "f1", "support"]
    let rows = labels.prefix(60).map { name, value in
      (
        cells: [HTMLText.shortened(name, 60)]
          + keys.map { key in
            value[key]?.doubleValue.map { key == "support" ? HTMLText.decimal($0, 0) : HTMLText.decimal($0, 3) } ?? "-"
          }, standsOut: false
      )
    }
    return HTMLText.table(head: ["Label"] + keys, rows: Array(rows), numbers: [1, 2, 3, 4])
  }

  // MARK: Settings and plan

  /// Every option by run; what differs stands out.
  var settings: String {
    var names: [String] = []
    for run in runs { for option in run.options where !names.contains(option.name) { names.append(option.name) } }
    let identity = runs.flatMap { $0.record?["identity"]?.objectValue?.keys ?? [] }
    for name in identity where !names.contains(name) && !["model", "data", "program"].contains(name) {
      if runs.contains(where: { $0.option(name) != nil }) { names.append(name) }
    }
    guard !names.isEmpty else { return "" }
    let rows = names.map { name in
      let values = runs.map { run in
        let isSwitch = run.record?["options"]?[name]?.arrayValue?.isEmpty ?? false
        return isSwitch ? "on" : run.option(name) ?? "-"
      }
      return (
        cells: ["--\(name)"] + values.map { HTMLText.shortened($0, 300) }, standsOut: Set(values).count > 1
      )
    }
    let programs = Set(runs.compactMap { RunFacts(run: $0).program }).sorted().joined(separator: ", ")
    let note = programs.isEmpty ? "" : "<p class=\"note\">Trained with version \(HTMLText.escaped(programs)).</p>"
    return HTMLText.table(head: runs.count > 1 ? ["Option"] + runs.map(\.name) : [], rows: rows) + note
  }

  /// What was planned, with the memory by kind as a bar.
  var plan: String {
    runs.map { run in
      guard let plan = run.summary?["plan"]?.objectValue else { return "" }
      let title = runs.count > 1 ? "<summary>\(HTMLText.escaped(run.name))</summary>" : "<summary>All choices</summary>"
      let rows = plan.entries.compactMap { key, value -> (cells: [String], standsOut: Bool)? in
        guard let text = Self.planned(key, value) else { return nil }
        return ([ReportCharts.words(key), text], false)
      }
      return Self.memoryBar(plan, name: runs.count > 1 ? run.name : nil)
        + "<details>\(title)<div>\(HTMLText.table(head: [], rows: rows))</div></details>"
    }.joined(separator: "\n")
  }

  private static func planned(_ key: String, _ value: JSONValue) -> String? {
    switch value {
    case .null, .array, .object: return nil
    case .bool(let flag): return flag ? "yes" : "no"
    case .string(let text): return text
    case .integer, .longInteger, .number:
      let number = value.doubleValue ?? 0
      if key.contains("bytes"), abs(number) < 9e15 { return ByteCount.text(Int(number)) }
      return number == number.rounded() ? HTMLText.decimal(number, 0) : HTMLText.short(number)
    }
  }

  private static func memoryBar(_ plan: JSONObject, name: String?) -> String {
    let kinds = MemoryKind.allCases.enumerated().compactMap { place, kind -> (Int, String, Int)? in
      guard let bytes = plan["bytes"]?[kind.rawValue]?.intValue, bytes > 0 else { return nil }
      return (place, kind.rawValue, bytes)
    }
    let all = kinds.reduce(0) { ByteCount.sum($0, $1.2) }
    guard all > 0 else { return "" }
    let budget = plan["budget_bytes"]?.intValue ?? 0
    let width = Double(max(all, budget))
    let parts = kinds.map { place, kind, bytes in
      "<i style=\"width:\(HTMLText.decimal(Double(bytes) / width * 100, 2))%;background:var(--c\(place))\" title=\""
        + "\(kind) \(ByteCount.text(bytes))\"></i>"
    }
    let keys = kinds.map { place, kind, bytes in
      "<span style=\"margin-right:14px;white-space:nowrap\"><span class=\"key\" style=\"height:11px;width:11px;"
        + "background:var(--c\(place))\"></span>\(kind) \(ByteCount.text(bytes))</span>"
    }
    let end = budget > 0 ? " of a budget of \(ByteCount.text(budget))" : ", without a budget"
    let whose = name.map { HTMLText.escaped($0) + ": " } ?? ""
    return "<div class=\"card\" style=\"margin-bottom:8px\">\(whose)\(ByteCount.text(all)) planned\(end)"
      + "<div class=\"bar\">\(parts.joined())</div><div class=\"note\">\(keys.joined(separator: " "))</div></div>"
  }
}
