import Formats

/// One page about one run or several side by side, which needs nothing from outside: a browser that opens it makes no request.
public struct Report {
  private let runs: [RunRecord]
  private let program: String

  /// - Parameters:
  ///   - runs: at least one; their names tell them apart
  ///   - program: name and version of what makes the page
  public init(_ runs: [RunRecord], program: String) {
    precondition(!runs.isEmpty, "a report is about runs")
    self.runs = runs
    self.program = program
  }

  /// Nothing may be loaded, whatever a run's texts say.
  private static let policy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    + "form-action 'none'"

  private static let generator = "edge-lora report"

  /// Whether a file is an earlier report, which a new one may replace.
  public static func isOne(_ path: String) -> Bool {
    guard let file = try? MappedFile(path: path) else { return false }
    return withExtendedLifetime(file) {
      String(decoding: file.bytes.prefix(1000), as: UTF8.self).contains(Page.generator(generator))
    }
  }

  /// Whether a file is a page of any kind.
  public static func isPage(_ path: String) -> Bool {
    guard let file = try? MappedFile(path: path) else { return false }
    return withExtendedLifetime(file) {
      let start = String(decoding: file.bytes.prefix(1000), as: UTF8.self).lowercased()
      return start.contains("<!doctype html") || start.contains("<html")
    }
  }

  public var html: String {
    let tables = ReportTables(runs)
    let samples = ReportSamples(runs).html
    let parts: [(id: String, title: String, html: String)] = [
      (
        "curves", "Curves",
        "<div class=\"charts\" id=\"charts\"></div><noscript><p class=\"soft\">The curves need JavaScript; their figures "
          + "are in metrics.jsonl.</p></noscript>"
      ),
      ("labels", "Labels", tables.labels), ("samples", "Samples", samples), ("plan", "Plan", tables.plan),
      ("settings", "Settings", tables.settings),
    ].filter { !$0.2.isEmpty }
    let links = parts.map { "<a href=\"#\($0.id)\">\($0.title)</a>" }.joined()
    let warnings = runs.flatMap(\.warnings).map { "<p class=\"warn\">\(HTMLText.escaped($0))</p>\n" }.joined()
    let script = ReportScript.text.split(separator: "COLOURS", omittingEmptySubsequences: false)
      .joined(separator: "\(ReportStyle.colourCount)")
    return Page(
      title: title, subtitle: subtitle, policy: Self.policy, generator: Self.generator,
      top: "\(warnings)<nav>\(links)</nav>\n",
      content: tables.overview + parts.map { HTMLText.section($0.title, $0.html, id: $0.id) }.joined(),
      footer: """
        Made by \(HTMLText.escaped(program)) of \(HTMLText.escaped(sources)). All figures are those of metrics.jsonl and
        summary.json; curves leave out steps between extremes.
        """,
      scripts: """
        <script type="application/json" id="data">\(HTMLText.data(ReportCharts(runs).json))</script>
        <script>
        \(script)
        </script>

        """
    ).html
  }

  private var title: String {
    runs.count == 1 ? "Training run \(runs[0].name)" : "\(runs.count) training runs"
  }

  private var subtitle: String {
    guard runs.count == 1 else {
      let bases = Set(runs.compactMap { RunFacts(run: $0).base }).sorted()
      return runs.map(\.name).joined(separator: ", ") + (bases.isEmpty ? "" : " on " + bases.joined(separator: ", "))
    }
    let facts = RunFacts(run: runs[0])
    let parts = [facts.method, facts.base.map { "on \($0)" }].compactMap { $0 }.joined(separator: " ")
    let data = facts.data.isEmpty ? nil : "data " + facts.data.joined(separator: ", ")
    let steps = "\(facts.state) after step \(HTMLText.decimal(Double(runs[0].stepCount), 0))"
    return ([parts, data, steps].compactMap { $0 }.filter { !$0.isEmpty }).joined(separator: " · ")
  }

  private var sources: String {
    let names = runs.map(\.folder)
    return names.count > 6 ? names.prefix(6).joined(separator: ", ") + ", ..." : names.joined(separator: ", ")
  }
}
