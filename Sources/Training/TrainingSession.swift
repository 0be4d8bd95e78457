import Data
import Kernels
import Planning
import Randomness
import Transformer
import Tuning

/// One optimiser step as it is reported.
public struct StepReport: Sendable {
  /// Steps done, including this one.
  public let step: Int
  /// Mean loss per token that carries loss.
  public let loss: Double
  public let learningRate: Double
  /// L2 norm of the gradient before clipping.
  public let gradientNorm: Double
  /// Tokens of the step's rows, padding excluded.
  public let tokens: Int
  public let seconds: Double

  public var tokensPerSecond: Double { seconds > 0 ? Double(tokens) / seconds : 0 }
}

/// A model being trained: steps and evaluations. It knows no file.
public final class TrainingSession {
  private let model: LanguageModel
  private let memory: TrainingMemory
  private let optimizer: Optimizer
  private let maximumGradientNorm: Double
  private let gradientShare: Double
  private let seed: UInt64

  /// Asked again and again inside steps and evaluations; what it throws ends them. Parameters and moments are then as they
  /// were before the step.
  public var interruption: (() throws -> Void)? {
    get { memory.engine.interruption }
    set { memory.engine.interruption = newValue }
  }

  /// - Throws: what interrupts it
  func checkInterruption() throws { try memory.engine.checkInterruption() }

  /// What is trained.
  public var trainables: Trainables { memory.method.trainables }

  /// - Parameters:
  ///   - memory: of the run, after `begin`
  ///   - gradientShare: share of the parameters that a step changes, those with the largest gradients
  public init(
    model: LanguageModel, memory: TrainingMemory, optimizer: Optimizer, maximumGradientNorm: Double,
    gradientShare: Double = 1,
    seed: UInt64
  ) {
    self.model = model
    self.memory = memory
    self.optimizer = optimizer
    self.maximumGradientNorm = maximumGradientNorm
    self.gradientShare = gradientShare
    self.seed = seed
  }

  /// One optimiser step over `batches`, whose mean loss per labelled token is minimised.
  ///
  /// - Parameters:
  ///   - step: steps done before this one; with `seed` it decides the dropout masks
  ///   - learningRate: of this step
  /// - Throws: `RunFailed` where loss or gradient are not finite; nothing has changed then
  public func step(_ batches: [Batch], step: Int, learningRate: Double) throws -> StepReport {
    let start = ContinuousClock.now
    let trainables = trainables
    VectorOperations.fill(trainables.gradients, with: 0)
    let divisor = divisor(batches)
    let loss = try accumulateGradients(batches, divisor: divisor, step: step)
    let norm = trainables.gradients.sumOfSquares().squareRoot()
    guard loss.isFinite, norm.isFinite else {
      throw RunFailed(step: step + 1, reason: "the \(loss.isFinite ? "gradient" : "loss") is not finite")
    }
    if maximumGradientNorm > 0, norm > maximumGradientNorm {
      VectorOperations.scale(trainables.gradients, by: Float(maximumGradientNorm / (norm + 1e-6)))
    }
    memory.method.prepareUpdate()
    optimizer.update(
      share: gradientShare, parameters: trainables.parameters, gradients: trainables.gradients, state: memory.state,
      step: step + 1, learningRate: learningRate, parts: trainables.updateParts(hasDecay: optimizer.hasDecay),
      pool: memory.engine.pool)
    return StepReport(
      step: step + 1, loss: loss / divisor, learningRate: learningRate, gradientNorm: norm,
      tokens: batches.reduce(0) { $0 + $1.tokenCount }, seconds: start.duration(to: .now) / .seconds(1))
  }

  /// What the sum of the losses of `batches` is divided by: the number of labels, or the sum of their classes' weights.
  public func divisor(_ batches: [Batch]) -> Double {
    let sum = batches.reduce(0) { $0 + weight($1) }
    return sum > 0 ? sum : 1
  }

  /// Its share in that, for one batch.
  func weight(_ batch: Batch) -> Double {
    model.labelHead?.loss.divisor(batch.labels) ?? Double(batch.labelledTokenCount)
  }

  /// Adds the gradient of the sum of the losses over `divisor` to the gradients.
  /// - Returns: sum of the losses.
  public func accumulateGradients(_ batches: [Batch], divisor: Double, step: Int) throws -> Double {
    let scale = 1 / Float(divisor)
    memory.method.parametersChanged(pool: memory.engine.pool)
    var generator = SplitMix64(seed: seed &+ UInt64(step) &* 0x1_0000_0001)
    let dropoutSeed = generator.next()
    var sum = 0.0
    var tokens = 0
    var labels = 0
    for group in groups(batches) {
      let pass = Pass(engine: memory.engine, dropoutSeed: dropoutSeed, firstToken: tokens)
      sum += try model.lossAndGradient(
        group.map(\.microBatch), gradientScale: scale, firstLabel: labels, workspace: memory.workspace, pass: pass)
      tokens += group.reduce(0) { $0 + $1.tokens.count }
      labels += group.reduce(0) { $0 + $1.labelledTokenCount }
    }
    memory.method.completeGradients(pool: memory.engine.pool)
    return sum
  }

  /// Mean loss and number of labelled tokens over `batches`; dropout is off.
  ///
  /// - Parameter progress: gets the number of batches that are done
  public func evaluate(
    _ batches: some RandomAccessCollection<Batch>, progress: (Int) -> Void = { _ in }
  ) throws -> (loss: Double, tokens: Int) {
    var sum = 0.0
    var count = 0
    var done = 0
    let pass = Pass(engine: memory.engine)
    memory.method.parametersChanged(pool: memory.engine.pool)
    for group in groups(batches) {
      sum += try model.loss(group.map(\.microBatch), workspace: memory.workspace, pass: pass)
      count += group.reduce(0) { $0 + $1.labelledTokenCount }
      done += group.count
      progress(done)
    }
    return (sum / Double(max(count, 1)), count)
  }

  /// To be called before losses that follow a step.
  func parametersChanged() { memory.method.parametersChanged(pool: memory.engine.pool) }

  /// Sum of the losses of a batch; dropout is off.
  ///
  /// - Parameter observe: gets what a head with labels says
  func loss(_ batch: Batch, observe: (Matrix) -> Void) throws -> Double {
    let pass = Pass(engine: memory.engine)
    return try withoutActuallyEscaping(observe) {
      try model.loss([batch.microBatch], workspace: memory.workspace, pass: pass, observe: $0)
    }
  }

  /// Micro-batches that go through a layer before the next one.
  private func groups(_ batches: some RandomAccessCollection<Batch>) -> some Sequence<[Batch]> {
    let size = memory.strategy.groupRows / memory.strategy.microBatchSize
    return stride(from: 0, to: batches.count, by: size).lazy.map { Array(batches.dropFirst($0).prefix(size)) }
  }
}

extension Batch {
  /// What the model takes.
  public var microBatch: MicroBatch {
    MicroBatch(
      tokens: tokens, labels: labels, layout: SequenceLayout(rowLength: rowLength, segments: segments),
      typeIDs: typeIDs, targets: targets)
  }
}
