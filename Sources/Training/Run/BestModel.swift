import Formats
import Options

/// The best evaluation of a run so far, and whether there is hope of a better one: as transformers' `Trainer` and its
/// `EarlyStoppingCallback` count. The evaluation before the first step does not take part.
package struct BestModel {
  private let options: EvaluationOptions
  /// Step of the best evaluation.
  package private(set) var step: Int?
  package private(set) var value: Double?
  /// Evaluations in a row that were not better by more than the threshold.
  private var worse = 0

  package init(_ options: EvaluationOptions) { self.options = options }

  /// Takes the figures of an evaluation.
  ///
  /// - Returns: whether it is the best so far
  /// - Throws: `OptionError` where the wanted figure is not among them
  @discardableResult
  package mutating func take(step: Int, figures: JSONObject) throws -> Bool {
    guard step > 0, options.loadBest || options.patience != nil else { return false }
    let said = figures[options.metric]
    guard said == .null || said?.doubleValue != nil else {
      let names = figures.entries.filter { $0.1.doubleValue != nil }.map { String($0.0.dropFirst("eval_".count)) }
      throw OptionError(
        "--metric-for-best-model \(options.metric.dropFirst("eval_".count)): there is no such figure; there are "
          + names.joined(separator: ", "))
    }
    // A correlation where nothing varies is no number, and no better than any other.
    guard let figure = said?.doubleValue, !figure.isNaN else {
      worse += 1
      return false
    }
    guard let best = value else {
      (self.step, value, worse) = (step, figure, 0)
      return true
    }
    let isBetter = options.greaterIsBetter ? figure > best : figure < best
    worse = isBetter && abs(figure - best) > options.threshold ? 0 : worse + 1
    if isBetter { (self.step, value) = (step, figure) }
    return isBetter
  }

  /// Whether the run may end here.
  package var isExhausted: Bool { options.patience.map { worse >= $0 } ?? false }
}
