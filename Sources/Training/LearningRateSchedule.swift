import FoundationEssentials
import Glibc

/// The learning rate over the steps, as transformers' schedules with warm-up have it.
public struct LearningRateSchedule: Sendable {
  public enum Kind: String, Sendable, CaseIterable { case constant, linear, cosine }

  let kind: Kind
  let peak: Double
  let warmupSteps: Int
  let totalSteps: Int

  public init(kind: Kind, peak: Double, warmupSteps: Int, totalSteps: Int) {
    self.kind = kind
    self.peak = peak
    self.warmupSteps = warmupSteps
    self.totalSteps = totalSteps
  }

  /// Rate of a step, counted from 0.
  public func rate(at step: Int) -> Double {
    if step < warmupSteps { return peak * Double(step) / Double(max(1, warmupSteps)) }
    let progress = Double(step - warmupSteps) / Double(max(1, totalSteps - warmupSteps))
    switch kind {
    case .constant: return peak
    case .linear: return peak * max(0, 1 - progress)
    case .cosine: return peak * max(0, 0.5 * (1 + cos(Double.pi * progress)))
    }
  }
}
