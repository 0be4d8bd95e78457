/// What a task asks of a model: rows of the table of measured methods.
public enum TaskKind: String, Sendable, CaseIterable {
  /// Short answers of a fixed form.
  case answers
  /// Long answers, and texts to go on with.
  case reasoning
  /// A label, or a number, for a text.
  case texts
  /// A tag for each word.
  case words

  /// For people.
  public var text: String {
    switch self {
    case .answers: "short answers"
    case .reasoning: "long answers and texts"
    case .texts: "labels of texts"
    case .words: "tags of words"
    }
  }
}

/// What a small run of a method came to, measured by `Tools/measure-methods`.
public struct MeasuredFigure: Sendable, Equatable {
  /// What was looked at.
  public enum Kind: String, Sendable {
    case exactMatch = "exact_match"
    case accuracy, f1, loss
  }

  public let task: TaskKind
  /// Name of the data set.
  public let data: String
  /// The method as `Candidate` names it.
  public let method: String
  public let figure: Kind
  public let quality: Double
  /// The best of all methods on the same data.
  public let best: Double
  /// Tokens per second beside LoRA's; 0 where it was not measured.
  public let speed: Double
  /// The better one of those that were tried.
  public let learningRate: Double

  /// Beside the best method, which has 1.
  public var score: Double {
    guard quality > 0, best > 0 else { return 0 }
    return figure == .loss ? best / quality : quality / best
  }

  /// For people: `62.0 % exact match`.
  public var text: String { Self.text(quality, figure) }
  /// The best one in the same words.
  public var bestText: String { Self.text(best, figure) }

  private static func text(_ value: Double, _ figure: Kind) -> String {
    switch figure {
    case .exactMatch: "\(Decimals.text(100 * value, 1)) % exact"
    case .accuracy: "\(Decimals.text(100 * value, 1)) % right"
    case .f1: "F1 \(Decimals.text(100 * value, 1)) %"
    case .loss: "loss \(Decimals.text(value, 3))"
    }
  }

  /// What is known of a method on a task.
  public static func of(_ method: String, on task: TaskKind) -> MeasuredFigure? {
    all.first { $0.method == method && $0.task == task }
  }
}

/// Numbers as text, whatever the locale.
package enum Decimals {
  package static func text(_ value: Double, _ places: Int) -> String {
    guard value.isFinite, abs(value) < 1e12 else { return "\(value)" }
    var factor = 1
    for _ in 0..<places { factor *= 10 }
    let scaled = Int((abs(value) * Double(factor)).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard places > 0 else { return "\(sign)\(scaled)" }
    let rest = String(scaled % factor)
    return "\(sign)\(scaled / factor)." + String(repeating: "0", count: places - rest.count) + rest
  }

  /// Without a point where the number is whole.
  package static func plain(_ value: Double) -> String { Int(exactly: value).map { "\($0)" } ?? "\(value)" }

  /// Whole numbers with a comma between thousands.
  package static func grouped(_ value: Int) -> String {
    let digits = Array(String(value))
    var text = ""
    for (place, digit) in digits.enumerated() {
      if place > 0, (digits.count - place) % 3 == 0, digits[place - 1] != "-" { text.append(",") }
      text.append(digit)
    }
    return text
  }

  /// Seconds, minutes or hours.
  package static func duration(_ seconds: Double) -> String {
    guard seconds < 1e9 else { return "years" }
    if seconds < 60 { return "\(max(1, Int(seconds.rounded()))) s" }
    let minutes = Int((seconds / 60).rounded())
    if minutes < 60 { return minutes < 10 ? "\(text(seconds / 60, 1)) min" : "\(minutes) min" }
    return "\(minutes / 60) h \(minutes % 60) min"
  }
}
