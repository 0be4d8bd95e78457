import Options
import Training

/// What a search is told beside the options of its trials.
public struct SearchOptions: Sendable {
  public var spaceFile: String?
  public var strategy: Strategy
  /// Settings that are tried; `nil` for the whole grid.
  public var trials: Int?
  /// Of halving.
  public var rungs: Int
  public var factor: Int
  /// After which no further trial is begun, over all processes of the search.
  public var seconds: Double?
  public var trainBest: Bool
  /// Trials that go through the weights together at most; `nil` where the search may choose.
  public var together: Int?

  package static let own: [OptionDeclaration] = [
    .init(
      "space", "FILE",
      "JSON object of options with their values: a list, or {\"low\": X, \"high\": X, \"log\": true}; or autopeft: which "
        + "layers, with bottlenecks and prefixes of which sizes"),
    .init(
      "strategy", "KIND", default: "grid", Strategy.allCases.map(\.rawValue).joined(separator: ", ")),
    .init("trials", "N", "settings that are tried (default: all)"),
    .init("rungs", "N", default: "3", "halving, asha: stages, each with more steps for fewer trials"),
    .init("reduction", "N", default: "3", "halving, asha: one of N goes on, for N times the steps"),
    .init(
      "together", "N",
      "trials that go through the weights together, so that these are read once for all (default: as many as fit in "
        + "--max-mem, where weights do not stay in memory; else 1)"),
    .init("time", "MINUTES", "begin no trial after so long"),
    .init(
      "train-best", nil, "then train with the best settings on all but the evaluation data, into OUTPUT/best"),
  ]

  /// Trials that go through the weights together at most: of more each would add little, and all would end late.
  static let mostTogether = 16

  /// Options whose fallback in a search is another one than in `train`.
  package static let changed: [String: String] = ["output": "search", "epochs": "1", "eval-split": "0.1"]

  public static let declarations: [OptionDeclaration] =
    own
    + TrainingOptions.declarations.filter { !["resume", "dump-gradients", "plan"].contains($0.name) }.map { option in
      OptionDeclaration(
        option.name, option.placeholder, default: changed[option.name] ?? option.fallback, aliases: option.aliases,
        isList: option.isList, identifies: option.identifies, option.help)
    }

  public init(_ given: [String: [String]]) throws {
    let values = OptionValues(given, Self.declarations)
    spaceFile = values.text("space")
    let isEndless = spaceFile == AutoPEFTSpace.name && !values.isGiven("strategy")
    strategy = isEndless ? .tpe : try values.choice("strategy", Strategy.self)
    trials = try values.optionalNumber("trials", in: 1...10_000)
    rungs = try values.number("rungs", in: 1...10)
    factor = try values.number("reduction", in: 2...100)
    seconds = try values.optionalNumber("time", in: 0...1e7).map { 60 * $0 }
    trainBest = values.flag("train-best")
    together = try values.optionalNumber("together", in: 1...Self.mostTogether)
  }

  /// The options of its trials, those that a search has other fallbacks for among them.
  public static func trialOptions(_ given: [String: [String]]) -> [String: [String]] {
    var base = given.filter { name, _ in !own.contains { $0.name == name } && name != "output" }
    if base["epochs"] == nil, base["max-steps"] == nil { base["epochs"] = changed["epochs"].map { [$0] } }
    if base["eval-data"] == nil, base["eval-split"] == nil {
      base["eval-split"] = changed["eval-split"].map { [$0] }
    }
    return base
  }
}
