import FoundationEssentials
import Glibc
import Options

/// The learning rate over the steps, as transformers' schedules have it.
///
/// Source: `get_scheduler` of transformers' `optimization.py`; names and defaults are the same.
public struct LearningRateSchedule: Sendable {
  public enum Kind: String, Sendable, CaseIterable {
    case constant, linear, cosine, polynomial
    case constantWithWarmup = "constant_with_warmup"
    case cosineWithRestarts = "cosine_with_restarts"
    case cosineWithMinimum = "cosine_with_min_lr"
    case inverseSquareRoot = "inverse_sqrt"
    case warmupStableDecay = "warmup_stable_decay"
  }

  /// What a kind can be told further; transformers' `lr_scheduler_kwargs`.
  public struct Shape: Sendable, Equatable {
    /// Waves of the cosine: hard restarts of `cosine_with_restarts`; half a wave for the others.
    public var cycles: Double?
    /// Of `polynomial`.
    public var power = 1.0
    /// The last rate of `polynomial`.
    public var lastRate = 1e-7
    /// Steps of the last part of `warmup_stable_decay`; a tenth of all where it is not said.
    public var decaySteps: Int?
    /// The last rate as a share of the peak: `warmup_stable_decay` and `cosine_with_min_lr`.
    public var minimumRatio = 0.0
    /// Of `inverse_sqrt`: steps that the root begins at.
    public var timescale: Int?

    public init() {}

    /// - Parameter text: `name=value,...`, or a JSON object as transformers takes it
    /// - Throws: `OptionError`
    init(_ text: String, option: String) throws {
      self.init()
      let bare = text.filter { !"{}\"' ".contains($0) }
      for part in bare.split(separator: ",") {
        let pair = part.split(whereSeparator: { $0 == "=" || $0 == ":" }).map(String.init)
        guard pair.count == 2, let value = Double(pair[1]), value.isFinite, value >= 0 else {
          throw OptionError("--\(option) \(part): expected a name and a number, such as num_cycles=3")
        }
        switch pair[0] {
        case "num_cycles":
          guard value <= 1e6 else { throw OptionError("--\(option) \(part): expected num_cycles of at most a million") }
          cycles = value
        case "power": power = value
        case "lr_end": lastRate = value
        case "num_decay_steps": decaySteps = Int(min(value, 1e9))
        case "min_lr_ratio", "min_lr_rate":
          guard value <= 1 else { throw OptionError("--\(option) \(part): expected a share of the peak, 0 to 1") }
          minimumRatio = value
        case "timescale":
          guard value >= 1 else { throw OptionError("--\(option) \(part): expected a timescale of 1 or more") }
          timescale = Int(min(value, 1e9))
        case let name:
          throw OptionError(
            "--\(option) \(name): expected num_cycles, power, lr_end, num_decay_steps, min_lr_ratio or timescale")
        }
      }
    }
  }

  let kind: Kind
  let peak: Double
  let warmupSteps: Int
  let totalSteps: Int
  let shape: Shape

  public init(kind: Kind, peak: Double, warmupSteps: Int, totalSteps: Int, shape: Shape = Shape()) {
    self.kind = kind
    self.peak = peak
    self.warmupSteps = warmupSteps
    self.totalSteps = totalSteps
    self.shape = shape
  }

  /// Rate of a step, counted from 0.
  public func rate(at step: Int) -> Double {
    if step < warmupSteps {
      let progress = Double(step) / Double(max(1, warmupSteps))
      guard kind == .warmupStableDecay else { return peak * progress }
      return peak * (progress * (1 - shape.minimumRatio) + shape.minimumRatio)
    }
    let progress = Double(step - warmupSteps) / Double(max(1, totalSteps - warmupSteps))
    switch kind {
    case .constant, .constantWithWarmup: return peak
    case .linear: return peak * max(0, 1 - progress)
    case .cosine: return peak * max(0, wave(progress))
    case .cosineWithMinimum:
      return peak * max(0, wave(progress) * (1 - shape.minimumRatio) + shape.minimumRatio)
    case .cosineWithRestarts:
      guard progress < 1 else { return 0 }
      let part = ((shape.cycles ?? 1) * progress).truncatingRemainder(dividingBy: 1)
      return peak * max(0, 0.5 * (1 + cos(Double.pi * part)))
    case .polynomial:
      guard step <= totalSteps else { return shape.lastRate }
      return (peak - shape.lastRate) * pow(1 - progress, shape.power) + shape.lastRate
    case .inverseSquareRoot:
      let timescale = shape.timescale ?? (warmupSteps > 0 ? warmupSteps : 10_000)
      return peak / (Double(step + timescale - warmupSteps) / Double(max(1, timescale))).squareRoot()
    case .warmupStableDecay: return peak * stableDecay(at: step)
    }
  }

  /// A falling cosine, from 1.
  private func wave(_ progress: Double) -> Double {
    0.5 * (1 + cos(Double.pi * (shape.cycles ?? 0.5) * 2 * progress))
  }

  private func stableDecay(at step: Int) -> Double {
    let decay = shape.decaySteps ?? (totalSteps + 9) / 10
    let first = max(warmupSteps, totalSteps - decay)
    if step < first { return 1 }
    guard step < first + decay else { return shape.minimumRatio }
    let factor = wave(Double(step - first) / Double(max(1, decay)))
    return max(0, factor * (1 - shape.minimumRatio) + shape.minimumRatio)
  }
}
