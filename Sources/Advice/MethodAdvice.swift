import Formats
import Options
import Planning
import Training

/// What a method adds when the trained model is used.
public struct InferenceCost: Sendable, Equatable {
  /// Whether nothing is left of it once it is merged into the weights.
  public let merges: Bool
  /// Multiply-adds beside those of the model's layers, while it is not merged.
  public let share: Double
  /// Keys and values in front of every text, in every layer.
  public let virtualTokens: Int

  /// For people.
  public var text: String {
    if merges { return "none once merged" }
    if virtualTokens > 0 { return "\(virtualTokens) tokens more" }
    return share < 0.001 ? "below 0.1 %" : "\(Decimals.text(100 * share, 1)) %"
  }
}

/// A method, what it would take here, and why it stands where it does.
public struct MethodAdvice: Sendable {
  public let candidate: Candidate
  public let plan: TrainingPlan
  /// Passes over the data; `nil` where the time is not enough for one.
  public var epochs: Double?
  /// Optimiser steps that fit into the time.
  public var steps: Int
  /// Of the whole run, with reading and planning.
  public var seconds: Double
  public var secondsPerStep: Double
  /// Padding excluded.
  public var tokensPerSecond: Double
  /// Whether steps were tried here; else the speed is reckoned.
  public var isTried: Bool
  public let fileBytes: Int
  public let inference: InferenceCost
  public let figure: MeasuredFigure?
  public let learningRate: Double
  /// Words of the command that trains so.
  public var arguments: [String]

  /// Whether at least one pass over the data fits into the time.
  public var fits: Bool { epochs != nil }

  /// Why it stands where it does, in a line.
  public var reason: String {
    guard let figure else { return "not measured on such a task; its cost is known, its quality is not" }
    let place = figure.quality == figure.best ? "the best on \(figure.data)" : "the best had \(figure.bestText)"
    let speed = figure.speed > 0 ? ", at \(Decimals.text(figure.speed, 2)) x LoRA's speed" : ""
    return "\(figure.text) on \(figure.data) (\(place))\(speed)"
      + (fits ? "" : "; one pass over the data takes longer than --time")
  }

  /// Where the reason comes from.
  public var source: String? { figure.map { "docs/methods.md, \($0.data)" } }

  /// The command in one line.
  public var command: String { (["edge-lora", "train"] + arguments.map(ShellWord.quoted)).joined(separator: " ") }

  package var json: JSONValue {
    let quality = figure.map { figure -> JSONValue in
      .object(
        JSONObject([
          ("data", .string(figure.data)), ("figure", .string(figure.figure.rawValue)),
          ("value", .number(figure.quality)), ("best", .number(figure.best)), ("score", .number(figure.score)),
        ]))
    }
    let entries: [(String, JSONValue)] = [
      ("name", .string(candidate.name)), ("method", .string(candidate.method)),
      ("options", .object(JSONObject(candidate.options.map { ($0.name, .string($0.value)) }))),
      ("trainable_parameters", .integer(plan.trainableParameters)),
      ("predicted_peak_bytes", .integer(plan.predictedPeakBytes)), ("predicted_seconds", .number(seconds)),
      ("predicted_seconds_per_step", .number(secondsPerStep)),
      ("predicted_tokens_per_second", .number(tokensPerSecond)), ("tried", .bool(isTried)),
      ("epochs", epochs.map { .number($0) } ?? .null), ("steps", .integer(steps)), ("fits", .bool(fits)),
      ("file_bytes", .integer(fileBytes)), ("learning_rate", .number(learningRate)),
      (
        "inference",
        .object(
          JSONObject([
            ("merges", .bool(inference.merges)), ("share", .number(inference.share)),
            ("virtual_tokens", .integer(inference.virtualTokens)),
          ]))
      ),
      ("quality", quality ?? .null), ("reason", .string(reason)), ("source", source.map { .string($0) } ?? .null),
      ("command", .string(command)), ("arguments", .array(arguments.map { .string($0) })),
    ]
    return .object(JSONObject(entries))
  }
}
