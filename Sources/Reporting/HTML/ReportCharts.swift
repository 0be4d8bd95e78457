import Formats
import Memory

/// The pictures of a report.
struct ReportCharts {
  private let runs: [RunRecord]

  /// Bytes of a page that points may take, and about what one takes.
  private static let pointBytes = (all: 600_000, one: 16)

  init(_ runs: [RunRecord]) { self.runs = runs }

  /// For the page's script.
  var json: JSONValue {
    let charts = charts
    let lines = charts.reduce(0) { $0 + $1.lines.count }
    let most = min(600, max(24, Self.pointBytes.all / Self.pointBytes.one / max(1, lines)))
    return .array(charts.map { $0.json(most: most) })
  }

  var charts: [Chart] {
    var all: [Chart] = [loss] + evaluations
    all += [learningRate, gradientNorm, speed]
    all += memory
    all.append(storage)
    all += sensors + others
    return all.compactMap { (chart: Chart) -> Chart? in
      var chart = chart
      chart.lines.removeAll { $0.points.isEmpty }
      return chart.lines.isEmpty ? nil : chart
    }
  }

  private var isSingle: Bool { runs.count == 1 }

  /// The name of a line of a run.
  private func name(_ run: RunRecord, _ figure: String) -> String {
    isSingle ? figure : figure.isEmpty ? run.name : "\(run.name): \(figure)"
  }

  // MARK: Learning

  private var loss: Chart {
    var chart = Chart(title: "Loss", hasLogarithm: true, isWide: true)
    var windows: [Int] = []
    for (place, run) in runs.enumerated() {
      let points = run.series("loss")
      let window = Self.window(points.count)
      if window > 1 {
        windows.append(window)
        chart.lines.append(.init(name: "", colour: place, style: .faint, points: points))
      }
      chart.lines.append(
        .init(
          name: name(run, "training"), colour: place, points: Thinning.smoothed(points, window: window),
          isRough: window == 1))
      chart.lines.append(
        .init(
          name: name(run, "evaluation"), colour: isSingle ? 1 : place, style: .dots,
          points: RunRecord.series(run.evaluations, ["eval_loss"])))
    }
    if let most = windows.max() {
      chart.note = "Thin: each step. Thick: a mean that forgets after about \(most) steps. Dots: evaluations."
    }
    return chart
  }

  private static func window(_ count: Int) -> Int { count < 40 ? 1 : max(4, min(200, count / 40)) }

  /// Figures that are at most 1 share a picture, where there is one run; the others have one each.
  private var evaluations: [Chart] {
    let known: Set = ["eval_loss", "eval_seconds", "eval_runtime"]
    var keys: [String] = []
    for line in runs.flatMap(\.evaluations) {
      for (key, value) in line.entries where value.doubleValue != nil && key.hasPrefix("eval_") {
        if !known.contains(key), !keys.contains(key) { keys.append(key) }
      }
    }
    func lines(_ key: String, colour: Int?) -> [Chart.Line] {
      runs.enumerated().map { place, run in
        Chart.Line(
          name: isSingle ? Self.words(key) : run.name, colour: colour ?? place, style: .dots,
          points: RunRecord.series(run.evaluations, [key]))
      }
    }
    let shares = keys.filter { key in
      runs.allSatisfy { RunRecord.series($0.evaluations, [key]).allSatisfy { (0...1).contains($0.value) } }
    }
    let others = keys.filter { !shares.contains($0) }.map { key in
      Chart(title: "Evaluation: \(Self.words(key))", lines: lines(key, colour: nil))
    }
    guard isSingle else {
      return shares.map { Chart(title: "Evaluation: \(Self.words($0))", lines: lines($0, colour: nil)) } + others
    }
    return [
      Chart(title: "Evaluation", lines: shares.enumerated().flatMap { place, key in lines(key, colour: place) })
    ] + others
  }

  /// `eval_exact_match` as people say it.
  static func words(_ key: String) -> String {
    (key.hasPrefix("eval_") ? key.dropFirst(5) : key[...]).split(separator: "_").joined(separator: " ")
  }

  private func plain(_ title: String, _ key: String, _ unit: Chart.Unit = .number) -> Chart {
    Chart(
      title: title, unit: unit,
      lines: runs.enumerated().map { .init(name: name($1, ""), colour: $0, points: $1.series(key)) })
  }

  /// Each step, and a mean over them.
  private func rough(_ title: String, _ key: String, _ unit: Chart.Unit = .number) -> Chart {
    var chart = Chart(title: title, unit: unit)
    for (place, run) in runs.enumerated() {
      let points = run.series(key)
      let window = Self.window(points.count)
      if window > 1 { chart.lines.append(.init(name: "", colour: place, style: .faint, points: points)) }
      chart.lines.append(
        .init(
          name: name(run, ""), colour: place, points: Thinning.smoothed(points, window: window),
          isRough: window == 1))
    }
    return chart
  }

  private var learningRate: Chart {
    var chart = plain("Learning rate", "learning_rate")
    chart.startsAtZero = true
    return chart
  }

