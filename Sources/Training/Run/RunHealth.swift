import Formats
import Glibc

/// A run that learns nothing any more, or computes with what is no number.
public struct RunFailed: Error, CustomStringConvertible {
  /// The step in which it showed.
  public let step: Int
  let reason: String
  /// What to do in the first step, where it is not the usual.
  private let firstAdvice: String?
  /// Where the last good state is.
  var state: String?

  init(step: Int, reason: String, firstAdvice: String? = nil) {
    self.step = step
    self.reason = reason
    self.firstAdvice = firstAdvice
  }

  public var description: String {
    "step \(step): \(reason)\n       "
      + (state.map { "the last good state is in \($0); " } ?? "there was no good state to keep; ")
      + (step == 1
        ? firstAdvice
          ?? "see with `edge-lora verify` whether the base model is damaged, or try a smaller --learning-rate"
        : "try a smaller --learning-rate, --warmup-steps or a smaller --max-grad-norm")
  }
}

/// Looks at the losses of a run, and tells when it has died.
///
/// One bad step is no reason to end a run that may have taken days. What counts is a gradient that is exactly zero where
/// there is much to learn, or so many losses in a row that are far above the first ones, or like those of a model that knows
/// nothing.
package struct RunHealth {
  private let vocabularySize: Int
  private var first: [Double] = []
  private var bad = 0

  /// Losses that the start is the mean of, and bad ones in a row that are a death.
  private static let window = 10
  /// A smaller loss is as good as learnt, and may leave no gradient.
  private static let learntLoss = 0.05

  package init(vocabularySize: Int) { self.vocabularySize = vocabularySize }

  /// Whether the last step looked like one of a dead run: such a state is not worth keeping.
  package var isSuspect: Bool { bad > 0 }

  /// Takes the figures of a step.
  /// - Throws: `RunFailed`
  package mutating func check(step: Int, loss: Double, gradientNorm: Double, labelledTokens: Int) throws {
    guard labelledTokens > 0 else { return }
    if gradientNorm == 0, loss > Self.learntLoss {
      throw RunFailed(
        step: step, reason: "the gradient is exactly zero at a loss of \(Self.text(loss))",
        firstAdvice: "nothing that is trained moves the loss: see whether a factor (--scaling, --alpha) or the adapter "
          + "that it goes on from is zero, or, with `edge-lora verify`, whether the base model is damaged")
    }
    if first.count < Self.window {
      first.append(loss)
      return
    }
    let start = first.reduce(0, +) / Double(first.count)
    let ignorant = log(Double(vocabularySize))
    // A loss that began near that of an ignorant model may stay there for a while.
    let isIgnorant = start < 0.7 * ignorant && loss > 0.95 * ignorant
    let isFarAbove = loss > 2 * start + 3
    bad = isIgnorant || isFarAbove ? bad + 1 : 0
    guard bad >= Self.window else { return }
    throw RunFailed(
      step: step,
      reason: "the loss began at \(Self.text(start)) and has been at \(Self.text(loss)) or so for \(bad) steps"
        + (isIgnorant ? ", as if the model knew nothing" : ""))
  }

  private static func text(_ value: Double) -> String { "\((value * 1e4).rounded() / 1e4)" }
}
