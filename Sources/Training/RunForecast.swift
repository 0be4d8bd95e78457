import Architectures
import Data
import Planning
import Transformer

/// What the steps of a run are expected to take.
public struct RunForecast: Sendable {
  /// Optimiser steps of the whole run.
  public let steps: Int
  /// Of one pass over the data.
  public let stepsPerEpoch: Int
  /// Tokens of a step, padding excluded.
  public let tokensPerStep: Double
  public let secondsPerStep: Double

  public var tokensPerSecond: Double { tokensPerStep / max(secondsPerStep, 1e-9) }
}

/// What there is to know of a run before its first step.
extension TrainingRun {
  /// What the model says of texts or tokens; `nil` where it goes on with texts.
  public var labelling: Labelling? { prepared.labelling }
  public var description: ModelDescription { prepared.model.description }
  /// Tokens of a sample at most.
  public var maximumLength: Int { options.data.maximumLength }

  /// Multiply-adds of a token with the base model's weights, without its head, and those that the method adds to them.
  public func products() throws -> (base: Double, method: Double) {
    let base = prepared.model.layers.reduce(0.0) { sum, layer in
      let cost = layer.cost(rowLength: 1)
      return sum + cost.attention.products + cost.feedForward.products
    }
    return (base, try prepared.tuning.floatProducts(for: prepared.model))
  }

  /// The fastest plan inside another budget.
  /// - Throws: `PlanError`
  public func plan(budget: Int) throws -> TrainingPlan { try prepared.planner.plan(budget: budget) }

  /// Whether a plan fits the budget, without looking for one.
  public func fits(budget: Int) throws -> Bool { try prepared.planner.fits(budget: budget) }

  /// The least that works and all that would be used, in whole mebibytes.
  public func budgetRange() throws -> (least: Int, most: Int) {
    func whole(_ byteCount: Int) -> Int { ((byteCount + (1 << 20) - 1) >> 20) << 20 }
    let least = whole(try prepared.planner.least() + RunPlanning.spared)
    return (least, max(least, whole(try prepared.planner.most())))
  }

  /// From the planner's cost of steps with the rows that they really have.
  public func forecast() -> RunForecast {
    let perEpoch = prepared.data.stepsPerEpoch(rowsPerStep: plan.rowsPerStep)
    let count = min(perEpoch, stepCount)
    let looked = min(count, Self.mostLookedAt)
    var (tokens, seconds) = (0.0, 0.0)
    for index in 0..<looked {
      let batches = batches(ofStep: index * count / looked)
      tokens += Double(batches.reduce(0) { $0 + $1.tokenCount })
      seconds += predictedSeconds(batches)
    }
    let divisor = Double(max(looked, 1))
    return RunForecast(
      steps: stepCount, stepsPerEpoch: perEpoch, tokensPerStep: tokens / divisor, secondsPerStep: seconds / divisor)
  }

  private static let mostLookedAt = 64

  private func batches(ofStep step: Int) -> [Batch] {
    prepared.data.step(step, rows: plan.rowsPerStep, microBatchSize: plan.strategy.microBatchSize)
  }

  private func predictedSeconds(_ batches: [Batch]) -> Double {
    let rows = batches.reduce(0) { $0 + $1.tokens.count / max(1, $1.rowLength) }
    let all = batches.reduce(0) { $0 + $1.tokens.count }
    let pairs = batches.reduce(0.0) { sum, batch in
      let lengths = zip(batch.segments, batch.segments.dropFirst()).map { Double($1 - $0) }
      return sum + lengths.reduce(0) { $0 + $1 * $1 }
    }
    guard rows > 0, all > 0 else { return 0 }
    return prepared.planner.seconds(
      of: plan, rows: rows, rowLength: all / rows, attentionLength: max(1, Int(pairs / Double(all))))
  }

  /// Does a few steps and forgets them: how much longer they take here than was predicted.
  ///
  /// What this run holds is of no more use afterwards; the steps of a run begin with another one.
  ///
  /// - Parameter count: steps that count; one more before them does not, because it is the first to touch its memory
  public func measuredExcess(steps count: Int) throws -> Double {
    let session = try begin()
    var (measured, predicted) = (0.0, 0.0)
    for step in 0...count {
      let batches = batches(ofStep: step % max(1, stepCount))
      let report = try session.step(batches, step: step, learningRate: 0)
      guard step > 0 || count == 0 else { continue }
      measured += report.seconds
      predicted += predictedSeconds(batches)
    }
    return measured / max(predicted, 1e-9)
  }
}
