import Formats
import FoundationEssentials
import Glibc

/// The losses of a run as a curve of a few lines of text, and what they came to.
struct LossChart {
  private var losses: [Double] = []
  /// Evaluations: steps done, loss.
  private var evaluations: [(step: Int, loss: Double)] = []

  private static let width = 60
  private static let height = 8

  /// - Parameter metrics: `metrics.jsonl` of the run; `nil` if it tells nothing
  init?(metrics: String) {
    guard let text = try? String(contentsOfFile: metrics, encoding: .utf8) else { return nil }
    for line in text.split(separator: "\n") {
      guard let json = try? JSONValue.parse(String(line), file: metrics), let step = json["step"]?.intValue else {
        continue
      }
      if let loss = json["loss"]?.doubleValue, loss.isFinite { losses.append(loss) }
      if let loss = json["eval_loss"]?.doubleValue, loss.isFinite { evaluations.append((step, loss)) }
    }
    if losses.count < 2 { return nil }
  }

  /// Mean loss of the last steps: a tenth of all, 10 at least.
  var lastMean: (loss: Double, steps: Int) {
    let last = losses.suffix(max(10, losses.count / 10))
    return (last.reduce(0, +) / Double(last.count), last.count)
  }

  /// A column for each stretch of steps, with the mean of its losses; evaluations as `o`.
  var text: String {
    let columns = min(Self.width, losses.count)
    let means = (0..<columns).map { column in
      let part = losses[column * losses.count / columns..<(column + 1) * losses.count / columns]
      return part.reduce(0, +) / Double(part.count)
    }
    let marks = evaluations.map {
      (column: max(0, min(columns - 1, ($0.step * columns + losses.count - 1) / losses.count - 1)), loss: $0.loss)
    }
    // The first losses may be far above all others, which would then be one line: they stand at the upper edge.
    let low = (means + marks.map(\.loss)).min() ?? 0
    let high = means.dropFirst(columns / 12).max() ?? 1
    func row(_ loss: Double) -> Int {
      let place = high > low ? (high - loss) / (high - low) * Double(Self.height - 1) : 0
      return max(0, min(Self.height - 1, Int(place.rounded())))
    }
    var grid = [[Character]](repeating: [Character](repeating: " ", count: columns), count: Self.height)
    for (column, loss) in means.enumerated() { grid[row(loss)][column] = "•" }
    for mark in marks { grid[row(mark.loss)][mark.column] = "o" }
    let labels = [0: high, Self.height - 1: low].mapValues { Console.decimal($0, 3) }
    let margin = labels.values.map(\.count).max() ?? 0
    let lines = grid.enumerated().map { index, line in
      let label = labels[index] ?? ""
      var text = String(line)
      while text.hasSuffix(" ") { text.removeLast() }
      return "  " + String(repeating: " ", count: margin - label.count) + label + " |" + text
    }
    let title =
      "loss over \(losses.count) steps" + (evaluations.isEmpty ? "" : ", o on the evaluation data") + ":"
    return ([title] + lines).joined(separator: "\n")
  }
}
