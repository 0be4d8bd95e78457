import Options
import Training

/// What `advise` is told: data, task and budget as `train` takes them, and how long training may take.
public struct AdviceOptions: Sendable {
  /// Seconds for a whole run; `nil` for as long as it takes.
  public var seconds: Double?
  public var triesSteps: Bool
  /// The options of training that every method shares.
  let shared: [String: [String]]

  static let own: [OptionDeclaration] = [
    .init("time", "LIMIT", "time for the whole training, such as 30m, 2h or 1d; a bare number is minutes"),
    .init("no-trial", nil, "do not try a few steps of the methods; speeds are then reckoned from products alone"),
  ]

  /// Options of `train` that say nothing of a method.
  static let sharedNames: Set<String> = [
    "model", "data", "max-length", "train-on-prompt", "skip-bad-lines", "task", "problem-type", "labels", "columns",
    "text-column", "pair-column", "label-column", "class-weights", "epochs", "micro-batch-size",
    "gradient-accumulation-steps", "seed", "max-mem", "precision", "threads", "layer-inputs", "optimizer-moments",
  ]

  public static let declarations: [OptionDeclaration] =
    TrainingOptions.declarations.filter { sharedNames.contains($0.name) } + own + [
      .init("json", nil, "print JSON")
    ]

  public init(_ given: [String: [String]]) throws {
    let values = OptionValues(given, Self.declarations)
    triesSteps = !values.flag("no-trial")
    seconds = try values.text("time").map { text in
      guard let seconds = Self.seconds(text) else {
        throw OptionError("--time \(text): expected a time such as 90s, 30m, 2h or 1d")
      }
      return seconds
    }
    shared = given.filter { Self.sharedNames.contains($0.key) }
  }

  /// Seconds of `90s`, `30m`, `2h`, `1d`, or of a number of minutes.
  static func seconds(_ text: String) -> Double? {
    let units: [(String, Double)] = [("min", 60), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]
    let unit = units.first { text.hasSuffix($0.0) }
    let number = Double(text.dropLast(unit?.0.count ?? 0))
    guard let number, number.isFinite, number > 0, number < 1e9 else { return nil }
    return number * (unit?.1 ?? 60)
  }
}
