import Formats
import Options

/// A page about a search: which settings came to what, and what they cost.
public struct SearchReport {
  /// A trial as far as it got.
  public struct Trial: Sendable {
    public let number: Int
    public let settings: [(option: String, word: String)]
    /// `nil` where it failed.
    public let metric: Double?
    public let failure: String?
    public let parameters: Int
    /// Multiply-adds that the method adds to a token.
    public let cost: Double
    public let steps: Int
    public let allSteps: Int
    /// Whether no other trial is as good with as little.
    public let isOnFront: Bool

    public init(
      number: Int, settings: [(option: String, word: String)], metric: Double?, failure: String?, parameters: Int,
      cost: Double, steps: Int, allSteps: Int, isOnFront: Bool
    ) {
      self.number = number
      self.settings = settings
      self.metric = metric
      self.failure = failure
      self.parameters = parameters
      self.cost = cost
      self.steps = steps
      self.allSteps = allSteps
      self.isOnFront = isOnFront
    }

    var text: String {
      "trial \(number): " + settings.map { "\($0.option) \($0.word)" }.joined(separator: ", ")
        + (metric.map { "; \(HTMLText.short($0))" } ?? "; failed")
    }
  }

  private let metric: String
  /// The best first.
  private let trials: [Trial]
  private let program: String

  /// - Parameters:
  ///   - metric: name of the figure
  ///   - trials: the best first
  ///   - program: name and version of what makes the page
  public init(metric: String, trials: [Trial], program: String) {
    self.metric = metric
    self.trials = trials
    self.program = program
  }

  /// Options in the order in which trials name them.
  private var options: [String] {
    trials.reduce(into: []) { names, trial in
      for (option, _) in trial.settings where !names.contains(option) { names.append(option) }
    }
  }

  /// Trials that got as far as the best one; what others say cannot be compared.
  private var whole: [Trial] {
    guard let best = trials.first else { return [] }
    return trials.filter { $0.metric != nil && $0.steps == best.steps }
  }

  private func plot(
    _ title: String, _ xName: String, isLogarithmic: Bool = false, hasFront: Bool = false,
    words: [(x: Double, word: String)]? = nil, _ x: (Trial) -> Double?
  ) -> String {
    let best = trials.first?.number
    let points = whole.compactMap { trial -> ScatterPlot.Point? in
      guard let place = x(trial), let metric = trial.metric else { return nil }
      return ScatterPlot.Point(
        x: place, y: metric, text: trial.text, isOnFront: hasFront && trial.isOnFront, isBest: trial.number == best)
    }
    guard points.count > 1 else { return "" }
    return ScatterPlot(
      title: title, xName: xName, yName: metric, points: points, words: words, isLogarithmic: isLogarithmic
    ).html
  }

  /// How many numbers a word such as `0-3,7` or `none` lists; `nil` where it is no such word.
  static func listCount(_ word: String) -> Int? { word == "none" ? 0 : NumberList.parse(word)?.count }

  /// The figure against an option: numbers at their place, of lists of numbers how many there are, words side by side.
  private func plot(of option: String) -> String {
    func word(_ trial: Trial) -> String? { trial.settings.first { $0.option == option }?.word }
    var words: [String] = []
    for trial in whole { if let word = word(trial), !words.contains(word) { words.append(word) } }
    guard words.count > 1 else { return "" }
    let numbers = words.compactMap { Double($0) }
    if numbers.count < words.count, words.allSatisfy({ Self.listCount($0) != nil }) {
      return plot("\(metric) by numbers in \(option)", "how many numbers \(option) has") { trial in
        word(trial).flatMap { Self.listCount($0) }.map { Double($0) }
      }
    }
    guard numbers.count == words.count, let low = numbers.min(), let high = numbers.max() else {
      let places = words.enumerated().map { (x: Double($0), word: $1) }
      return plot("\(metric) by \(option)", option, words: places) { trial in
        word(trial).flatMap { words.firstIndex(of: $0) }.map { Double($0) }
      }
    }
    // A logarithm of less than 1 has no place on the axis.
    let isLogarithmic = low >= 1 && high > 20 * low
    return plot("\(metric) by \(option)", option, isLogarithmic: isLogarithmic) { trial in
      word(trial).flatMap { Double($0) }
    }
  }

  private var table: String {
    let options = options
    let head = ["Trial"] + options + ["Parameters", "Multiply-adds a token", "Steps", metric]
    let rows = trials.map { trial -> (cells: [String], standsOut: Bool) in
      let words = options.map { option in trial.settings.first { $0.option == option }?.word ?? "-" }
      let figure = trial.metric.map { HTMLText.short($0) } ?? "failed: \(trial.failure ?? "")"
      let cells =
        ["\(trial.number)"] + words + [
          HTMLText.decimal(Double(trial.parameters), 0), HTMLText.decimal(trial.cost, 0),
          "\(trial.steps)/\(trial.allSteps)", figure,
        ]
      return (cells, trial.isOnFront)
    }
    return HTMLText.table(head: head, rows: rows, numbers: Set(0..<head.count))
  }

  public var html: String {
    let costs = [
      plot("\(metric) by parameters", "trained parameters", isLogarithmic: true, hasFront: true) {
        Double($0.parameters)
      },
      plot("\(metric) by cost", "multiply-adds that a token costs more", isLogarithmic: true, hasFront: true) {
        $0.cost
      },
    ]
    let plots = (costs + options.map { plot(of: $0) }).joined(separator: "\n")
    return Page(
      title: "Search of \(trials.count) settings",
      subtitle: "\(metric); marked: no other trial is as good with as few parameters and multiply-adds",
      policy: "default-src 'none'; style-src 'unsafe-inline'; img-src data:", generator: "edge-lora search",
      content: (plots.isEmpty ? "" : HTMLText.section("Figures", "<div class=\"charts\">\(plots)</div>", id: "figures"))
        + HTMLText.section("Trials", table, id: "trials"),
      footer: HTMLText.escaped("Made by \(program). Pictures show the trials that got as far as the best one.")
    ).html
  }
}