  private var gradientNorm: Chart {
    var chart = rough("Gradient norm", "grad_norm")
    chart.hasLogarithm = true
    chart.note = "Before it is cut to --max-grad-norm."
    return chart
  }

  private var speed: Chart {
    var chart = rough("Speed", "tokens_per_second", .rate)
    chart.startsAtZero = true
    if isSingle, let planned = runs[0].summary?["predicted_tokens_per_second"]?.doubleValue {
      chart.marks = [.init(name: "planned", value: planned)]
    }
    return chart
  }

  // MARK: Memory and storage

  /// One picture of all runs, and one of each with its parts.
  private var memory: [Chart] {
    var charts: [Chart] = []
    if !isSingle {
      var chart = plain("Memory", "rss_bytes", .bytes)
      chart.startsAtZero = true
      charts.append(chart)
    }
    // Parts are drawn for as many runs as can be looked at one by one.
    for run in runs.prefix(4) {
      var chart = Chart(
        title: isSingle ? "Memory" : "Memory of \(run.name)", unit: .bytes, isStack: true, startsAtZero: true)
      let lines = run.steps.filter { $0["memory"]?.objectValue != nil }
      for (place, kind) in MemoryKind.allCases.enumerated() {
        let points = lines.map { line in
          (step: line["step"]?.doubleValue ?? 0, value: line["memory"]?[kind.rawValue]?.doubleValue ?? 0)
        }
        guard points.contains(where: { $0.value > 0 }) else { continue }
        chart.lines.append(.init(name: kind.rawValue, colour: place, points: points))
      }
      if chart.lines.isEmpty, isSingle {
        chart = plain("Memory", "rss_bytes", .bytes)
        chart.startsAtZero = true
      }
      if let budget = run.summary?["plan"]?["budget_bytes"]?.doubleValue, budget > 0 {
        chart.marks.append(.init(name: "budget", value: budget))
      }
      charts.append(chart)
    }
    return charts
  }

  private var storage: Chart {
    var chart = Chart(title: "Storage, since the start", unit: .bytes, startsAtZero: true)
    for (place, run) in runs.enumerated() {
      for (key, word) in [("storage_bytes_read", "read"), ("storage_bytes_written", "written")] {
        let points = run.series(key)
        guard points.contains(where: { $0.value > 0 }) else { continue }
        var sum = 0.0
        chart.lines.append(
          .init(
            name: name(run, word), colour: isSingle && word == "written" ? 1 : place,
            style: word == "written" ? .dash : .line,
            points: points.map { point in
              sum += point.value
              return (point.step, sum)
            }))
      }
    }
    return chart
  }

  // MARK: Heat and power

  private var sensors: [Chart] {
    var heat = plain("Temperature", "temperature_celsius", .celsius)
    if isSingle {
      heat.bands = Self.stretches(runs[0].series("throttled"))
      if !heat.bands.isEmpty { heat.note = "Shaded: the processor was held back." }
    }
    var frequency = plain("Processor frequency, share of the highest", "frequency_share", .share)
    frequency.startsAtZero = true
    var energy = Chart(title: "Energy, since the start", unit: .joules, startsAtZero: true)
    energy.lines = runs.enumerated().map {
      .init(name: name($1, ""), colour: $0, points: EnergyFigures(run: $1).sums)
    }
    return [heat, frequency, energy]
  }

  /// Where a flag is on, from step to step.
  private static func stretches(_ points: [Thinning.Point]) -> [ClosedRange<Double>] {
    var stretches: [ClosedRange<Double>] = []
    for point in points where point.value != 0 {
      if let last = stretches.last, point.step - last.upperBound <= 1 {
        stretches[stretches.count - 1] = last.lowerBound...point.step
      } else {
        stretches.append(point.step - 1...point.step)
      }
    }
    // A picture has no room for more.
    guard stretches.count > 300, let first = stretches.first, let last = stretches.last else { return stretches }
    let width = (last.upperBound - first.lowerBound) / 300
    return stretches.reduce(into: []) { merged, next in
      if let previous = merged.last, next.lowerBound - previous.upperBound < width {
        merged[merged.count - 1] = previous.lowerBound...next.upperBound
      } else {
        merged.append(next)
      }
    }
  }

  // MARK: What else there is

  private static let shown: Set = [
    "step", "loss", "learning_rate", "grad_norm", "tokens_per_second", "rss_bytes", "storage_bytes_read",
    "storage_bytes_written", "temperature_celsius", "throttled", "energy_joules", "frequency_share", "seconds",
  ]

  /// Figures of the steps that this program does not know, such as those of a later version.
  private var others: [Chart] {
    var keys: [String] = []
    for run in runs {
      for (key, value) in run.steps.last?.entries ?? [] where value.doubleValue != nil {
        if !Self.shown.contains(key), !keys.contains(key) { keys.append(key) }
      }
    }
    return keys.prefix(8).map { plain(Self.words($0), $0) }
  }
}
